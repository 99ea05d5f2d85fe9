"""Keys as rows: their tables, how they are found by id, ARN or alias, and what policies decide on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Index, Integer, LargeBinary, Row, String, Table, Text, bindparam, select

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException
from fleetward.server.iam import evaluate
from fleetward.server.iam.context import Conditions
from fleetward.server.key_rotation import SealedColumn
from fleetward.server.kms.errors import (
    DisabledException,
    InvalidArnException,
    InvalidMarkerException,
    KMSInvalidStateException,
    NotFoundException,
)
from fleetward.server.kms.policy_texts import compiled_policy
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, tenant

ENABLED, DISABLED, PENDING_DELETION = "Enabled", "Disabled", "PendingDeletion"
CUSTOMER, AWS = "CUSTOMER", "AWS"
MANAGED_PREFIX = "alias/aws/"
PAGE = 100

keys = Table(
    "kms_keys",
    metadata,
    *tenant(),
    Column("key_id", String(36), primary_key=True),
    Column("description", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("manager", String(8), nullable=False),
    Column("policy", Text, nullable=False),  # JSON text as it was given
    Column("tags", Json, nullable=False),
    Column("material", Integer, nullable=False),  # number of the one that encrypts
    Column("created_at", UtcDateTime, nullable=False),
    Column("deletion_at", UtcDateTime),
    Column("rotation_days", Integer),  # null: not by itself
    Column("rotates_at", UtcDateTime),
    Index("kms_keys_deletion", "deletion_at"),
    Index("kms_keys_rotation", "rotates_at"),
)

materials = Table(
    "kms_materials",
    metadata,
    *tenant(),
    Column("key_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("material_id", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # for kms-material/<account>/<region>/<key>/<number>
    Column("rotation", String(16)),  # AUTOMATIC or ON_DEMAND; null: the key's first
    Column("created_at", UtcDateTime, nullable=False),
)

aliases = Table(
    "kms_aliases",
    metadata,
    *tenant(),
    Column("name", String(256), primary_key=True),
    Column("key_id", String(36), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("kms_aliases_key", "account_id", "region", "key_id", "name"),
)

grants = Table(
    "kms_grants",
    metadata,
    *tenant(),
    Column("grant_id", String(64), primary_key=True),
    Column("key_id", String(36), nullable=False),
    Column("name", String(256)),
    Column("content", Json, nullable=False),  # principals, operations and constraints, by AWS's member names
    Column("retiring", String(256)),
    Column("created_at", UtcDateTime, nullable=False),
    Index("kms_grants_key", "account_id", "region", "key_id", "grant_id"),
    Index("kms_grants_retiring", "account_id", "region", "retiring", "grant_id"),
)

SEALED = (SealedColumn(materials, "sealed", lambda row: material_identity(row, row.key_id, row.number)),)

KEY_HERE = in_tenant(keys)
THIS_KEY = (*KEY_HERE, keys.c.key_id == bindparam("key"))
GET_KEY = select(keys).where(*THIS_KEY)
LOCK_KEY = GET_KEY.with_for_update()
ALIAS_HERE = in_tenant(aliases)
GET_ALIAS = select(aliases).where(*ALIAS_HERE, aliases.c.name == bindparam("alias"))
ALIASES_OF = select(aliases.c.name).where(*ALIAS_HERE, aliases.c.key_id == bindparam("key")).order_by(aliases.c.name)
GRANTS_OF = (
    select(grants.c.grant_id, grants.c.content)
    .where(*in_tenant(grants), grants.c.key_id == bindparam("key"))
    .order_by(grants.c.grant_id)
)

_ARN = re.compile(r"arn:aws:kms:([a-z0-9-]{1,32}):([0-9]{12}):(key|alias)/(.{1,256})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """A key, and the alias it was asked for by, if it was."""

    row: Row[Any]
    arn: str
    alias: str = ""


def material_identity(tenant: Any, key_id: str, number: int) -> str:
    """What sealed material is bound to: its row. `tenant` is a call or a row."""
    account = tenant.account if isinstance(tenant, Call) else tenant.account_id
    return f"kms-material/{account}/{tenant.region}/{key_id}/{number}"


def key_arn(call: Call, key_id: str) -> str:
    """A key's ARN."""
    return call.arn(f"key/{key_id}", service="kms")


def alias_arn(call: Call, name: str) -> str:
    """The ARN of an alias, `alias/…`."""
    return call.arn(name, service="kms")


