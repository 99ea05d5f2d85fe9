"""Grants: leave for one principal to do some things with a key, without touching its policy.

A grant counts in the decision as statements beside the key's policy, at once; grant tokens, with which AWS bridges the
time until a grant is known everywhere, are accepted and not needed.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Row, bindparam, delete, func, insert, select

from fleetward.server.call import ANY, Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.iam import evaluate
from fleetward.server.iam.context import Conditions
from fleetward.server.kms import kms
from fleetward.server.kms.errors import (
    DryRunOperationException,
    InvalidArnException,
    InvalidGrantIdException,
    InvalidGrantTokenException,
    LimitExceededException,
    NotFoundException,
)
from fleetward.server.kms.policy_texts import MOST_GRANTS, grant_statements
from fleetward.server.kms.table import (
    PAGE,
    Found,
    grants,
    key_arn,
    marker,
    named_resource,
    of_key,
    page,
    require_kept,
    require_usable,
    search,
)
from fleetward.server.schema import in_tenant
from fleetward.server.service import nobody_is_denied

OPERATIONS = frozenset(
    (
        "CreateGrant",
        "Decrypt",
        "DescribeKey",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "ReEncryptFrom",
        "ReEncryptTo",
        "RetireGrant",
    )
)
"""What a grant on a symmetric key can allow."""
PRINCIPALS = ("GranteePrincipal", "GranteeServicePrincipal", "RetiringPrincipal", "RetiringServicePrincipal")

_HERE = in_tenant(grants)
_OF_KEY = (*_HERE, grants.c.key_id == bindparam("key"))
ADD = insert(grants)
NAMED = select(grants).where(*_OF_KEY, grants.c.name == bindparam("called"))
COUNT = select(func.count()).select_from(grants).where(*_OF_KEY)
GET = select(grants).where(*_HERE, grants.c.grant_id == bindparam("grant"))
REMOVE = delete(grants).where(*_HERE, grants.c.grant_id == bindparam("grant"))
LIST = (
    select(grants)
    .where(*_OF_KEY, grants.c.grant_id > bindparam("after"))
    .order_by(grants.c.grant_id)
    .limit(bindparam("most"))
)
RETIRABLE = (
    select(grants)
    .where(*_HERE, grants.c.retiring == bindparam("by"), grants.c.grant_id > bindparam("after"))
    .order_by(grants.c.grant_id)
    .limit(bindparam("most"))
)


def _conditions(call: Call, request: Mapping[str, Any]) -> Conditions:
    given: dict[str, str | Sequence[str]] = {
        "kms:GrantOperations": request["Operations"],
        "kms:GrantIsForAWSResource": "false",
    }
    for member, name in (("GranteePrincipal", "kms:GranteePrincipal"), ("RetiringPrincipal", "kms:RetiringPrincipal")):
        if member in request:
            given[name] = request[member]
    constraints = [each for each in request.get("Constraints", {}) if each.startswith("EncryptionContext")]
    return {**given, "kms:GrantConstraintType": constraints} if constraints else given


@kms.operation("CreateGrant", resources=of_key, resource_policies=True, conditions=_conditions)
def create_grant(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Allow a principal some operations; the same name with the same content is the same grant."""
    found = search(call, request["KeyId"], lock=True, by_alias=False)
    require_usable(found)
    content = _content(request)
    _stop_dry_run(request)
    name = request.get("Name")
    known = call.db.first(NAMED, **call.here, key=found.row.key_id, called=name) if name else None
    if known is not None and known.content == content:
        return _answer(call, known.key_id, known.grant_id)
    if call.db.value(COUNT, **call.here, key=found.row.key_id) >= MOST_GRANTS:
        raise LimitExceededException(f"A key can have {MOST_GRANTS} grants at most.")
    grant_id = call.new_hex("", 64)
    row = {
        "grant_id": grant_id,
        "key_id": found.row.key_id,
        "name": name,
        "content": content,
        "retiring": request.get("RetiringPrincipal") or request.get("RetiringServicePrincipal"),
        "created_at": call.now,
    }
    call.db.run(ADD, {**call.tenant, **row})
    return _answer(call, found.row.key_id, grant_id)


