"""Security Token Service: who am I, and temporary credentials for roles and for oneself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import orjson

from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException, AwsError, ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam import evaluate, principals
from fleetward.server.iam.context import Conditions
from fleetward.server.keys import TemporaryCredentials, new_access_key_id, new_secret_access_key
from fleetward.server.service import Service, nobody_is_denied

sts = Service("sts")

ROLE_ARN = re.compile(r"arn:aws:iam::(\d{12}):role(?:/[\w+=,.@/-]*)?/([\w+=,.@-]{1,64})")
ROLE_HOURS = timedelta(hours=1)
SESSION_HOURS = timedelta(hours=12)


class MalformedPolicyDocument(AwsError):
    """The session policy is not a policy."""


def _requested_role(call: Call, request: dict[str, Any]) -> Iterable[Resource]:
    return (Resource(request["RoleArn"]),)


@sts.operation("GetCallerIdentity", resources=nobody_is_denied, reads=True, audience="both")
def get_caller_identity(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Who signed. Nobody can be denied this (API reference, GetCallerIdentity)."""
    return {
        "UserId": call.caller.user_id or call.caller.account,
        "Account": call.caller.account,
        "Arn": call.caller.arn,
    }


@sts.operation("GetSessionToken")
def get_session_token(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Temporary credentials with the caller's own rights; only long-lived keys may ask."""
    if not call.caller.access_key_id.startswith("AKIA"):
        raise AccessDeniedException("Cannot call GetSessionToken with session credentials")
    lifetime = timedelta(seconds=request.get("DurationSeconds", SESSION_HOURS.total_seconds()))
    if call.caller.kind == "root":
        lifetime = min(lifetime, ROLE_HOURS)
    credentials = _issue(call, call.caller.arn, call.caller.kind, lifetime, {"user_id": call.caller.user_id})
    return {"Credentials": credentials}


def _asked_for(call: Call, request: dict[str, Any]) -> Conditions:
    asked = {"sts:RoleSessionName": request.get("RoleSessionName"), "sts:ExternalId": request.get("ExternalId")}
    transitive = tuple(request.get("TransitiveTagKeys", ()))
    return {
        **keys_of.requested_tags(request.get("Tags", ())),
        **{key: value for key, value in asked.items() if value},
        **({"sts:TransitiveTagKeys": transitive} if transitive else {}),
    }


@sts.operation("AssumeRole", resources=_requested_role, conditions=_asked_for)
def assume_role(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Temporary credentials of a role, when its trust policy names the caller."""
    match = ROLE_ARN.fullmatch(request["RoleArn"])
    role = principals.find_role(call, match[2]) if match is not None and match[1] == call.account else None
    names = (f"AWS:{call.caller.arn}", f"AWS:{principals.root_arn(call.caller.account)}")
    if role is None or role.arn != request["RoleArn"] or not principals.trusts(role, *names):
        raise AccessDeniedException(
            f"User: {call.caller.arn} is not authorized to perform: sts:AssumeRole on resource: {request['RoleArn']}"
        )
    session = request["RoleSessionName"]
    policy = _session_policy(request.get("Policy", ""))
    principal = f"arn:aws:sts::{call.account}:assumed-role/{role.name}/{session}"
    user_id = f"{role.role_id}:{session}"
    lifetime = timedelta(seconds=request.get("DurationSeconds", ROLE_HOURS.total_seconds()))
    credentials = _issue(call, principal, "role", lifetime, {"user_id": user_id, "role": role.name}, policy)
    return {"Credentials": credentials, "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": principal}}


def _session_policy(text: str) -> str:
    """A session policy in short form; too long or unreadable ones are refused."""
    if not text:
        return ""
    try:
        evaluate.compile_policy(text, name="session")
    except evaluate.MalformedPolicy as fault:
        raise MalformedPolicyDocument(f"The session policy cannot be used: {fault}") from fault
    short = orjson.dumps(orjson.loads(text)).decode()
    if len(short) > 2048:
        raise ValidationException("The session policy must have 2048 characters or less")
    return short


def _issue(
    call: Call, principal: str, kind: str, lifetime: timedelta, context: dict[str, str], policy: str = ""
) -> dict[str, Any]:
    access_key_id, secret = new_access_key_id("ASIA"), new_secret_access_key()
    expires_at = (call.now + lifetime).replace(microsecond=0)
    token = call.keys.seal_token(
        TemporaryCredentials(
            access_key_id=access_key_id,
            secret_access_key=secret,
            principal=principal,
            kind=kind,
            expires_at=expires_at,
            epoch=principals.epoch(call, principal),
            session_policy=policy,
            context={**context, "account": call.account, "issued_at": str(int(call.now.timestamp()))},
        )
    )
    return {
        "AccessKeyId": access_key_id,
        "SecretAccessKey": secret,
        "SessionToken": token,
        "Expiration": expires_at,
    }
