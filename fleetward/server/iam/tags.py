"""Tags of users, roles, policies, instance profiles, MFA devices and OIDC providers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Table, bindparam, update
from sqlalchemy.sql import Update

from fleetward.server.call import Call, Resource
from fleetward.server.iam import managed, names, owners, principals
from fleetward.server.iam.service import iam, request_conditions
from fleetward.server.iam.tables import policies, roles, users
from fleetward.server.schema import Json


@dataclass(frozen=True, slots=True)
class Carrier:
    """One kind of thing with tags. `find` gives what has `tags`, or raises NoSuchEntity."""

    noun: str
    member: str
    find: Callable[[Call, str], Any]
    find_own: Callable[[Call, str], Any]
    resource: Callable[[Call, Mapping[str, Any]], Iterable[Resource]]
    key: str
    statement: Update


def set_tags(table: Table, key: str) -> Update:
    """The statement that exchanges the tags of the row whose column `key` is `of_key`, in its account."""
    return (
        update(table)
        .where(table.c.account_id == bindparam("account"), table.c[key] == bindparam("of_key"))
        .values(tags=bindparam("to_tags", type_=Json))
    )


SET_USER_TAGS = set_tags(users, "name")
SET_ROLE_TAGS = set_tags(roles, "name")
SET_POLICY_TAGS = set_tags(policies, "name")


def _find_role(call: Call, name: str) -> Row[Any]:
    return owners.ROLE.find(call, name)


USER = Carrier("User", "UserName", owners.USER.find, owners.USER.find, owners.USER.resource, "name", SET_USER_TAGS)
ROLE = Carrier("Role", "RoleName", _find_role, owners.ROLE.find_own, owners.ROLE.resource, "name", SET_ROLE_TAGS)
POLICY = Carrier("Policy", "PolicyArn", managed.find, managed.find_own, managed.resource, "name", SET_POLICY_TAGS)


def register(kind: Carrier) -> None:
    """TagUser, UntagUser and ListUserTags, and so for every kind."""
    where = kind.resource

    def tag(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
        found = kind.find_own(call, request[kind.member])
        _replace(call, kind, found, names.merged_tags(found.tags, names.tag_mapping(request["Tags"])))
        return {}

    def untag(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
        found = kind.find_own(call, request[kind.member])
        gone = {key.lower() for key in request["TagKeys"]}
        _replace(call, kind, found, {key: value for key, value in found.tags.items() if key.lower() not in gone})
        return {}

    def list_tags(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
        found = kind.find(call, request[kind.member]).tags
        shown, more = names.paged(f"List{kind.noun}Tags", found, request, str)
        return {"Tags": [{"Key": key, "Value": found[key]} for key in shown], **more}

    iam.operation(f"Tag{kind.noun}", resources=where, conditions=request_conditions)(tag)
    iam.operation(f"Untag{kind.noun}", resources=where, conditions=request_conditions)(untag)
    iam.operation(f"List{kind.noun}Tags", resources=where, reads=True)(list_tags)


def _replace(call: Call, kind: Carrier, found: Any, content: Mapping[str, str]) -> None:
    values = {"account": call.account, "of_key": getattr(found, kind.key), "to_tags": content}
    call.db.run(kind.statement, values)
    principals.changed(call)


for _kind in (USER, ROLE, POLICY):
    register(_kind)
