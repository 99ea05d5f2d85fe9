"""Roles: who may assume them, for how long, and roles linked to services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.iam import documents, limits, names, principals, users
from fleetward.server.iam.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    InvalidInputException,
    NoSuchEntityException,
    UnmodifiableEntityException,
)
from fleetward.server.iam.service import iam, request_conditions
from fleetward.server.iam.tables import attachments, deletion_tasks, inline_policies, instance_profiles, roles

SHORTEST_SESSION, LONGEST_SESSION = 3600, 43_200
LINKED = "/aws-service-role/"
LINKED_ROLES = {
    "ssm.amazonaws.com": "AWSServiceRoleForAmazonSSM",
    "accountdiscovery.ssm.amazonaws.com": "AWSServiceRoleForAmazonSSM_AccountDiscovery",
    "opsinsights.ssm.amazonaws.com": "AWSServiceRoleForAmazonSSM_OpsInsights",
    "opsdatasync.ssm.amazonaws.com": "AWSServiceRoleForSystemsManagerOpsDataSync",
    "organizations.amazonaws.com": "AWSServiceRoleForOrganizations",
    "member.org.stacksets.cloudformation.amazonaws.com": "AWSServiceRoleForCloudFormationStackSetsOrgMember",
    "stacksets.cloudformation.amazonaws.com": "AWSServiceRoleForCloudFormationStackSetsOrgAdmin",
}
"""Services that have a role of their own, and its name."""

_THIS = (roles.c.account_id == bindparam("account"), roles.c.name == bindparam("role_name"))
SAME_NAME = select(roles.c.name).where(
    roles.c.account_id == bindparam("account"), roles.c.folded == bindparam("in_lower_case")
)
COUNT = select(func.count()).select_from(roles).where(roles.c.account_id == bindparam("account"))
LIST = select(roles).where(*names.slice_of(roles)).order_by(roles.c.folded).limit(bindparam("most"))
CHANGE = update(roles).where(*_THIS).values(description=bindparam("to_text"), longest_session=bindparam("to_longest"))
CHANGE_TRUST = (
    update(roles)
    .where(*_THIS)
    .values(
        trust=bindparam("to_trust", type_=roles.c.trust.type),
        trusted_ids=bindparam("to_ids", type_=roles.c.trust.type),
    )
)
REMOVE = delete(roles).where(*_THIS)
HELD_BY = (
    (
        select(instance_profiles.c.name).where(instance_profiles.c.role_id == bindparam("of_role")).limit(1),
        "remove roles from instance profile",
    ),
    (select(inline_policies.c.name).where(inline_policies.c.owner_id == bindparam("of_role")), "delete policies"),
    (select(attachments.c.policy_arn).where(attachments.c.owner_id == bindparam("of_role")), "detach all policies"),
)
ADD_TASK = insert(deletion_tasks)
TASK = select(deletion_tasks.c.task_id).where(
    deletion_tasks.c.account_id == bindparam("account"), deletion_tasks.c.task_id == bindparam("task")
)


def find(call: Call, name: str) -> Row[Any]:
    """A role's row; NoSuchEntity."""
    row = call.db.first(principals.ROLE, account=call.account, role_name=name)
    if row is None:
        raise NoSuchEntityException(f"The role with name {name} cannot be found.")
    return row


def find_own(call: Call, name: str) -> Row[Any]:
    """A role that its account may change; UnmodifiableEntity for one that is linked to a service."""
    row = find(call, name)
    if row.path.startswith(LINKED):
        raise UnmodifiableEntityException(
            f"Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
        )
    return row


def arn_of(row: Row[Any]) -> str:
    """The ARN of a role's row."""
    return names.entity_arn(row.account_id, "role", row.path, row.name)


def resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the role named, with its tags and boundary."""
    row = call.db.first(principals.ROLE, account=call.account, role_name=request["RoleName"])
    if row is None:
        return (Resource(names.entity_arn(call.account, "role", "/", request["RoleName"])),)
    conditions = {"iam:PermissionsBoundary": row.boundary} if row.boundary else None
    return (Resource(arn_of(row), row.tags, conditions=conditions),)


def _new_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(names.entity_arn(call.account, "role", request.get("Path", "/"), request["RoleName"])),)


def shape(row: Row[Any], *, whole: bool = True) -> dict[str, Any]:
    """A role as answers show it; lists leave tags, boundary and last use out."""
    shown = {
        "Path": row.path,
        "RoleName": row.name,
        "RoleId": row.role_id,
        "Arn": arn_of(row),
        "CreateDate": row.created_at,
        "AssumeRolePolicyDocument": names.encoded(orjson.dumps(row.trust).decode()),
        "MaxSessionDuration": row.longest_session,
        **({"Description": row.description} if row.description else {}),
    }
    if not whole:
        return shown
    used = {"LastUsedDate": row.used_at, "Region": row.used_region} if row.used_at is not None else {}
    return shown | users.boundary_shape(row) | names.tagged(row.tags) | {"RoleLastUsed": used}


@iam.operation("CreateRole", resources=_new_resource, conditions=request_conditions)
def create_role(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A role that those may assume whom its trust policy names."""
    if request.get("Path", "/").startswith(LINKED):
        raise InvalidInputException(f"Paths below {LINKED} are for roles linked to services: CreateServiceLinkedRole.")
    boundary = request.get("PermissionsBoundary")
    if boundary is not None:
        limits.boundary_exists(call, boundary)
    longest = request.get("MaxSessionDuration", SHORTEST_SESSION)
    _add(call, request["RoleName"], request.get("Path", "/"), request["AssumeRolePolicyDocument"], {
        "description": request.get("Description", ""),
        "longest_session": longest,
        "boundary": boundary,
        "tags": names.tag_mapping(request.get("Tags", ())),
    })  # fmt: skip
    return {"Role": shape(find(call, request["RoleName"]))}


def _add(call: Call, name: str, path: str, trust: str, more: Mapping[str, Any]) -> None:
    if call.db.value(SAME_NAME, account=call.account, in_lower_case=name.lower()) is not None:
        raise EntityAlreadyExistsException(f"Role with name {name} already exists.")
    limits.check(call, "RolesPerAccount", COUNT)
    parsed, ids = documents.trust(call, trust, name)
    row = {
        "account_id": call.account,
        "name": name,
        "folded": name.lower(),
        "path": path,
        "role_id": names.new_unique_id("AROA"),
        "trust": parsed,
        "trusted_ids": ids,
        "created_at": names.now(call),
        **more,
    }
    call.db.run(principals.ADD_ROLE, row)


