"""Managed policies: documents with ARNs of their own, in up to five versions, AWS's among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.iam import documents, limits, names, principals
from fleetward.server.iam.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    InvalidInputException,
    LimitExceededException,
    NoSuchEntityException,
)
from fleetward.server.iam.managed_policies import AWS_POLICIES
from fleetward.server.iam.service import iam, request_conditions
from fleetward.server.iam.tables import attachments, policies, policy_versions, roles, users

AWS_SINCE = datetime(2026, 1, 1, tzinfo=UTC)
"""Ours: when policies that every account has were written."""

ADD = insert(policies)
ADD_VERSION = insert(policy_versions)
_THIS = (policies.c.account_id == bindparam("account"), policies.c.name == bindparam("policy_name"))
POLICY = select(policies).where(*_THIS)
SAME_NAME = select(policies.c.name).where(
    policies.c.account_id == bindparam("account"), policies.c.folded == bindparam("in_lower_case")
)
COUNT = select(func.count()).select_from(policies).where(policies.c.account_id == bindparam("account"))
LIST = select(policies).where(*names.slice_of(policies)[:2])
_VERSIONS = policy_versions.c.policy_id == bindparam("of_policy")
VERSIONS = select(policy_versions).where(_VERSIONS).order_by(policy_versions.c.number)
REMOVE_VERSION = delete(policy_versions).where(_VERSIONS, policy_versions.c.number == bindparam("version_number"))
SET_VERSIONS = (
    update(policies)
    .where(*_THIS)
    .values(default_version=bindparam("to_default"), newest_version=bindparam("to_newest"), updated_at=bindparam("now"))
)
REMOVE = delete(policies).where(*_THIS)
COUNT_ATTACHED = (
    select(attachments.c.policy_arn, func.count().label("number"))
    .where(
        attachments.c.account_id == bindparam("account"),
        attachments.c.policy_arn.in_(bindparam("arns", expanding=True)),
    )
    .group_by(attachments.c.policy_arn)
)
BOUND_USERS = (
    select(users.c.boundary, func.count().label("number"))
    .where(users.c.account_id == bindparam("account"), users.c.boundary.in_(bindparam("arns", expanding=True)))
    .group_by(users.c.boundary)
)
BOUND_ROLES = (
    select(roles.c.boundary, func.count().label("number"))
    .where(roles.c.account_id == bindparam("account"), roles.c.boundary.in_(bindparam("arns", expanding=True)))
    .group_by(roles.c.boundary)
)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a document."""

    number: int
    document: str
    is_default: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Managed:
    """A managed policy, AWS's or the account's own. `owned` is False for AWS's."""

    arn: str
    name: str
    path: str
    policy_id: str
    description: str
    tags: Mapping[str, str]
    default_version: int
    newest_version: int
    created_at: datetime
    updated_at: datetime
    owned: bool


def look_up(call: Call, arn: str) -> Managed | None:
    """A policy by its ARN, or None."""
    if arn in principals.AWS_ARNS:
        return _of_aws(arn)
    parsed = names.parse_arn(arn, "policy")
    if parsed is None or parsed[0] != call.account:
        return None
    row = call.db.first(POLICY, account=call.account, policy_name=parsed[2])
    return None if row is None or row.path != parsed[1] else _of_row(row)


def find(call: Call, arn: str) -> Managed:
    """A policy by its ARN; NoSuchEntity, or InvalidInput for what is no ARN of a policy."""
    found = look_up(call, arn)
    if found is None:
        if not arn.startswith("arn:aws:iam::"):
            raise InvalidInputException(f"ARN {arn} is not valid.")
        raise NoSuchEntityException(f"Policy {arn} was not found.")
    return found


def find_own(call: Call, arn: str) -> Managed:
    """A policy that the account may change: InvalidInput for AWS's."""
    found = find(call, arn)
    if not found.owned:
        raise InvalidInputException(f"{arn} is a policy of AWS's and cannot be changed.")
    return found


def _of_aws(arn: str) -> Managed:
    found = AWS_POLICIES[principals.AWS_ARNS[arn]]
    return Managed(
        arn=arn,
        name=found.name,
        path=found.path,
        policy_id=found.policy_id,
        description=found.description,
        tags={},
        default_version=1,
        newest_version=1,
        created_at=AWS_SINCE,
        updated_at=AWS_SINCE,
        owned=False,
    )


def _of_row(row: Row[Any]) -> Managed:
    return Managed(
        arn=names.entity_arn(row.account_id, "policy", row.path, row.name),
        name=row.name,
        path=row.path,
        policy_id=row.policy_id,
        description=row.description,
        tags=row.tags,
        default_version=row.default_version,
        newest_version=row.newest_version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        owned=True,
    )


