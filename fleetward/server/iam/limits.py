"""Limits: how many of each there may be in an account or on an entity, and what a permissions boundary may be."""

from __future__ import annotations

from sqlalchemy import Executable, bindparam, func, select

from fleetward.server.call import Call
from fleetward.server.iam import principals
from fleetward.server.iam.errors import LimitExceededException, NoSuchEntityException
from fleetward.server.iam.tables import roles

QUOTAS = {
    "AccessKeysPerUser": 2,
    "AttachedPoliciesPerGroup": 10,
    "AttachedPoliciesPerRole": 10,
    "AttachedPoliciesPerUser": 10,
    "ClientIdsPerOpenIdConnectProvider": 100,
    "GroupsPerAccount": 300,
    "GroupsPerUser": 10,
    "InstanceProfilesPerAccount": 1000,
    "MFADevicesPerUser": 8,
    "OpenIdConnectProvidersPerAccount": 100,
    "PoliciesPerAccount": 1500,
    "RolesPerAccount": 1000,
    "UsersPerAccount": 5000,
    "VersionsPerPolicy": 5,
}
"""IAM user guide, "IAM and AWS STS quotas"."""

SIZES = {"user": 2048, "group": 5120, "role": 10_240, "policy": 6144, "trust": 2048}
"""Characters without white space: of all inline policies of an entity together, of one managed or trust policy."""

ROOT_SINCE = select(func.min(roles.c.created_at)).where(roles.c.account_id == bindparam("account"))


def check(call: Call, quota: str, count: Executable) -> None:
    """LimitExceeded when the quota is used up; `count` has the parameter `account`."""
    exceeded(quota, call.db.value(count, account=call.account))


def exceeded(quota: str, number: int) -> None:
    """LimitExceeded when `number` already fills the quota."""
    if number >= QUOTAS[quota]:
        raise LimitExceededException(f"Cannot exceed quota for {quota}: {QUOTAS[quota]}")


def boundary_exists(call: Call, arn: str) -> None:
    """NoSuchEntity unless the managed policy exists that is to be a boundary."""
    if not principals.managed_texts(call, call.account, [arn]):
        raise NoSuchEntityException(f"Scope ARN: {arn} does not exist or is not attachable.")
