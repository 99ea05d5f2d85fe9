"""Users: who signs with long-lived keys of his own; their paths, tags and permissions boundaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.iam import limits, names, principals
from fleetward.server.iam.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    NoSuchEntityException,
)
from fleetward.server.iam.service import iam, request_conditions
from fleetward.server.iam.tables import (
    access_keys,
    attachments,
    inline_policies,
    login_profiles,
    memberships,
    mfa_devices,
    users,
)

ROOT = "root"
"""How root is called where an answer must name a user."""

ADD = insert(users)
_THIS = (users.c.account_id == bindparam("account"), users.c.name == bindparam("user_name"))
SAME_NAME = select(users.c.name).where(
    users.c.account_id == bindparam("account"), users.c.folded == bindparam("in_lower_case")
)
COUNT = select(func.count()).select_from(users).where(users.c.account_id == bindparam("account"))
LIST = select(users).where(*names.slice_of(users)).order_by(users.c.folded).limit(bindparam("most"))
RENAME = (
    update(users)
    .where(*_THIS)
    .values(name=bindparam("to_name"), folded=bindparam("in_lower_case"), path=bindparam("to_path"))
)
RENAME_KEYS = (
    update(access_keys).where(access_keys.c.user_id == bindparam("of_user")).values(principal=bindparam("to_arn"))
)
REMOVE = delete(users).where(*_THIS)
HELD_BY = (
    (select(access_keys.c.access_key_id).where(access_keys.c.user_id == bindparam("of_user")), "delete access keys"),
    (select(login_profiles.c.user_id).where(login_profiles.c.user_id == bindparam("of_user")), "delete login profile"),
    (select(mfa_devices.c.name).where(mfa_devices.c.user_id == bindparam("of_user")), "delete MFA device"),
    (select(inline_policies.c.name).where(inline_policies.c.owner_id == bindparam("of_user")), "delete policies"),
    (select(attachments.c.policy_arn).where(attachments.c.owner_id == bindparam("of_user")), "detach all policies"),
    (select(memberships.c.group_id).where(memberships.c.user_id == bindparam("of_user")), "remove user from groups"),
)
"""What must go before its user does, and how AWS says so."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose keys, password or devices an operation is about: a user, or root where no name is given by root."""

    name: str
    user_id: str
    arn: str
    tags: Mapping[str, str]


def find(call: Call, name: str) -> Row[Any]:
    """A user's row; NoSuchEntity."""
    row = call.db.first(principals.USER, account=call.account, user_name=name)
    if row is None:
        raise NoSuchEntityException(f"The user with name {name} cannot be found.")
    return row


def arn_of(row: Row[Any]) -> str:
    """The ARN of a user's row."""
    return names.entity_arn(row.account_id, "user", row.path, row.name)


def owner(call: Call, request: Mapping[str, Any]) -> Owner:
    """The user that a request names, by default the caller itself, which may be root."""
    name = request.get("UserName")
    if name is None and call.caller.kind == "root":
        return Owner(ROOT, call.account, principals.root_arn(call.account), {})
    if name is None:
        row = principals.user_by_id(call, call.caller.user_id)
        if row is None:
            raise ValidationException("Must specify userName when calling with non-User credentials")
    else:
        row = find(call, name)
    return Owner(row.name, row.user_id, arn_of(row), row.tags)


def resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the user named, by default the caller, with its tags and boundary."""
    name = request.get("UserName")
    if name is None:
        return (Resource(call.caller.arn),)
    row = call.db.first(principals.USER, account=call.account, user_name=name)
    if row is None:
        return (Resource(names.entity_arn(call.account, "user", "/", name)),)
    conditions = {"iam:PermissionsBoundary": row.boundary} if row.boundary else None
    return (Resource(arn_of(row), row.tags, conditions=conditions),)


def _new_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(names.entity_arn(call.account, "user", request.get("Path", "/"), request["UserName"])),)


def _renamed_resources(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """Both the user as it is and as it will be (API reference, UpdateUser: permission for both)."""
    (before,) = resource(call, request)
    row = call.db.first(principals.USER, account=call.account, user_name=request["UserName"])
    path = request.get("NewPath") or (row.path if row is not None else "/")
    after = names.entity_arn(call.account, "user", path, request.get("NewUserName") or request["UserName"])
    return (before, before._replace(arn=after))


def shape(row: Row[Any], *, whole: bool = True) -> dict[str, Any]:
    """A user as answers show it; lists leave tags and boundary out."""
    shown = {
        "Path": row.path,
        "UserName": row.name,
        "UserId": row.user_id,
        "Arn": arn_of(row),
        "CreateDate": row.created_at,
    }
    if row.signed_in_at is not None:
        shown["PasswordLastUsed"] = row.signed_in_at
    return shown | boundary_shape(row) | names.tagged(row.tags) if whole else shown


def boundary_shape(row: Row[Any]) -> dict[str, Any]:
    """`PermissionsBoundary` of a user or role that has one."""
    if not row.boundary:
        return {}
    kind = "PermissionsBoundaryPolicy"
    return {"PermissionsBoundary": {"PermissionsBoundaryType": kind, "PermissionsBoundaryArn": row.boundary}}


@iam.operation("CreateUser", resources=_new_resource, conditions=request_conditions)
def create_user(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A user without rights: those come from its own and its groups' policies."""
    name = request["UserName"]
    _free(call, name)
    limits.check(call, "UsersPerAccount", COUNT)
    boundary = request.get("PermissionsBoundary")
    if boundary is not None:
        limits.boundary_exists(call, boundary)
    row = {
        "account_id": call.account,
        "name": name,
        "folded": name.lower(),
        "path": request.get("Path", "/"),
        "user_id": names.new_unique_id("AIDA"),
        "created_at": names.now(call),
        "boundary": boundary,
        "tags": names.tag_mapping(request.get("Tags", ())),
    }
    call.db.run(ADD, row)
    return {"User": shape(find(call, name))}


def _free(call: Call, name: str) -> None:
    if call.db.value(SAME_NAME, account=call.account, in_lower_case=name.lower()) is not None:
        raise EntityAlreadyExistsException(f"User with name {name} already exists.")


@iam.operation("GetUser", resources=resource, reads=True)
def get_user(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A user, by default the caller; root sees its account."""
    if "UserName" not in request and call.caller.kind == "root":
        first = call.db.value(limits.ROOT_SINCE, account=call.account) or names.now(call)
        arn = principals.root_arn(call.account)
        return {
            "User": {"Path": "/", "UserName": ROOT, "UserId": call.account, "Arn": arn, "CreateDate": first},
        }
    return {"User": shape(find(call, owner(call, request).name))}


@iam.operation("ListUsers", reads=True)
def list_users(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Users below a path, in order of name."""
    rows = call.db.all(LIST, **names.slice_values("ListUsers", call, request))
    shown, more = names.page("ListUsers", rows, request, lambda row: str(row.folded))
    return {"Users": [shape(row, whole=False) for row in shown], **more}


@iam.operation("UpdateUser", resources=_renamed_resources)
def update_user(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Another name or path; what the user has stays with it, its ARN changes."""
    row = find(call, request["UserName"])
    name = request.get("NewUserName", row.name)
    if name.lower() != row.folded:
        _free(call, name)
    path = request.get("NewPath", row.path)
    change = {"account": call.account, "user_name": row.name}
    call.db.run(RENAME, {**change, "to_name": name, "in_lower_case": name.lower(), "to_path": path})
    call.db.run(RENAME_KEYS, {"of_user": row.user_id, "to_arn": names.entity_arn(call.account, "user", path, name)})
    principals.changed(call)
    return {}


@iam.operation("DeleteUser", resources=resource)
def delete_user(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a user that has nothing any more; its sessions end at once."""
    row = find(call, request["UserName"])
    for statement, what in HELD_BY:
        if call.db.first(statement, of_user=row.user_id) is not None:
            raise DeleteConflictException(f"Cannot delete entity, must {what} first.")
    call.db.run(REMOVE, {"account": call.account, "user_name": row.name})
    principals.revoke(call, arn_of(row))
    principals.changed(call)
    return {}
