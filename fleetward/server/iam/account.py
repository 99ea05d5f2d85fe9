"""The account as a whole: its alias, its password policy and how many of everything it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_keep

from fleetward.server.call import Call
from fleetward.server.iam import limits, passwords
from fleetward.server.iam.errors import EntityAlreadyExistsException, LimitExceededException, NoSuchEntityException
from fleetward.server.iam.service import iam
from fleetward.server.iam.tables import (
    access_keys,
    accounts,
    groups,
    instance_profiles,
    mfa_devices,
    oidc_providers,
    policies,
    policy_versions,
    roles,
    users,
)
from fleetward.server.schema import Json

CHOSEN_DEFAULTS = {
    "MinimumPasswordLength": passwords.LEAST_LENGTH,
    "RequireSymbols": False,
    "RequireNumbers": False,
    "RequireUppercaseCharacters": False,
    "RequireLowercaseCharacters": False,
    "AllowUsersToChangePassword": False,
}
"""What a policy is made of that names some of its parts (API reference, UpdateAccountPasswordPolicy)."""

KEEP_ROW = insert_or_keep(accounts).on_conflict_do_nothing()
ACCOUNT = select(accounts).where(accounts.c.account_id == bindparam("account"))
ALIAS_OWNER = select(accounts.c.account_id).where(accounts.c.alias == bindparam("wanted"))
SET_ALIAS = update(accounts).where(accounts.c.account_id == bindparam("account")).values(alias=bindparam("to_alias"))
SET_POLICY = (
    update(accounts)
    .where(accounts.c.account_id == bindparam("account"))
    .values(password_policy=bindparam("to_policy", type_=Json))
)


def _count(table: Table, *conditions: Any) -> Any:
    return select(func.count()).select_from(table).where(table.c.account_id == bindparam("account"), *conditions)


COUNTS = {
    "Users": _count(users),
    "Groups": _count(groups),
    "Roles": _count(roles),
    "Policies": _count(policies),
    "InstanceProfiles": _count(instance_profiles),
    "MFADevices": _count(mfa_devices),
    "MFADevicesInUse": _count(mfa_devices, mfa_devices.c.enabled_at.is_not(None)),
    "Providers": _count(oidc_providers),
    "AccountMFAEnabled": _count(mfa_devices, mfa_devices.c.user_id == bindparam("account")),
    "AccountAccessKeysPresent": _count(access_keys, access_keys.c.user_id == bindparam("account")),
    "PolicyVersionsInUse": (
        select(func.count())
        .select_from(policy_versions.join(policies, policies.c.policy_id == policy_versions.c.policy_id))
        .where(policies.c.account_id == bindparam("account"))
    ),
}
SUMMARY_QUOTAS = {
    "AccessKeysPerUserQuota": "AccessKeysPerUser",
    "AttachedPoliciesPerGroupQuota": "AttachedPoliciesPerGroup",
    "AttachedPoliciesPerRoleQuota": "AttachedPoliciesPerRole",
    "AttachedPoliciesPerUserQuota": "AttachedPoliciesPerUser",
    "GroupsPerUserQuota": "GroupsPerUser",
    "GroupsQuota": "GroupsPerAccount",
    "InstanceProfilesQuota": "InstanceProfilesPerAccount",
    "PoliciesQuota": "PoliciesPerAccount",
    "RolesQuota": "RolesPerAccount",
    "UsersQuota": "UsersPerAccount",
    "VersionsPerPolicyQuota": "VersionsPerPolicy",
}
SUMMARY_SIZES = {
    "AssumeRolePolicySizeQuota": "trust",
    "GroupPolicySizeQuota": "group",
    "PolicySizeQuota": "policy",
    "RolePolicySizeQuota": "role",
    "UserPolicySizeQuota": "user",
}


def alias(call: Call) -> str:
    """The account's alias; empty without one."""
    row = call.db.first(ACCOUNT, account=call.account)
    return (row.alias or "") if row is not None else ""


def password_policy(call: Call) -> dict[str, Any] | None:
    """The rules for passwords that were chosen; None: the default ones."""
    row = call.db.first(ACCOUNT, account=call.account)
    return (row.password_policy or None) if row is not None else None


@iam.operation("CreateAccountAlias")
def create_account_alias(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Name the account; an account has one name, another one takes its place."""
    wanted = request["AccountAlias"]
    if call.db.value(ALIAS_OWNER, wanted=wanted) not in (None, call.account):
        raise EntityAlreadyExistsException(f"The account alias {wanted} already exists.")
    if re.fullmatch(r"\d{12}", wanted):
        raise LimitExceededException("The account alias must not be a number of 12 digits, as account ids are.")
    call.db.run(KEEP_ROW, {"account_id": call.account})
    call.db.run(SET_ALIAS, {"account": call.account, "to_alias": wanted})
    return {}


@iam.operation("DeleteAccountAlias")
def delete_account_alias(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take the account's name away."""
    if alias(call) != request["AccountAlias"]:
        raise NoSuchEntityException(f"The account alias {request['AccountAlias']} cannot be found.")
    call.db.run(SET_ALIAS, {"account": call.account, "to_alias": None})
    return {}


@iam.operation("ListAccountAliases", reads=True)
def list_account_aliases(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The account's name, if it has one."""
    found = alias(call)
    return {"AccountAliases": [found] if found else [], "IsTruncated": False}


@iam.operation("UpdateAccountPasswordPolicy")
def update_account_password_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the rules for passwords; what is not given gets its default, not what was chosen before."""
    call.db.run(KEEP_ROW, {"account_id": call.account})
    call.db.run(SET_POLICY, {"account": call.account, "to_policy": {**CHOSEN_DEFAULTS, **request}})
    return {}


@iam.operation("GetAccountPasswordPolicy", reads=True)
def get_account_password_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The rules that were chosen."""
    row = call.db.first(ACCOUNT, account=call.account)
    if row is None or not row.password_policy:
        raise NoSuchEntityException(f"The Password Policy with domain name {call.account} cannot be found.")
    chosen = row.password_policy
    return {"PasswordPolicy": {**chosen, "ExpirePasswords": bool(chosen.get("MaxPasswordAge"))}}


@iam.operation("DeleteAccountPasswordPolicy")
def delete_account_password_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Back to the default rules."""
    row = call.db.first(ACCOUNT, account=call.account)
    if row is None or not row.password_policy:
        raise NoSuchEntityException("The account policy with name PasswordPolicy cannot be found.")
    call.db.run(SET_POLICY, {"account": call.account, "to_policy": None})
    return {}


@iam.operation("GetAccountSummary", reads=True)
def get_account_summary(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """How many of everything there are, and may be."""
    summary = {name: int(call.db.value(count, account=call.account)) for name, count in COUNTS.items()}
    for flag in ("AccountMFAEnabled", "AccountAccessKeysPresent"):
        summary[flag] = min(1, summary[flag])
    summary |= {name: limits.QUOTAS[quota] for name, quota in SUMMARY_QUOTAS.items()}
    summary |= {name: limits.SIZES[kind] for name, kind in SUMMARY_SIZES.items()}
    return {"SummaryMap": summary}