@iam.operation("GetRole", resources=resource, reads=True)
def get_role(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A role with its trust policy, and when it was last used."""
    return {"Role": shape(find(call, request["RoleName"]))}


@iam.operation("ListRoles", reads=True)
def list_roles(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Roles below a path, in order of name."""
    rows = call.db.all(LIST, **names.slice_values("ListRoles", call, request))
    shown, more = names.page("ListRoles", rows, request, lambda row: str(row.folded))
    return {"Roles": [shape(row, whole=False) for row in shown], **more}


@iam.operation("UpdateRole", resources=resource)
def update_role(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Another description or longest session; what is not given stays."""
    row = find_own(call, request["RoleName"])
    longest = request.get("MaxSessionDuration", row.longest_session)
    _describe(call, row, request.get("Description", row.description), longest)
    return {}


@iam.operation("UpdateRoleDescription", resources=resource)
def update_role_description(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Another description."""
    row = find_own(call, request["RoleName"])
    _describe(call, row, request["Description"], row.longest_session)
    return {"Role": shape(find(call, row.name))}


def _describe(call: Call, row: Row[Any], text: str, longest: int) -> None:
    call.db.run(CHANGE, {"account": call.account, "role_name": row.name, "to_text": text, "to_longest": longest})


@iam.operation("UpdateAssumeRolePolicy", resources=resource)
def update_assume_role_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Another trust policy; sessions that were begun under the old one go on."""
    row = find_own(call, request["RoleName"])
    parsed, ids = documents.trust(call, request["PolicyDocument"], row.name)
    call.db.run(CHANGE_TRUST, {"account": call.account, "role_name": row.name, "to_trust": parsed, "to_ids": ids})
    return {}


@iam.operation("DeleteRole", resources=resource)
def delete_role(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a role that has no policies and is in no instance profile; its sessions end at once."""
    row = find_own(call, request["RoleName"])
    for statement, what in HELD_BY:
        if call.db.first(statement, of_role=row.role_id) is not None:
            raise DeleteConflictException(f"Cannot delete entity, must {what} first.")
    _remove(call, row)
    return {}


def _remove(call: Call, row: Row[Any]) -> None:
    call.db.run(REMOVE, {"account": call.account, "role_name": row.name})
    principals.changed(call)


# -- linked to services


def _linked_name(request: Mapping[str, Any]) -> str:
    service, suffix = request["AWSServiceName"], request.get("CustomSuffix", "")
    if service not in LINKED_ROLES:
        known = ", ".join(sorted(LINKED_ROLES))
        raise InvalidInputException(f"{service} has no role of its own here; those that have one: {known}.")
    if suffix:
        raise InvalidInputException(f"Custom suffix is not allowed for {service}")
    return LINKED_ROLES[service]


def _linked_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    service = request["AWSServiceName"]
    name = LINKED_ROLES.get(service, "*")
    return (Resource(names.entity_arn(call.account, "role", f"{LINKED}{service}/", name)),)


@iam.operation("CreateServiceLinkedRole", resources=_linked_resource, conditions=request_conditions)
def create_service_linked_role(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The role of a service, which only that service may assume; it is recorded, services here need none."""
    name, service = _linked_name(request), request["AWSServiceName"]
    if call.db.value(SAME_NAME, account=call.account, in_lower_case=name.lower()) is not None:
        raise InvalidInputException(
            f"Service role name {name} has been taken in this account, please try a different suffix."
        )
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    trust = orjson.dumps({"Version": "2012-10-17", "Statement": [statement]}).decode()
    more = {
        "description": request.get("Description", ""),
        "longest_session": SHORTEST_SESSION,
        "boundary": None,
        "tags": {},
    }
    _add(call, name, f"{LINKED}{service}/", trust, more)
    return {"Role": shape(find(call, name))}


@iam.operation("DeleteServiceLinkedRole", resources=resource)
def delete_service_linked_role(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the role of a service; done when it answers, the task says so."""
    row = find(call, request["RoleName"])
    if not row.path.startswith(LINKED):
        raise ValidationException(f"The role {row.name} is not linked to a service: use DeleteRole.")
    task = f"task{row.path}{row.name}/{call.new_id()}"
    _remove(call, row)
    call.db.run(ADD_TASK, {"account_id": call.account, "task_id": task, "finished_at": call.now})
    return {"DeletionTaskId": task}


def _task_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """The role that the task is about: `task/aws-service-role/<service>/<role>/<id>`."""
    parts = request["DeletionTaskId"].split("/")
    path, name = (f"{LINKED}{parts[2]}/", parts[3]) if len(parts) == 5 else ("/", "*")
    return (Resource(names.entity_arn(call.account, "role", path, name)),)


@iam.operation("GetServiceLinkedRoleDeletionStatus", resources=_task_resource, reads=True)
def get_service_linked_role_deletion_status(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """How a deletion went."""
    if call.db.first(TASK, account=call.account, task=request["DeletionTaskId"]) is None:
        raise NoSuchEntityException(f"Deletion Task Id {request['DeletionTaskId']} cannot be found.")
    return {"Status": "SUCCEEDED"}
