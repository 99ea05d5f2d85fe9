"""Aliases: friendly names that point to keys and can be pointed elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.kms import kms
from fleetward.server.kms.errors import (
    AlreadyExistsException,
    InvalidAliasNameException,
    LimitExceededException,
    NotFoundException,
)
from fleetward.server.kms.table import (
    ALIAS_HERE,
    GET_ALIAS,
    MANAGED_PREFIX,
    PAGE,
    Found,
    alias_arn,
    aliases,
    marker,
    named_resource,
    page,
    require_arn_here,
    search,
    search_changeable,
)

MOST_ALIASES = 50
"""Per key (KMS developer guide, "Resource quotas")."""

ADD = insert(aliases)
_THIS = (*ALIAS_HERE, aliases.c.name == bindparam("alias"))
POINT = update(aliases).where(*_THIS).values(key_id=bindparam("to_key"), changed_at=bindparam("now"))
REMOVE = delete(aliases).where(*_THIS)
COUNT = select(func.count()).select_from(aliases).where(*ALIAS_HERE, aliases.c.key_id == bindparam("key"))
LIST = (
    select(aliases)
    .where(*ALIAS_HERE, aliases.c.name > bindparam("after"))
    .order_by(aliases.c.name)
    .limit(bindparam("most"))
)
LIST_OF_KEY = LIST.where(aliases.c.key_id == bindparam("key"))


def _alias(call: Call, request: Mapping[str, Any]) -> Resource:
    return Resource(alias_arn(call, request["AliasName"]))


def _alias_and_target(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (_alias(call, request), named_resource(call, request["TargetKeyId"]))


def _alias_and_keys(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (*_alias_and_key(call, request), named_resource(call, request["TargetKeyId"]))


def _alias_and_key(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    found = call.db.first(GET_ALIAS, **call.here, alias=request["AliasName"])
    key = () if found is None else (named_resource(call, found.key_id),)
    return (_alias(call, request), *key)


@kms.operation("CreateAlias", resources=_alias_and_target, resource_policies=True)
def create_alias(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give a key a name that no other key of account and region has."""
    name = _require_own(request["AliasName"])
    found = _target(call, request)
    if call.db.first(GET_ALIAS, **call.here, alias=name) is not None:
        raise AlreadyExistsException(f"An alias with the name {alias_arn(call, name)} already exists")
    _require_room(call, found)
    row = {"name": name, "key_id": found.row.key_id, "created_at": call.now, "changed_at": call.now}
    call.db.run(ADD, {**call.tenant, **row})
    return {}


@kms.operation("UpdateAlias", resources=_alias_and_keys, resource_policies=True)
def update_alias(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Point an alias to another key; what was encrypted by it stays readable."""
    name = _existing(call, request)
    found = _target(call, request)
    _require_room(call, found)
    call.db.run(POINT, {**call.here, "alias": name, "to_key": found.row.key_id, "now": call.now})
    return {}


@kms.operation("DeleteAlias", resources=_alias_and_key, resource_policies=True)
def delete_alias(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a name; the key stays."""
    call.db.run(REMOVE, {**call.here, "alias": _existing(call, request)})
    return {}


@kms.operation("ListAliases", reads=True)
def list_aliases(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Aliases in order of name, of one key or of all."""
    limit = request.get("Limit", PAGE)
    (after,) = marker("ListAliases", request) or [""]
    values = {**call.here, "after": after, "most": limit + 1}
    if "KeyId" in request:
        require_arn_here(call, request["KeyId"])
        key_id = search(call, request["KeyId"], by_alias=False).row.key_id
        rows = call.db.all(LIST_OF_KEY, **values, key=key_id)
    else:
        rows = call.db.all(LIST, **values)
    shown, more = page("ListAliases", rows, limit, lambda row: [row.name])
    listed = [
        {
            "AliasName": row.name,
            "AliasArn": alias_arn(call, row.name),
            "TargetKeyId": row.key_id,
            "CreationDate": row.created_at,
            "LastUpdatedDate": row.changed_at,
        }
        for row in shown
    ]
    return {"Aliases": listed, **more}


def _require_own(name: str) -> str:
    """A name that callers may give."""
    if name.startswith(MANAGED_PREFIX):
        raise InvalidAliasNameException(f"{name!r}: names below {MANAGED_PREFIX} belong to AWS-managed keys.")
    _require_prefix(name)
    if ":" in name:
        raise ValidationException(f"{name} contains invalid characters for an alias")
    if name == "alias/":
        raise InvalidAliasNameException(f"{name!r}: an alias is 'alias/' and letters, digits, '/', '_' and '-'.")
    return name


def _require_prefix(name: str) -> None:
    if not name.startswith("alias/"):
        raise ValidationException("Invalid identifier")


def _existing(call: Call, request: Mapping[str, Any]) -> str:
    name: str = request["AliasName"]
    _require_prefix(name)
    if name.startswith(MANAGED_PREFIX):
        raise NotFoundException(f"Alias {alias_arn(call, name)} is not yours to change.")
    if call.db.first(GET_ALIAS, **call.here, alias=name) is None:
        raise NotFoundException(f"Alias {alias_arn(call, name)} is not found.")
    return name


def _target(call: Call, request: Mapping[str, Any]) -> Found:
    if request["TargetKeyId"].startswith("alias/"):
        raise ValidationException("Aliases must refer to keys. Not aliases")
    return search_changeable(call, request["TargetKeyId"])


def _require_room(call: Call, found: Found) -> None:
    if call.db.value(COUNT, **call.here, key=found.row.key_id) >= MOST_ALIASES:
        raise LimitExceededException(f"A key can have {MOST_ALIASES} aliases at most.")
