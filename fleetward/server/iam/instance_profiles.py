"""Instance profiles: recorded, with the one role that each holds, for templates and tools that make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.iam import limits, names, principals, roles, tags
from fleetward.server.iam.context import passed_to
from fleetward.server.iam.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    LimitExceededException,
    NoSuchEntityException,
)
from fleetward.server.iam.service import iam, request_conditions
from fleetward.server.iam.tables import instance_profiles

ADD = insert(instance_profiles)
_THIS = (instance_profiles.c.account_id == bindparam("account"), instance_profiles.c.name == bindparam("profile_name"))
PROFILE = select(instance_profiles).where(*_THIS)
SAME_NAME = select(instance_profiles.c.name).where(
    instance_profiles.c.account_id == bindparam("account"), instance_profiles.c.folded == bindparam("in_lower_case")
)
COUNT = (
    select(func.count()).select_from(instance_profiles).where(instance_profiles.c.account_id == bindparam("account"))
)
LIST = (
    select(instance_profiles)
    .where(*names.slice_of(instance_profiles))
    .order_by(instance_profiles.c.folded)
    .limit(bindparam("most"))
)
OF_ROLE = select(instance_profiles).where(instance_profiles.c.role_id == bindparam("of_role"))
SET_ROLE = update(instance_profiles).where(*_THIS).values(role_id=bindparam("to_role"))
REMOVE = delete(instance_profiles).where(*_THIS)
SET_TAGS = tags.set_tags(instance_profiles, "name")


def find(call: Call, name: str) -> Row[Any]:
    """A profile's row; NoSuchEntity."""
    row = call.db.first(PROFILE, account=call.account, profile_name=name)
    if row is None:
        raise NoSuchEntityException(f"Instance Profile {name} cannot be found.")
    return row


def arn_of(row: Row[Any]) -> str:
    """The ARN of a profile's row."""
    return names.entity_arn(row.account_id, "instance-profile", row.path, row.name)


def resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the profile named, with its tags."""
    name = request["InstanceProfileName"]
    row = call.db.first(PROFILE, account=call.account, profile_name=name)
    if row is None:
        return (Resource(names.entity_arn(call.account, "instance-profile", "/", name)),)
    return (Resource(arn_of(row), row.tags),)


def _new_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    path, name = request.get("Path", "/"), request["InstanceProfileName"]
    return (Resource(names.entity_arn(call.account, "instance-profile", path, name)),)


def shape(call: Call, row: Row[Any], *, whole: bool = True) -> dict[str, Any]:
    """A profile as answers show it, with its role."""
    held = call.db.first(principals.ROLE_BY_ID, unique_id=row.role_id) if row.role_id else None
    shown = {
        "Path": row.path,
        "InstanceProfileName": row.name,
        "InstanceProfileId": row.profile_id,
        "Arn": arn_of(row),
        "CreateDate": row.created_at,
        "Roles": [] if held is None else [roles.shape(held, whole=False)],
    }
    return shown | names.tagged(row.tags) if whole else shown


@iam.operation("CreateInstanceProfile", resources=_new_resource, conditions=request_conditions)
def create_instance_profile(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A profile without a role."""
    name = request["InstanceProfileName"]
    if call.db.value(SAME_NAME, account=call.account, in_lower_case=name.lower()) is not None:
        raise EntityAlreadyExistsException(f"Instance Profile {name} already exists.")
    limits.check(call, "InstanceProfilesPerAccount", COUNT)
    row = {
        "account_id": call.account,
        "name": name,
        "folded": name.lower(),
        "path": request.get("Path", "/"),
        "profile_id": names.new_unique_id("AIPA"),
        "tags": names.tag_mapping(request.get("Tags", ())),
        "created_at": names.now(call),
    }
    call.db.run(ADD, row)
    return {"InstanceProfile": shape(call, find(call, name))}


@iam.operation("GetInstanceProfile", resources=resource, reads=True)
def get_instance_profile(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A profile and its role."""
    return {"InstanceProfile": shape(call, find(call, request["InstanceProfileName"]))}


@iam.operation("ListInstanceProfiles", reads=True)
def list_instance_profiles(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Profiles below a path, in order of name."""
    rows = call.db.all(LIST, **names.slice_values("ListInstanceProfiles", call, request))
    shown, more = names.page("ListInstanceProfiles", rows, request, lambda row: str(row.folded))
    return {"InstanceProfiles": [shape(call, row, whole=False) for row in shown], **more}


@iam.operation("ListInstanceProfilesForRole", resources=roles.resource, reads=True)
def list_instance_profiles_for_role(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The profiles that hold a role."""
    role = roles.find(call, request["RoleName"])
    found = call.db.all(OF_ROLE, of_role=role.role_id)
    shown, more = names.paged("ListInstanceProfilesForRole", found, request, lambda row: str(row.folded))
    return {"InstanceProfiles": [shape(call, row, whole=False) for row in shown], **more}


@iam.operation("AddRoleToInstanceProfile", resources=resource)
def add_role_to_instance_profile(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Put a role into a profile, which holds one; the caller must be allowed to pass it on."""
    row, role = find(call, request["InstanceProfileName"]), roles.find_own(call, request["RoleName"])
    call.authorize("iam:PassRole", Resource(roles.arn_of(role), role.tags), passed_to("ec2.amazonaws.com"))
    if row.role_id is not None:
        raise LimitExceededException("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
    call.db.run(SET_ROLE, {"account": call.account, "profile_name": row.name, "to_role": role.role_id})
    return {}


@iam.operation("RemoveRoleFromInstanceProfile", resources=resource)
def remove_role_from_instance_profile(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take a role out of a profile."""
    row, role = find(call, request["InstanceProfileName"]), roles.find(call, request["RoleName"])
    if row.role_id != role.role_id:
        raise NoSuchEntityException(f"Role {role.name} in Instance Profile {row.name} cannot be found.")
    call.db.run(SET_ROLE, {"account": call.account, "profile_name": row.name, "to_role": None})
    return {}


@iam.operation("DeleteInstanceProfile", resources=resource)
def delete_instance_profile(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a profile without a role."""
    row = find(call, request["InstanceProfileName"])
    if row.role_id is not None:
        raise DeleteConflictException("Cannot delete entity, must remove roles from instance profile first.")
    call.db.run(REMOVE, {"account": call.account, "profile_name": row.name})
    return {}


tags.register(tags.Carrier("InstanceProfile", "InstanceProfileName", find, find, resource, "name", SET_TAGS))