def of_aws() -> list[Managed]:
    """The policies that every account has."""
    return [_of_aws(arn) for arn in principals.AWS_ARNS]


def of_account(call: Call, below: str = "/") -> list[Managed]:
    """The account's own policies below a path."""
    return [_of_row(row) for row in call.db.all(LIST, account=call.account, below=below)]


def versions(call: Call, policy: Managed) -> list[Version]:
    """All versions, the oldest first."""
    if not policy.owned:
        return [Version(1, principals.aws_document(principals.AWS_ARNS[policy.arn]), True, AWS_SINCE)]
    rows = call.db.all(VERSIONS, of_policy=policy.policy_id)
    return [Version(row.number, row.document, row.number == policy.default_version, row.created_at) for row in rows]


def resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the policy named, with its tags."""
    found = look_up(call, request["PolicyArn"])
    return (Resource(request["PolicyArn"], found.tags if found is not None else None),)


def _new_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(names.entity_arn(call.account, "policy", request.get("Path", "/"), request["PolicyName"])),)


def counts(call: Call, arns: list[str]) -> tuple[dict[str, int], dict[str, int]]:
    """How often policies are attached, and how often they are boundaries."""
    if not arns:
        return {}, {}
    attached = {row.policy_arn: row.number for row in call.db.all(COUNT_ATTACHED, account=call.account, arns=arns)}
    bound: dict[str, int] = {}
    for statement in (BOUND_USERS, BOUND_ROLES):
        for row in call.db.all(statement, account=call.account, arns=arns):
            bound[row.boundary] = bound.get(row.boundary, 0) + row.number
    return attached, bound


def shape(policy: Managed, attached: int, bound: int, *, whole: bool = True) -> dict[str, Any]:
    """A policy as answers show it; lists leave description and tags out."""
    shown = {
        "PolicyName": policy.name,
        "PolicyId": policy.policy_id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": f"v{policy.default_version}",
        "AttachmentCount": attached,
        "PermissionsBoundaryUsageCount": bound,
        "IsAttachable": True,
        "CreateDate": policy.created_at,
        "UpdateDate": policy.updated_at,
    }
    if whole and policy.description:
        shown["Description"] = policy.description
    return shown | {"Tags": names.tag_list(policy.tags)} if whole else shown


def _shape(call: Call, policy: Managed) -> dict[str, Any]:
    attached, bound = counts(call, [policy.arn])
    return shape(policy, attached.get(policy.arn, 0), bound.get(policy.arn, 0))


def version_shape(version: Version, *, whole: bool = True) -> dict[str, Any]:
    """A version as answers show it, with its document unless it stands in a list."""
    shown = {
        "VersionId": f"v{version.number}",
        "IsDefaultVersion": version.is_default,
        "CreateDate": version.created_at,
    }
    return shown | {"Document": names.encoded(version.document)} if whole else shown


@iam.operation("CreatePolicy", resources=_new_resource, conditions=request_conditions)
def create_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A policy of the account's own, in its first version."""
    name = request["PolicyName"]
    if call.db.value(SAME_NAME, account=call.account, in_lower_case=name.lower()) is not None:
        raise EntityAlreadyExistsException(f"A policy called {name} already exists. Duplicate names are not allowed.")
    limits.check(call, "PoliciesPerAccount", COUNT)
    documents.check(request["PolicyDocument"], "policy", name)
    row = {
        "account_id": call.account,
        "name": name,
        "folded": name.lower(),
        "path": request.get("Path", "/"),
        "policy_id": names.new_unique_id("ANPA"),
        "description": request.get("Description", ""),
        "tags": names.tag_mapping(request.get("Tags", ())),
        "default_version": 1,
        "newest_version": 1,
        "created_at": names.now(call),
        "updated_at": names.now(call),
    }
    call.db.run(ADD, row)
    _add_version(call, row["policy_id"], 1, request["PolicyDocument"])
    made = find(call, names.entity_arn(call.account, "policy", row["path"], name))
    return {"Policy": shape(made, 0, 0, whole=False) | names.tagged(made.tags)}


def _add_version(call: Call, policy_id: str, number: int, document: str) -> None:
    row = {"policy_id": policy_id, "number": number, "document": document, "created_at": names.now(call)}
    call.db.run(ADD_VERSION, row)


