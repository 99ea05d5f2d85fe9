"""Inline policies: documents that live and die with one user, group or role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as insert_or_replace

from fleetward.server.call import Call
from fleetward.server.iam import documents, names, principals
from fleetward.server.iam.errors import NoSuchEntityException
from fleetward.server.iam.owners import OWNERS, Owner
from fleetward.server.iam.service import iam
from fleetward.server.iam.tables import inline_policies

_new = insert_or_replace(inline_policies)
PUT = _new.on_conflict_do_update(index_elements=["owner_id", "name"], set_={"document": _new.excluded.document})
_ALL = inline_policies.c.owner_id == bindparam("owner")
_ONE = (_ALL, inline_policies.c.name == bindparam("policy_name"))
ALL = select(inline_policies).where(_ALL)
ONE = select(inline_policies.c.document).where(*_ONE)
REMOVE = delete(inline_policies).where(*_ONE)


def of(call: Call, unique_id: str) -> dict[str, str]:
    """The inline policies of an owner, name -> document, in order of name."""
    rows = call.db.all(ALL, owner=unique_id)
    return {row.name: row.document for row in sorted(rows, key=lambda row: str(row.name))}


def details(call: Call, unique_id: str) -> list[dict[str, str]]:
    """The inline policies of an owner as GetAccountAuthorizationDetails lists them."""
    return [
        {"PolicyName": name, "PolicyDocument": names.encoded(document)}
        for name, document in of(call, unique_id).items()
    ]


def put(call: Call, kind: Owner, request: Mapping[str, Any]) -> dict[str, Any]:
    """Add a policy, or exchange the one of that name."""
    row = kind.find_own(call, request[kind.member])
    owner, name, document = kind.id_of(row), request["PolicyName"], request["PolicyDocument"]
    others = sum(documents.size(text) for each, text in of(call, owner).items() if each != name)
    documents.check(document, kind.word, row.name, others=others)
    call.db.run(PUT, {"owner_id": owner, "name": name, "document": document})
    principals.changed(call)
    return {}


def get(call: Call, kind: Owner, request: Mapping[str, Any]) -> dict[str, Any]:
    """One policy with its document."""
    row, name = kind.find(call, request[kind.member]), request["PolicyName"]
    document = call.db.value(ONE, owner=kind.id_of(row), policy_name=name)
    if document is None:
        raise _missing(kind, name)
    return {kind.member: row.name, "PolicyName": name, "PolicyDocument": names.encoded(document)}


def remove(call: Call, kind: Owner, request: Mapping[str, Any]) -> dict[str, Any]:
    """Delete one policy."""
    row, name = kind.find_own(call, request[kind.member]), request["PolicyName"]
    if not call.db.run(REMOVE, {"owner": kind.id_of(row), "policy_name": name}):
        raise _missing(kind, name)
    principals.changed(call)
    return {}


def list_names(call: Call, kind: Owner, request: Mapping[str, Any]) -> dict[str, Any]:
    """The names of an owner's policies."""
    found = of(call, kind.id_of(kind.find(call, request[kind.member])))
    shown, more = names.paged(f"List{kind.noun}Policies", found, request, str)
    return {"PolicyNames": list(shown), **more}


def _missing(kind: Owner, name: str) -> NoSuchEntityException:
    return NoSuchEntityException(f"The {kind.word} policy with name {name} cannot be found.")


def _register(kind: Owner) -> None:
    """PutUserPolicy, GetUserPolicy, DeleteUserPolicy, ListUserPolicies, and so for groups and roles."""
    noun, where = kind.noun, kind.resource
    iam.operation(f"Put{noun}Policy", resources=where)(lambda call, request: put(call, kind, request))
    iam.operation(f"Get{noun}Policy", resources=where, reads=True)(lambda call, request: get(call, kind, request))
    iam.operation(f"Delete{noun}Policy", resources=where)(lambda call, request: remove(call, kind, request))
    listing = iam.operation(f"List{noun}Policies", resources=where, reads=True)
    listing(lambda call, request: list_names(call, kind, request))


for _owner in OWNERS:
    _register(_owner)
