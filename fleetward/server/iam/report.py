"""Reports: the credential report, written by a job in pieces, and everything of the account with its policies."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_keep

from fleetward.server import jobs, paging
from fleetward.server.call import Call
from fleetward.server.iam import (
    account,
    attached,
    groups,
    inline,
    instance_profiles,
    limits,
    login_profiles,
    managed,
    mfa,
    names,
    principals,
    roles,
    users,
)
from fleetward.server.iam.errors import CredentialReportNotPresentException, CredentialReportNotReadyException
from fleetward.server.iam.service import iam
from fleetward.server.iam.tables import access_keys, report_parts, reports
from fleetward.server.jobs import DONE, Job, Next

CHUNK = 200
GOOD_FOR = timedelta(hours=4)
"""A report this young is handed out again (user guide, "Get credential reports")."""
COLUMNS = (
    "user",
    "arn",
    "user_creation_time",
    "password_enabled",
    "password_last_used",
    "password_last_changed",
    "password_next_rotation",
    "mfa_active",
    "access_key_1_active",
    "access_key_1_last_rotated",
    "access_key_1_last_used_date",
    "access_key_1_last_used_region",
    "access_key_1_last_used_service",
    "access_key_2_active",
    "access_key_2_last_rotated",
    "access_key_2_last_used_date",
    "access_key_2_last_used_region",
    "access_key_2_last_used_service",
    "cert_1_active",
    "cert_1_last_rotated",
    "cert_2_active",
    "cert_2_last_rotated",
)

KEEP_ROW = insert_or_keep(reports).on_conflict_do_nothing()
REPORT = select(reports).where(reports.c.account_id == bindparam("account"))
BEGIN = update(reports).where(reports.c.account_id == bindparam("account")).values(running=bindparam("job"))
FINISH = (
    update(reports)
    .where(reports.c.account_id == bindparam("account"))
    .values(running=None, ready=bindparam("job"), ready_at=bindparam("now"))
)
ADD_PART = insert(report_parts)
_OF_ACCOUNT = report_parts.c.account_id == bindparam("account")
PARTS = (
    select(report_parts.c.text)
    .where(_OF_ACCOUNT, report_parts.c.job_id == bindparam("job"))
    .order_by(report_parts.c.number)
)
REMOVE_OTHERS = delete(report_parts).where(_OF_ACCOUNT, report_parts.c.job_id != bindparam("job"))
KEYS_OF = select(access_keys).where(access_keys.c.user_id == bindparam("of_user")).order_by(access_keys.c.created_at)


@iam.operation("GenerateCredentialReport")
def generate_credential_report(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have a report written, unless there is one of the last four hours or one is being written."""
    call.db.run(KEEP_ROW, {"account_id": call.account})
    row = call.db.first(REPORT, account=call.account)
    assert row is not None
    if row.running is not None:
        return {"State": "INPROGRESS"}
    if row.ready is not None and call.now - row.ready_at < GOOD_FOR:
        return {"State": "COMPLETE"}
    job_id = jobs.start(call, "credential-report", call.account, {"after": "", "number": 0})
    call.db.run(BEGIN, {"account": call.account, "job": job_id})
    return {"State": "STARTED", "Description": "No report exists. Starting a new report generation task"}


@iam.job("credential-report")
def write_report(call: Call, job: Job) -> Next:
    """One piece of the report: some two hundred users in order of name."""
    after, number = job.state["after"], job.state["number"]
    rows = call.db.all(users.LIST, account=call.account, below="/", after=after, most=CHUNK)
    lines = [list(COLUMNS), _root_line(call)] if number == 0 else []
    lines += [_user_line(call, row) for row in rows]
    part = {"account_id": call.account, "job_id": job.job_id, "number": number, "text": _csv(lines)}
    call.db.run(ADD_PART, part)
    if len(rows) == CHUNK:
        return Next("write", {"after": rows[-1].folded, "number": number + 1})
    call.db.run(FINISH, {"account": call.account, "job": job.job_id, "now": call.now})
    call.db.run(REMOVE_OTHERS, {"account": call.account, "job": job.job_id})
    return DONE


