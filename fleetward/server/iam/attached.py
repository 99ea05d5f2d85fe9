"""Attachments: managed policies on users, groups and roles, and permissions boundaries of users and roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.sql import Update

from fleetward.server.call import Call
from fleetward.server.iam import limits, managed, names, owners, principals
from fleetward.server.iam.errors import InvalidInputException, NoSuchEntityException
from fleetward.server.iam.owners import OWNERS, Owner
from fleetward.server.iam.service import iam, request_conditions
from fleetward.server.iam.tables import attachments, groups, roles, users

ADD = insert(attachments)
_ALL = attachments.c.owner_id == bindparam("owner")
ALL = select(attachments.c.policy_arn).where(_ALL)
REMOVE = delete(attachments).where(_ALL, attachments.c.policy_arn == bindparam("arn"))
_OF_POLICY = (attachments.c.account_id == bindparam("account"), attachments.c.policy_arn == bindparam("arn"))
USERS_WITH = (
    select(users.c.name, users.c.user_id, users.c.path)
    .join(attachments, attachments.c.owner_id == users.c.user_id)
    .where(*_OF_POLICY)
)
GROUPS_WITH = (
    select(groups.c.name, groups.c.group_id, groups.c.path)
    .join(attachments, attachments.c.owner_id == groups.c.group_id)
    .where(*_OF_POLICY)
)
ROLES_WITH = (
    select(roles.c.name, roles.c.role_id, roles.c.path)
    .join(attachments, attachments.c.owner_id == roles.c.role_id)
    .where(*_OF_POLICY)
)
USERS_BOUND = select(users.c.name, users.c.user_id, users.c.path).where(
    users.c.account_id == bindparam("account"), users.c.boundary == bindparam("arn")
)
ROLES_BOUND = select(roles.c.name, roles.c.role_id, roles.c.path).where(
    roles.c.account_id == bindparam("account"), roles.c.boundary == bindparam("arn")
)
ENTITIES = (
    ("Group", "PermissionsPolicy", GROUPS_WITH),
    ("Role", "PermissionsPolicy", ROLES_WITH),
    ("Role", "PermissionsBoundary", ROLES_BOUND),
    ("User", "PermissionsPolicy", USERS_WITH),
    ("User", "PermissionsBoundary", USERS_BOUND),
)
"""Kind of entity, how it uses the policy, and the statement that finds it."""

BIND_USER = update(users).where(users.c.user_id == bindparam("owner")).values(boundary=bindparam("to_boundary"))
BIND_ROLE = update(roles).where(roles.c.role_id == bindparam("owner")).values(boundary=bindparam("to_boundary"))


def of(call: Call, unique_id: str) -> list[str]:
    """The ARNs of the policies attached to an owner, in order."""
    return sorted(call.db.values(ALL, owner=unique_id))


def shapes(arns: list[str]) -> list[dict[str, str]]:
    """Attached policies as answers list them."""
    return [{"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn} for arn in arns]


def attach(call: Call, kind: Owner, request: Mapping[str, Any]) -> dict[str, Any]:
    """The policy counts for the owner too; attaching it again changes nothing."""
    row, arn = kind.find_own(call, request[kind.member]), request["PolicyArn"]
    if managed.look_up(call, arn) is None:
        if not arn.startswith("arn:aws:iam::"):
            raise InvalidInputException(f"ARN {arn} is not valid.")
        raise NoSuchEntityException(f"Policy {arn} does not exist or is not attachable.")
    present = of(call, kind.id_of(row))
    if arn not in present:
        limits.exceeded(f"AttachedPoliciesPer{kind.noun}", len(present))
        call.db.run(ADD, {"owner_id": kind.id_of(row), "policy_arn": arn, "account_id": call.account})
        principals.changed(call)
    return {}


def detach(call: Call, kind: Owner, request: Mapping[str, Any]) -> dict[str, Any]:
    """The policy counts for the owner no longer."""
    row, arn = kind.find_own(call, request[kind.member]), request["PolicyArn"]
    if not call.db.run(REMOVE, {"owner": kind.id_of(row), "arn": arn}):
        raise NoSuchEntityException(f"Policy {arn} was not found.")
    principals.changed(call)
    return {}


def list_attached(call: Call, kind: Owner, request: Mapping[str, Any]) -> dict[str, Any]:
    """The policies attached to an owner, below a path."""
    row, below = kind.find(call, request[kind.member]), request.get("PathPrefix", "/")
    found = [arn for arn in of(call, kind.id_of(row)) if arn.partition(":policy")[2].startswith(below)]
    shown, more = names.paged(f"ListAttached{kind.noun}Policies", found, request, str)
    return {"AttachedPolicies": shapes(list(shown)), **more}


def _register(kind: Owner) -> None:
    """AttachUserPolicy, DetachUserPolicy, ListAttachedUserPolicies, and so for groups and roles."""
    noun, where = kind.noun, kind.resource
    attaching = iam.operation(f"Attach{noun}Policy", resources=where, conditions=request_conditions)
    attaching(lambda call, request: attach(call, kind, request))
    detaching = iam.operation(f"Detach{noun}Policy", resources=where, conditions=request_conditions)
    detaching(lambda call, request: detach(call, kind, request))
    listing = iam.operation(f"ListAttached{noun}Policies", resources=where, reads=True)
    listing(lambda call, request: list_attached(call, kind, request))


for _owner in OWNERS:
    _register(_owner)


@iam.operation("ListEntitiesForPolicy", resources=managed.resource, reads=True)
def list_entities_for_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Whom a policy is attached to, or bounds."""
    policy = managed.find(call, request["PolicyArn"])
    usage, below = request.get("PolicyUsageFilter"), request.get("PathPrefix", "/")
    found: dict[tuple[str, str, str], None] = {}
    for kind, how, statement in ENTITIES:
        if request.get("EntityFilter") in (None, kind) and usage in (None, how):
            rows = call.db.all(statement, account=call.account, arn=policy.arn)
            found.update({(kind, row[0], row[1]): None for row in rows if row.path.startswith(below)})
    shown, more = names.paged("ListEntitiesForPolicy", found, request, lambda each: f"{each[0]} {each[1].lower()}")
    listed = {
        f"Policy{kind}s": [{f"{kind}Name": name, f"{kind}Id": unique} for each, name, unique in shown if each == kind]
        for kind in ("Group", "User", "Role")
    }
    return listed | more


