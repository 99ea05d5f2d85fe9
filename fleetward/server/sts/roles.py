"""Assuming roles: the trust policy decides, with its conditions; sessions carry policies and tags of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException, AwsError, ValidationException
from fleetward.server.iam import evaluate, principals
from fleetward.server.iam.context import requested_tags
from fleetward.server.service import nobody_is_denied
from fleetward.server.sts import issue
from fleetward.server.sts.service import sts

ROLE_ARN = re.compile(r"arn:aws:iam::(\d{12}):role(/(?:[!-~]*/)?)([\w+=,.@-]{1,64})", re.ASCII)
HOUR = timedelta(hours=1)
HANDED_ON = "fleetward:TransitiveTagKeys"
"""In a caller's context: tags of its session that go on to roles it assumes."""

Conditions = dict[str, str | Sequence[str]]


def find_role(call: Call, arn: str) -> principals.Role | None:
    """A role of any account by its ARN; None when there is none."""
    match = ROLE_ARN.fullmatch(arn)
    role = principals.find_role(call, match[3], match[1]) if match is not None else None
    return role if role is not None and role.arn == arn else None


def trusted(call: Call, arn: str, role: principals.Role | None) -> Resource:
    """The role as the decision sees it: without its trust policy nobody may assume it.

    A user or role of the caller's name that is not the one the policy was written for does not count.
    """
    rule = evaluate.ResourceRule.MUST_ALLOW
    if role is None:
        return Resource(arn, rule=rule)
    own_id = call.caller.user_id.partition(":")[0]
    names = (call.caller.arn, str(call.caller.context.get("aws:PrincipalArn", "")))
    impostor = any(role.trusted_ids.get(name, own_id) != own_id for name in names)
    return Resource(arn, role.tags, None if impostor else principals.trust_policy(role), rule, role.account)


def asked_for(call: Call, request: Mapping[str, Any]) -> Conditions:
    """Condition keys that a request to assume a role gives (IAM user guide, "Available keys for AWS STS")."""
    found: Conditions = dict(requested_tags(request.get("Tags", ())))
    for member in ("RoleSessionName", "ExternalId", "SourceIdentity"):
        if member in request:
            found[f"sts:{member}"] = request[member]
    if request.get("TransitiveTagKeys"):
        found["sts:TransitiveTagKeys"] = tuple(request["TransitiveTagKeys"])
    return found


def authorize(call: Call, role: Resource, request: Mapping[str, Any], session: issue.Session, factor: bool) -> None:
    """The trust policy, the caller's own policies, and for tags and source identity their actions too."""
    tags = [{"Key": key, "Value": value} for key, value in session.tags.items()]
    conditions: Conditions = {**asked_for(call, request), **requested_tags(tags)}
    if factor:
        conditions |= {"aws:MultiFactorAuthPresent": "true", "aws:MultiFactorAuthAge": "0"}
    call.authorize("sts:AssumeRole", role, conditions)
    if session.tags:
        call.authorize("sts:TagSession", role, conditions)
    if "SourceIdentity" in request:
        call.authorize("sts:SetSourceIdentity", role, conditions)


def lifetime(request: Mapping[str, Any], role: principals.Role, *, chained: bool) -> timedelta:
    """How long a session is to last; ValidationError beyond the role's limit, or an hour where roles follow roles."""
    wanted = timedelta(seconds=request.get("DurationSeconds", HOUR.total_seconds()))
    if chained and wanted > HOUR:
        raise ValidationException(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        )
    if wanted > role.longest_session:
        raise ValidationException("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    return wanted


def begun(
    call: Call, request: Mapping[str, Any], role: principals.Role, session: issue.Session, *, chained: bool = False
) -> dict[str, Any]:
    """The answer: credentials of the role under the session's name."""
    name = request["RoleSessionName"]
    arn = f"arn:aws:sts::{role.account}:assumed-role/{role.name}/{name}"
    user_id = f"{role.role_id}:{name}"
    sealed = replace(session, more={**session.more, "user_id": user_id, "role": role.name})
    credentials = issue.issue(call, arn, "role", lifetime(request, role, chained=chained), sealed, account=role.account)
    packed = session.packed_percent if session.policy or session.policy_arns or session.tags else None
    return {
        "Credentials": credentials,
        "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": arn},
        **({"PackedPolicySize": packed} if packed is not None else {}),
        **({"SourceIdentity": session.more["source_identity"]} if "source_identity" in session.more else {}),
    }


@sts.operation("AssumeRole", resources=nobody_is_denied, conditions=asked_for)
def assume_role(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | AwsError:
    """Temporary credentials of a role, when its trust policy allows it to the caller.

    Decided inside: a wrong code of a second factor has to be counted before the trust policy says no.
    """
    arn = request["RoleArn"]
    role = find_role(call, arn)
    session = _inherited(call, issue.requested(call, request), request)
    factor = issue.second_factor(call, request)
    if isinstance(factor, AwsError):
        return factor
    authorize(call, trusted(call, arn, role), request, session, bool(factor))
    if role is None:
        raise AccessDeniedException(
            f"User: {call.caller.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}"
        )
    return begun(call, request, role, session, chained=call.caller.kind == "role")


def _inherited(call: Call, session: issue.Session, request: Mapping[str, Any]) -> issue.Session:
    """The session with what the caller's own hands on: tags, source identity, and who began it all."""
    own = call.caller.context
    handed_on = {key: str(own.get(f"aws:PrincipalTag/{key}", "")) for key in own.get(HANDED_ON, ())}
    folded = {key.lower() for key in handed_on}
    if any(key.lower() in folded for key in session.tags):
        raise ValidationException("A tag that an earlier session handed on cannot be given again.")
    earlier = str(own.get("aws:SourceIdentity", ""))
    identity = request.get("SourceIdentity", earlier)
    if earlier and identity != earlier:
        raise AccessDeniedException("The source identity that an earlier session set cannot be changed.")
    more = {"origin": issue.origin(call.caller), **({"source_identity": identity} if identity else {})}
    if issue.SIGN_IN in own:
        more["sign_in"] = str(own[issue.SIGN_IN])
    return replace(
        session,
        tags={**handed_on, **session.tags},
        transitive=(*handed_on, *session.transitive),
        more=more,
    )
