"""Groups: policies that several users share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.iam import limits, names, principals, users
from fleetward.server.iam.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    NoSuchEntityException,
)
from fleetward.server.iam.service import iam
from fleetward.server.iam.tables import attachments, groups, inline_policies, memberships
from fleetward.server.iam.tables import users as user_table

ADD = insert(groups)
_THIS = (groups.c.account_id == bindparam("account"), groups.c.name == bindparam("group_name"))
GROUP = select(groups).where(*_THIS)
SAME_NAME = select(groups.c.name).where(
    groups.c.account_id == bindparam("account"), groups.c.folded == bindparam("in_lower_case")
)
COUNT = select(func.count()).select_from(groups).where(groups.c.account_id == bindparam("account"))
LIST = select(groups).where(*names.slice_of(groups)).order_by(groups.c.folded).limit(bindparam("most"))
RENAME = (
    update(groups)
    .where(*_THIS)
    .values(name=bindparam("to_name"), folded=bindparam("in_lower_case"), path=bindparam("to_path"))
)
REMOVE = delete(groups).where(*_THIS)
_MEMBER = (memberships.c.group_id == bindparam("of_group"), memberships.c.user_id == bindparam("of_user"))
ADD_MEMBER = insert(memberships)
MEMBER = select(memberships.c.user_id).where(*_MEMBER)
REMOVE_MEMBER = delete(memberships).where(*_MEMBER)
MEMBERS = (
    select(user_table)
    .join(memberships, memberships.c.user_id == user_table.c.user_id)
    .where(memberships.c.group_id == bindparam("of_group"), user_table.c.folded > bindparam("after"))
    .order_by(user_table.c.folded)
    .limit(bindparam("most"))
)
OF_USER = (
    select(groups)
    .join(memberships, memberships.c.group_id == groups.c.group_id)
    .where(memberships.c.user_id == bindparam("of_user"))
    .order_by(groups.c.folded)
)
HELD_BY = (
    (
        select(memberships.c.user_id).where(memberships.c.group_id == bindparam("of_group")).limit(1),
        "remove users from group",
    ),
    (
        select(inline_policies.c.name).where(inline_policies.c.owner_id == bindparam("of_group")).limit(1),
        "delete policies",
    ),
    (
        select(attachments.c.policy_arn).where(attachments.c.owner_id == bindparam("of_group")).limit(1),
        "detach all policies",
    ),
)


def find(call: Call, name: str) -> Row[Any]:
    """A group's row; NoSuchEntity."""
    row = call.db.first(GROUP, account=call.account, group_name=name)
    if row is None:
        raise NoSuchEntityException(f"The group with name {name} cannot be found.")
    return row


def of_user(call: Call, user_id: str) -> Sequence[Row[Any]]:
    """The rows of the groups that a user is a member of, by his unique id."""
    return call.db.all(OF_USER, of_user=user_id)


def arn_of(row: Row[Any]) -> str:
    """The ARN of a group's row."""
    return names.entity_arn(row.account_id, "group", row.path, row.name)


def resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the group named."""
    row = call.db.first(GROUP, account=call.account, group_name=request["GroupName"])
    if row is None:
        return (Resource(names.entity_arn(call.account, "group", "/", request["GroupName"])),)
    return (Resource(arn_of(row)),)


def _new_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(names.entity_arn(call.account, "group", request.get("Path", "/"), request["GroupName"])),)


def _renamed_resources(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    (before,) = resource(call, request)
    row = call.db.first(GROUP, account=call.account, group_name=request["GroupName"])
    path = request.get("NewPath") or (row.path if row is not None else "/")
    name = request.get("NewGroupName") or request["GroupName"]
    return (before, Resource(names.entity_arn(call.account, "group", path, name)))


def shape(row: Row[Any]) -> dict[str, Any]:
    """A group as answers show it."""
    return {
        "Path": row.path,
        "GroupName": row.name,
        "GroupId": row.group_id,
        "Arn": arn_of(row),
        "CreateDate": row.created_at,
    }


@iam.operation("CreateGroup", resources=_new_resource)
def create_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A group without users and rights."""
    name = request["GroupName"]
    _free(call, name)
    limits.check(call, "GroupsPerAccount", COUNT)
    row = {
        "account_id": call.account,
        "name": name,
        "folded": name.lower(),
        "path": request.get("Path", "/"),
        "group_id": names.new_unique_id("AGPA"),
        "created_at": names.now(call),
    }
    call.db.run(ADD, row)
    return {"Group": shape(find(call, name))}