# -- boundaries


def _bind(call: Call, kind: Owner, statement: Update, request: Mapping[str, Any], arn: str | None) -> dict[str, Any]:
    row = kind.find_own(call, request[kind.member])
    if arn is not None:
        if not arn.startswith("arn:aws:iam::"):
            raise InvalidInputException(f"ARN {arn} is not valid.")
        limits.boundary_exists(call, arn)
    elif row.boundary is None:
        raise NoSuchEntityException(f"The {kind.word} {row.name} has no permissions boundary.")
    call.db.run(statement, {"owner": kind.id_of(row), "to_boundary": arn})
    principals.changed(call)
    return {}


@iam.operation("PutUserPermissionsBoundary", resources=owners.USER.resource, conditions=request_conditions)
def put_user_permissions_boundary(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The user may at most do what the managed policy allows too."""
    return _bind(call, owners.USER, BIND_USER, request, request["PermissionsBoundary"])


@iam.operation("DeleteUserPermissionsBoundary", resources=owners.USER.resource)
def delete_user_permissions_boundary(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The user's own policies alone count again."""
    return _bind(call, owners.USER, BIND_USER, request, None)


@iam.operation("PutRolePermissionsBoundary", resources=owners.ROLE.resource, conditions=request_conditions)
def put_role_permissions_boundary(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The role may at most do what the managed policy allows too."""
    return _bind(call, owners.ROLE, BIND_ROLE, request, request["PermissionsBoundary"])


@iam.operation("DeleteRolePermissionsBoundary", resources=owners.ROLE.resource)
def delete_role_permissions_boundary(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The role's own policies alone count again."""
    return _bind(call, owners.ROLE, BIND_ROLE, request, None)
