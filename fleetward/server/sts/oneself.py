"""Who am I, and temporary credentials for oneself and for guests: GetCallerIdentity, GetSessionToken and others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException, AwsError, ValidationException
from fleetward.server.iam import principals
from fleetward.server.iam.service import request_conditions
from fleetward.server.service import nobody_is_denied
from fleetward.server.sts import issue
from fleetward.server.sts.service import sts

SESSION = timedelta(hours=12)
LONGEST_OF_ROOT = timedelta(hours=1)


def _guest(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(_guest_arn(call, request["Name"])),)


def _guest_arn(call: Call, name: str) -> str:
    return f"arn:aws:sts::{call.account}:federated-user/{name}"


@sts.operation("GetCallerIdentity", resources=nobody_is_denied, reads=True, audience="both")
def get_caller_identity(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Who signed. Nobody can be denied this (API reference, GetCallerIdentity)."""
    return {
        "UserId": call.caller.user_id or call.caller.account,
        "Account": call.caller.account,
        "Arn": call.caller.arn,
    }


@sts.operation("GetAccessKeyInfo", reads=True)
def get_access_key_info(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Whose account a long-lived key belongs to. Ours: temporary keys are not recorded, so nothing is said of them."""
    row = call.db.first(principals.KEY, key_id=request["AccessKeyId"])
    if row is None:
        raise ValidationException("This server knows no long-lived access key of that id.")
    return {"Account": row.account_id}


def _long_lived(call: Call, operation: str) -> None:
    if not call.caller.access_key_id.startswith("AKIA"):
        raise AccessDeniedException(f"Cannot call {operation} with session credentials")


def _lifetime(call: Call, request: Mapping[str, Any]) -> timedelta:
    lifetime = timedelta(seconds=request.get("DurationSeconds", SESSION.total_seconds()))
    return min(lifetime, LONGEST_OF_ROOT) if call.caller.kind == "root" else lifetime


@sts.operation("GetSessionToken", resources=nobody_is_denied)
def get_session_token(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | AwsError:
    """Temporary credentials with the caller's own rights, by a second factor where a code is given.

    Only long-lived keys may ask; every user may (API reference, GetSessionToken: no permissions are required).
    """
    _long_lived(call, "GetSessionToken")
    factor = issue.second_factor(call, request)
    if isinstance(factor, AwsError):
        return factor
    session = issue.Session(more={"user_id": call.caller.user_id, **factor})
    return {"Credentials": issue.issue(call, call.caller.arn, call.caller.kind, _lifetime(call, request), session)}


@sts.operation("GetFederationToken", resources=_guest, conditions=request_conditions)
def get_federation_token(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Temporary credentials for a guest: what the caller may do, as far as the session policies given allow."""
    _long_lived(call, "GetFederationToken")
    name = request["Name"]
    session = issue.requested(call, request)
    creator = "" if call.caller.kind == "root" else call.caller.user_id
    more = {"user_id": f"{call.account}:{name}", "creator": creator, "origin": issue.origin(call.caller)}
    sealed = issue.Session(session.policy, session.policy_arns, session.tags, more=more)
    arn = _guest_arn(call, name)
    credentials = issue.issue(call, arn, "federated", _lifetime(call, request), sealed)
    return {
        "Credentials": credentials,
        "FederatedUser": {"FederatedUserId": f"{call.account}:{name}", "Arn": arn},
        "PackedPolicySize": session.packed_percent,
    }