def _free(call: Call, name: str) -> None:
    if call.db.value(SAME_NAME, account=call.account, in_lower_case=name.lower()) is not None:
        raise EntityAlreadyExistsException(f"Group with name {name} already exists.")


@iam.operation("GetGroup", resources=resource, reads=True)
def get_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A group and its users, page by page."""
    row = find(call, request["GroupName"])
    after, most = names.text_after("GetGroup", request), names.size_of(request) + 1
    members = call.db.all(MEMBERS, of_group=row.group_id, after=after, most=most)
    shown, more = names.page("GetGroup", members, request, lambda member: str(member.folded))
    return {"Group": shape(row), "Users": [users.shape(member, whole=False) for member in shown], **more}


@iam.operation("ListGroups", reads=True)
def list_groups(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Groups below a path, in order of name."""
    rows = call.db.all(LIST, **names.slice_values("ListGroups", call, request))
    shown, more = names.page("ListGroups", rows, request, lambda row: str(row.folded))
    return {"Groups": [shape(row) for row in shown], **more}


@iam.operation("UpdateGroup", resources=_renamed_resources)
def update_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Another name or path; users and policies stay."""
    row = find(call, request["GroupName"])
    name = request.get("NewGroupName", row.name)
    if name.lower() != row.folded:
        _free(call, name)
    change = {"account": call.account, "group_name": row.name, "to_path": request.get("NewPath", row.path)}
    call.db.run(RENAME, {**change, "to_name": name, "in_lower_case": name.lower()})
    return {}


@iam.operation("DeleteGroup", resources=resource)
def delete_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a group that has neither users nor policies."""
    row = find(call, request["GroupName"])
    for statement, what in HELD_BY:
        if call.db.first(statement, of_group=row.group_id) is not None:
            raise DeleteConflictException(f"Cannot delete entity, must {what} first.")
    call.db.run(REMOVE, {"account": call.account, "group_name": row.name})
    return {}


@iam.operation("AddUserToGroup", resources=resource)
def add_user_to_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The group's policies count for the user too; one who is in it already stays."""
    group, user = find(call, request["GroupName"]), users.find(call, request["UserName"])
    if call.db.first(MEMBER, of_group=group.group_id, of_user=user.user_id) is None:
        limits.exceeded("GroupsPerUser", len(of_user(call, user.user_id)))
        call.db.run(ADD_MEMBER, {"group_id": group.group_id, "user_id": user.user_id})
        principals.changed(call)
    return {}


@iam.operation("RemoveUserFromGroup", resources=resource)
def remove_user_from_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The group's policies count for the user no longer."""
    group, user = find(call, request["GroupName"]), users.find(call, request["UserName"])
    if not call.db.run(REMOVE_MEMBER, {"of_group": group.group_id, "of_user": user.user_id}):
        raise NoSuchEntityException(f"User {user.name} not in group {group.name}")
    principals.changed(call)
    return {}


@iam.operation("ListGroupsForUser", resources=users.resource, reads=True)
def list_groups_for_user(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The groups a user is in."""
    user = users.find(call, request["UserName"])
    rows = of_user(call, user.user_id)
    shown, more = names.paged("ListGroupsForUser", rows, request, lambda row: str(row.folded))
    return {"Groups": [shape(row) for row in shown], **more}