def search(call: Call, named: str, *, lock: bool = False, by_alias: bool = True) -> Found:
    """The key of an id or ARN and, where `by_alias`, of an alias or its ARN. Raises NotFoundException."""
    name = _local(call, named)
    alias = ""
    if name.startswith("alias/"):
        if not by_alias:
            raise NotFoundException(f"Invalid keyId {named[:300]!r}: an alias is not allowed here; give the key's id.")
        found = call.db.first(GET_ALIAS, **call.here, alias=name)
        if found is None:
            raise NotFoundException(f"Alias {alias_arn(call, name)} is not found.")
        alias, name = name, found.key_id
    row = call.db.first(LOCK_KEY if lock else GET_KEY, **call.here, key=name)
    if row is None:
        raise NotFoundException(f"Key '{key_arn(call, name)}' does not exist")
    return Found(row, key_arn(call, name), alias)


def _local(call: Call, named: str) -> str:
    """`KEY` or `alias/NAME` of an id or ARN; ARNs of other accounts and regions name nothing here."""
    if not named.startswith("arn:"):
        return named
    parts = _ARN.fullmatch(named)
    if parts is None or (parts[1], parts[2]) != (call.region, call.account):
        raise NotFoundException(f"Invalid arn {named[:300]!r}: keys are those of {call.account} in {call.region}.")
    return parts[4] if parts[3] == "key" else f"alias/{parts[4]}"


def search_managed(call: Call, named: str, *, lock: bool = True) -> Found:
    """The key that an operation on the key itself names: by id or ARN. AWS-managed keys cannot be changed."""
    found = search(call, named, lock=lock, by_alias=False)
    if found.row.manager == AWS:
        raise AccessDeniedException(f"{found.arn} is managed by the service that uses it; it cannot be changed.")
    return found


def search_changeable(call: Call, named: str) -> Found:
    """The same, held for a change: KMSInvalidStateException for a key that waits for deletion."""
    found = search_managed(call, named)
    require_kept(found)
    return found


def require_usable(found: Found) -> None:
    """Refuse keys that are disabled or wait for deletion."""
    if found.row.state == DISABLED:
        raise DisabledException(f"{found.arn} is disabled.")
    require_kept(found)


def require_kept(found: Found) -> None:
    """Refuse keys that wait for deletion."""
    if found.row.state == PENDING_DELETION:
        raise KMSInvalidStateException(f"{found.arn} is pending deletion.")


def require_arn_here(call: Call, named: str) -> None:
    """InvalidArnException for something that begins like an ARN and is none of a key."""
    if named.startswith("arn:") and _ARN.fullmatch(named) is None:
        raise InvalidArnException(f"{named[:300]!r} is not the ARN of a key.")


def resource(call: Call, found: Found, conditions: Conditions | None = None) -> Resource:
    """What IAM decides on: the key with its tags, its policy together with its grants, and the condition keys."""
    granted = [(row.grant_id, row.content) for row in call.db.all(GRANTS_OF, **call.here, key=found.row.key_id)]
    policy = compiled_policy(found.row.policy, granted)
    given: dict[str, str | Sequence[str]] = {
        "kms:CallerAccount": call.caller.account,
        "kms:KeySpec": "SYMMETRIC_DEFAULT",
        "kms:KeyUsage": "ENCRYPT_DECRYPT",
        "kms:KeyOrigin": "AWS_KMS",
        "kms:MultiRegion": "false",
        "kms:ResourceAliases": call.db.values(ALIASES_OF, **call.here, key=found.row.key_id),
        **(conditions or {}),
    }
    if found.alias:
        given["kms:RequestAlias"] = found.alias
    rule = evaluate.ResourceRule.MUST_ALLOW
    return Resource(found.arn, found.row.tags, policy=policy, rule=rule, conditions=given)


def named_resource(call: Call, named: str, conditions: Conditions | None = None) -> Resource:
    """The resource of what a request names; of a key that is not there, the ARN alone."""
    try:
        return resource(call, search(call, named), conditions)
    except NotFoundException:
        return Resource(named if named.startswith("arn:") else key_arn(call, named))


def of_key(call: Call, request: Mapping[str, Any]) -> Sequence[Resource]:
    """`resources` of operations with a KeyId."""
    return (named_resource(call, request["KeyId"]),)


def marker(operation: str, request: Mapping[str, Any]) -> list[Any] | None:
    """The key to continue after; InvalidMarkerException for a marker that `operation` did not hand out."""
    try:
        return paging.decode(operation, request.get("Marker"))
    except paging.InvalidNextToken:
        raise InvalidMarkerException("The marker is not one that this operation handed out.") from None


def page(operation: str, rows: Sequence[Any], limit: int, key: Any) -> tuple[Sequence[Any], dict[str, Any]]:
    """Rows fetched with `limit + 1`: the page, and what the answer says about the rest."""
    shown, more = paging.page(operation, rows, limit, key)
    return shown, {"Truncated": True, "NextMarker": more["NextToken"]} if more else {"Truncated": False}