@iam.operation("GetCredentialReport", reads=True)
def get_credential_report(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The last report, as CSV."""
    row = call.db.first(REPORT, account=call.account)
    if row is None or (row.ready is None and row.running is None):
        raise CredentialReportNotPresentException("No report is present. Generate a new report")
    if row.ready is None:
        raise CredentialReportNotReadyException("Credential report not ready")
    text = "".join(call.db.values(PARTS, account=call.account, job=row.ready))
    return {"Content": text.encode(), "ReportFormat": "text/csv", "GeneratedTime": row.ready_at.replace(microsecond=0)}


def _csv(lines: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def _time(moment: datetime | None, otherwise: str = "N/A") -> str:
    return otherwise if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _root_line(call: Call) -> list[str]:
    since = call.db.value(limits.ROOT_SINCE, account=call.account)
    first = ["<root_account>", principals.root_arn(call.account), _time(since), "not_supported", "N/A", "N/A", "N/A"]
    return [*first, _truth(mfa.of_user(call, call.account)), *_key_columns(call, call.account), *_certificates()]


def _user_line(call: Call, row: Row[Any]) -> list[str]:
    profile = call.db.first(login_profiles.PROFILE, of_user=row.user_id)
    most: int = (account.password_policy(call) or {}).get("MaxPasswordAge", 0)
    changed = profile.changed_at if profile is not None else None
    due = changed + timedelta(days=most) if changed is not None and most else None
    first = [row.name, users.arn_of(row), _time(row.created_at), _truth(profile)]
    used = _time(row.signed_in_at, "no_information" if profile is not None else "N/A")
    password = [used, _time(changed), _time(due)]
    return [*first, *password, _truth(mfa.of_user(call, row.user_id)), *_key_columns(call, row.user_id),
            *_certificates()]  # fmt: skip


def _truth(value: Any) -> str:
    return "true" if value else "false"


def _key_columns(call: Call, user_id: str) -> list[str]:
    columns: list[str] = []
    for key in [*call.db.all(KEYS_OF, of_user=user_id), None, None][:2]:
        if key is None:
            columns += ["false", "N/A", "N/A", "N/A", "N/A"]
            continue
        used = [_time(key.used_at), key.used_region or "N/A", key.used_service or "N/A"]
        columns += [_truth(key.status == "Active"), _time(key.created_at), *used]
    return columns


def _certificates() -> list[str]:
    return ["false", "N/A", "false", "N/A"]


# -- everything with its policies

KINDS = ("User", "Group", "Role", "LocalManagedPolicy", "AWSManagedPolicy")
MEMBERS = {"User": "UserDetailList", "Group": "GroupDetailList", "Role": "RoleDetailList"}


@iam.operation("GetAccountAuthorizationDetails", reads=True)
def get_account_authorization_details(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Users, groups, roles and policies with all that is in and on them, page by page."""
    operation, size = "GetAccountAuthorizationDetails", names.size_of(request)
    wanted = request.get("Filter") or KINDS
    first, after = names.start_of(operation, request) or [0, ""]
    found: list[tuple[int, str, dict[str, Any]]] = []
    for number, kind in enumerate(KINDS):
        if number >= first and kind in wanted and len(found) <= size:
            behind = after if number == first else ""
            found += [(number, key, detail) for key, detail in _details(call, kind, behind, size + 1 - len(found))]
    result: dict[str, Any] = {member: [] for member in (*MEMBERS.values(), "Policies")}
    for number, _, detail in found[:size]:
        result[MEMBERS.get(KINDS[number], "Policies")].append(detail)
    if len(found) <= size:
        return {**result, "IsTruncated": False}
    number, key, _ = found[size - 1]
    return {**result, "IsTruncated": True, "Marker": paging.encode(operation, [number, key])}


def _details(call: Call, kind: str, after: str, most: int) -> list[tuple[str, dict[str, Any]]]:
    """Up to `most` of a kind behind a key, each with its key."""
    values = {"account": call.account, "below": "/", "after": after, "most": most}
    if kind == "User":
        return [(row.folded, _user_detail(call, row)) for row in call.db.all(users.LIST, **values)]
    if kind == "Group":
        return [(row.folded, _group_detail(call, row)) for row in call.db.all(groups.LIST, **values)]
    if kind == "Role":
        return [(row.folded, _role_detail(call, row)) for row in call.db.all(roles.LIST, **values)]
    found = managed.of_account(call) if kind == "LocalManagedPolicy" else managed.of_aws()
    left = sorted((policy.arn, policy) for policy in found if policy.arn > after)[:most]
    return [(arn, _policy_detail(call, policy)) for arn, policy in left]


def _user_detail(call: Call, row: Row[Any]) -> dict[str, Any]:
    shown = users.shape(row)
    shown.pop("PasswordLastUsed", None)
    return shown | {
        "UserPolicyList": inline.details(call, row.user_id),
        "GroupList": [group.name for group in call.db.all(groups.OF_USER, of_user=row.user_id)],
        "AttachedManagedPolicies": attached.shapes(attached.of(call, row.user_id)),
    }


def _group_detail(call: Call, row: Row[Any]) -> dict[str, Any]:
    return groups.shape(row) | {
        "GroupPolicyList": inline.details(call, row.group_id),
        "AttachedManagedPolicies": attached.shapes(attached.of(call, row.group_id)),
    }


def _role_detail(call: Call, row: Row[Any]) -> dict[str, Any]:
    shown = roles.shape(row)
    for name in ("Description", "MaxSessionDuration"):
        shown.pop(name, None)
    profiles = call.db.all(instance_profiles.OF_ROLE, of_role=row.role_id)
    return shown | {
        "InstanceProfileList": [instance_profiles.shape(call, profile, whole=False) for profile in profiles],
        "RolePolicyList": inline.details(call, row.role_id),
        "AttachedManagedPolicies": attached.shapes(attached.of(call, row.role_id)),
    }


def _policy_detail(call: Call, policy: managed.Managed) -> dict[str, Any]:
    count, bound = managed.counts(call, [policy.arn])
    shown = managed.shape(policy, count.get(policy.arn, 0), bound.get(policy.arn, 0))
    shown.pop("Tags", None)
    versions = [managed.version_shape(version) for version in managed.versions(call, policy)]
    return shown | {"PolicyVersionList": versions}