@iam.operation("GetPolicy", resources=resource, reads=True)
def get_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A policy without its document, which GetPolicyVersion has."""
    return {"Policy": _shape(call, find(call, request["PolicyArn"]))}


@iam.operation("ListPolicies", reads=True)
def list_policies(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """AWS's policies and the account's own, below a path; AWS's come first."""
    scope, below = request.get("Scope", "All"), request.get("PathPrefix", "/")
    found: list[Managed] = []
    if scope != "Local":
        found += [policy for policy in of_aws() if policy.path.startswith(below)]
    if scope != "AWS":
        found += of_account(call, below)
    attached, bound = counts(call, [policy.arn for policy in found])
    usage = request.get("PolicyUsageFilter")
    if request.get("OnlyAttached") or usage == "PermissionsPolicy":
        found = [policy for policy in found if policy.arn in attached]
    if usage == "PermissionsBoundary":
        found = [policy for policy in found if policy.arn in bound]
    shown, more = names.paged("ListPolicies", found, request, lambda policy: f"{policy.owned:d}{policy.arn.lower()}")
    listed = [shape(each, attached.get(each.arn, 0), bound.get(each.arn, 0), whole=False) for each in shown]
    return {"Policies": listed, **more}


@iam.operation("DeletePolicy", resources=resource)
def delete_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a policy of one version that nothing uses."""
    policy = find_own(call, request["PolicyArn"])
    attached, bound = counts(call, [policy.arn])
    if attached or bound:
        raise DeleteConflictException("Cannot delete a policy attached to entities.")
    if len(versions(call, policy)) > 1:
        raise DeleteConflictException(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
            "The default version is deleted with the policy."
        )
    call.db.run(REMOVE_VERSION, {"of_policy": policy.policy_id, "version_number": policy.default_version})
    call.db.run(REMOVE, {"account": call.account, "policy_name": policy.name})
    principals.changed(call)
    return {}


@iam.operation("CreatePolicyVersion", resources=resource)
def create_policy_version(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Another version, which counts from now on if it is set as default."""
    policy = find_own(call, request["PolicyArn"])
    documents.check(request["PolicyDocument"], "policy", policy.name)
    if len(versions(call, policy)) >= limits.QUOTAS["VersionsPerPolicy"]:
        raise LimitExceededException(
            "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing "
            "version."
        )
    number = policy.newest_version + 1
    _add_version(call, policy.policy_id, number, request["PolicyDocument"])
    default = number if request.get("SetAsDefault") else policy.default_version
    _set_versions(call, policy, default, number)
    made = Version(number, request["PolicyDocument"], default == number, names.now(call))
    return {"PolicyVersion": version_shape(made, whole=False)}


def _set_versions(call: Call, policy: Managed, default: int, newest: int) -> None:
    values = {"to_default": default, "to_newest": newest, "now": names.now(call)}
    call.db.run(SET_VERSIONS, {"account": call.account, "policy_name": policy.name, **values})
    principals.changed(call)


def _version(call: Call, policy: Managed, version_id: str) -> Version:
    for version in versions(call, policy):
        if f"v{version.number}" == version_id.lower():
            return version
    raise NoSuchEntityException(f"Policy {policy.arn} version {version_id} does not exist or is not attachable.")


@iam.operation("GetPolicyVersion", resources=resource, reads=True)
def get_policy_version(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """One version with its document."""
    return {"PolicyVersion": version_shape(_version(call, find(call, request["PolicyArn"]), request["VersionId"]))}


@iam.operation("ListPolicyVersions", resources=resource, reads=True)
def list_policy_versions(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """All versions, the newest first, without their documents."""
    found = versions(call, find(call, request["PolicyArn"]))
    shown, more = names.paged("ListPolicyVersions", found, request, lambda each: f"{10**9 - each.number}")
    return {"Versions": [version_shape(each, whole=False) for each in shown], **more}


@iam.operation("SetDefaultPolicyVersion", resources=resource)
def set_default_policy_version(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Another version counts from now on, wherever the policy is attached."""
    policy = find_own(call, request["PolicyArn"])
    version = _version(call, policy, request["VersionId"])
    _set_versions(call, policy, version.number, policy.newest_version)
    return {}


@iam.operation("DeletePolicyVersion", resources=resource)
def delete_policy_version(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a version that is not the default."""
    policy = find_own(call, request["PolicyArn"])
    version = _version(call, policy, request["VersionId"])
    if version.is_default:
        raise DeleteConflictException("Cannot delete the default version of a policy.")
    call.db.run(REMOVE_VERSION, {"of_policy": policy.policy_id, "version_number": version.number})
    return {}