@kms.operation("ListGrants", resources=of_key, resource_policies=True, reads=True)
def list_grants(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The grants of a key, of one grantee where one is named."""
    found = search(call, request["KeyId"], by_alias=False)
    wanted = {member: request[member] for member in PRINCIPALS[:2] if member in request}
    if "GrantId" in request:
        row = _grant(call, found, request["GrantId"])
        return {"Grants": [_shape(call, row)] if wanted.items() <= row.content.items() else [], "Truncated": False}
    limit = request.get("Limit", PAGE)
    (after,) = marker("ListGrants", request) or [""]
    rows = [
        row
        for row in call.db.all(LIST, **call.here, key=found.row.key_id, after=after, most=MOST_GRANTS)
        if wanted.items() <= row.content.items()
    ]
    shown, more = page("ListGrants", rows[: limit + 1], limit, lambda row: [row.grant_id])
    return {"Grants": [_shape(call, row) for row in shown], **more}


@kms.operation("ListRetirableGrants", resources=nobody_is_denied, reads=True)
def list_retirable_grants(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The grants that a principal can retire; others than itself need leave to ask."""
    retiring = request.get("RetiringPrincipal") or request.get("RetiringServicePrincipal")
    if not retiring:
        raise ValidationException("RetiringPrincipal must be given.")
    own = call.caller.names[:-1] or call.caller.names  # the last is the account, which stands for all in it
    if f"AWS:{retiring}" not in own:
        call.authorize("kms:ListRetirableGrants", ANY[0])
    limit = request.get("Limit", PAGE)
    (after,) = marker("ListRetirableGrants", request) or [""]
    rows = call.db.all(RETIRABLE, **call.here, by=retiring, after=after, most=limit + 1)
    shown, more = page("ListRetirableGrants", rows, limit, lambda row: [row.grant_id])
    return {"Grants": [_shape(call, row) for row in shown], **more}


@kms.operation("RevokeGrant", resources=of_key, resource_policies=True)
def revoke_grant(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """End a grant, by whoever manages the key."""
    found = search(call, request["KeyId"], lock=True, by_alias=False)
    require_kept(found)
    row = _grant(call, found, request["GrantId"])
    _stop_dry_run(request)
    call.db.run(REMOVE, {**call.here, "grant": row.grant_id})
    return {}


def _grants_key(call: Call, request: Mapping[str, Any]) -> Sequence[Resource]:
    key_id, grant_id = _named(call, request)
    return (named_resource(call, key_id, {"fleetward:GrantId": grant_id}),)


@kms.operation("RetireGrant", resources=_grants_key, resource_policies=True)
def retire_grant(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """End a grant, by the principal whom it names for that, or whom a policy allows it."""
    key_id, grant_id = _named(call, request)
    found = search(call, key_id, lock=True, by_alias=False)
    require_kept(found)
    row = _grant(call, found, grant_id)
    _stop_dry_run(request)
    call.db.run(REMOVE, {**call.here, "grant": row.grant_id})
    return {}


def _named(call: Call, request: Mapping[str, Any]) -> tuple[str, str]:
    """Key and grant that RetireGrant means, by token or by both ids."""
    if "GrantToken" in request:
        return _read_token(request["GrantToken"])
    if "KeyId" not in request or "GrantId" not in request:
        raise ValidationException("Give either GrantToken, or KeyId and GrantId.")
    return request["KeyId"], request["GrantId"]


def _content(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a grant says, checked."""
    if not (request.get("GranteePrincipal") or request.get("GranteeServicePrincipal")):
        raise ValidationException("GranteePrincipal must be given.")
    wrong = sorted(set(request["Operations"]) - OPERATIONS)
    if wrong or not request["Operations"]:
        raise ValidationException(
            f"A grant on a symmetric key allows some of {', '.join(sorted(OPERATIONS))};"
            f" not {', '.join(wrong) or 'none'}."
        )
    content = {member: request[member] for member in PRINCIPALS if member in request}
    content["Operations"] = sorted(set(request["Operations"]))
    if request.get("Constraints"):
        content["Constraints"] = request["Constraints"]
    try:
        statements = grant_statements("", content)
        if statements:
            evaluate.compile_policy({"Version": "2012-10-17", "Statement": statements}, resource_based=True)
    except evaluate.MalformedPolicy as fault:
        raise InvalidArnException(f"A principal of the grant cannot be used: {fault}") from fault
    return content


def _grant(call: Call, found: Found, grant_id: str) -> Row[Any]:
    row = call.db.first(GET, **call.here, grant=grant_id)
    if row is None or row.key_id != found.row.key_id:
        if not grant_id.isalnum():
            raise InvalidGrantIdException(f"{grant_id!r} is not the id of a grant.")
        raise NotFoundException(f"{found.arn} has no grant {grant_id}.")
    return row


def _answer(call: Call, key_id: str, grant_id: str) -> dict[str, Any]:
    token = base64.urlsafe_b64encode(orjson.dumps([key_id, grant_id])).decode()
    return {"GrantId": grant_id, "GrantToken": token}


def _read_token(token: str) -> tuple[str, str]:
    """A token names its grant; it gives no rights."""
    try:
        key_id, grant_id = orjson.loads(base64.urlsafe_b64decode(token.encode()))
        if not (isinstance(key_id, str) and isinstance(grant_id, str)):
            raise ValueError
    except (ValueError, TypeError) as fault:
        raise InvalidGrantTokenException("The grant token is not one that CreateGrant answered.") from fault
    return key_id, grant_id


def _shape(call: Call, row: Row[Any]) -> dict[str, Any]:
    shown = {
        "KeyId": key_arn(call, row.key_id),
        "GrantId": row.grant_id,
        "Name": row.name,
        "CreationDate": row.created_at,
        "IssuingAccount": f"arn:aws:iam::{call.account}:root",
        **row.content,
    }
    return {member: value for member, value in shown.items() if value is not None}


def _stop_dry_run(request: Mapping[str, Any]) -> None:
    if request.get("DryRun"):
        raise DryRunOperationException("The request would have succeeded, but the DryRun option is set.")
