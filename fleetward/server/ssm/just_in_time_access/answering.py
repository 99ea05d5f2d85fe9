"""Answering: those whom the policy names approve or reject a request, and access that was given is taken away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from fleetward.server.call import Call, Caller, Resource
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.iam import groups as iam_groups
from fleetward.server.iam import principals
from fleetward.server.ssm.just_in_time_access import table
from fleetward.server.ssm.just_in_time_access.table import Status
from fleetward.server.sts import issue

APPROVE, REJECT = "Approve", "Reject"
MANAGED_TAG = "SystemsManagerJustInTimeNodeAccessManaged"
"""What AWS's policies for approvers ask of the run that waits for an approval."""


def the_run(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What an answer is decided on: in AWS, a run of the policy that waits for a signal; here, the request itself."""
    row = table.find(call, request["AccessRequestId"])
    tags = {} if row is None else {**row.tags, MANAGED_TAG: "true"}
    return (Resource(call.arn(f"automation-execution/{request['AccessRequestId']}"), tags),)


def approve(call: Call, request: Mapping[str, Any]) -> Row[Any]:
    """Count the caller's approval; the last one that is needed gives the access."""
    row = _answerable(call, request)
    level = row.level
    needed = row.levels[level]["minimum"]
    _keep(call, row, APPROVE, request)
    given = _approvals(call, row, level)
    if given >= needed:
        _rise(call, row, level + 1, request)
    return _again(call, row)


def reject(call: Call, request: Mapping[str, Any]) -> Row[Any]:
    """Refuse a request: one rejection is enough."""
    row = _answerable(call, request)
    _keep(call, row, REJECT, request)
    table.move(call, row, Status.REJECTED, by=call.caller.arn, saying=request.get("Comment", ""))
    return _again(call, row)


def revoke(call: Call, request: Mapping[str, Any]) -> Row[Any]:
    """End a request, or the access that it gave, with all keys and sessions, within a second on every server."""
    row = table.hold(call, request["AccessRequestId"])
    if row.status in (Status.REJECTED, Status.REVOKED) or (row.access_until is None and row.status == Status.EXPIRED):
        raise ValidationException(f"The access request {row.access_request_id} has ended: {row.status}.")
    table.move(call, row, Status.REVOKED, by=call.caller.arn, saying=request.get("Comment", ""))
    principals.changed(call)
    return _again(call, row)


def may_answer(call: Call, row: Row[Any], groups: frozenset[str]) -> bool:
    """Whether the caller, a member of these groups, is one whose answer the request waits for."""
    if table.status(row, call.now) is not Status.PENDING or issue.origin(call.caller) == row.person:
        return False
    return any(_is(call.caller, each, groups) for each in row.levels[row.level]["approvers"])


def groups_of(call: Call) -> frozenset[str]:
    """The ids of the groups that the caller, a user, is a member of."""
    caller = call.caller
    if caller.kind != "user":
        return frozenset()
    return frozenset(each.group_id for each in iam_groups.of_user(call, caller.user_id))


def _is(caller: Caller, approver: Mapping[str, str], groups: frozenset[str]) -> bool:
    """Whether the caller is whom a policy names. Ids decide: a new user of an old name is somebody else."""
    wanted = approver["id"]
    if not wanted:
        return False
    if approver["type"] == "IamGroup":
        return wanted in groups
    kind, own = ("user", caller.user_id) if approver["type"] == "IamUser" else ("role", caller.user_id.split(":")[0])
    return caller.kind == kind and own == wanted


def _answerable(call: Call, request: Mapping[str, Any]) -> Row[Any]:
    """The request's row, held; refuses ended ones, one's own, those of other approvers, and a second answer."""
    row = table.hold(call, request["AccessRequestId"])
    if issue.origin(call.caller) == row.person:
        raise AccessDeniedException("Nobody answers an access request of his own.")
    status = table.status(row, call.now)
    if status is not Status.PENDING:
        raise ValidationException(f"The access request {row.access_request_id} waits for no answer: {status}.")
    if not may_answer(call, row, groups_of(call)):
        raise AccessDeniedException(
            f"{call.caller.arn} is no approver of {row.access_request_id} on level {row.level + 1} of its policy."
        )
    if any(each.person == _person(call) for each in _answers(call, row)):
        raise ValidationException(f"You have answered {row.access_request_id} already.")
    return row


def _person(call: Call) -> str:
    return issue.origin(call.caller)[:512]


def _keep(call: Call, row: Row[Any], answer: str, request: Mapping[str, Any]) -> None:
    kept = {
        "access_request_id": row.access_request_id,
        "person": _person(call),
        "arn": call.caller.arn,
        "level": row.level,
        "answer": answer,
        "comment": request.get("Comment", ""),
        "at": call.now,
    }
    call.db.run(table.ADD_ANSWER, {**call.tenant, **kept})


def _rise(call: Call, row: Row[Any], level: int, request: Mapping[str, Any]) -> None:
    """A level has approved: the next is asked, or the access begins."""
    if level < len(row.levels):
        table.move(call, row, Status.PENDING, to_level=level, due=row.due_at)
        return
    until = call.now + timedelta(seconds=row.access_seconds)
    comment = request.get("Comment", "")
    table.move(call, row, Status.APPROVED, to_level=level, due=until, until=until, saying=comment)


def _answers(call: Call, row: Row[Any]) -> Iterable[Row[Any]]:
    return call.db.all(table.ANSWERS, **call.here, of_requests=[row.access_request_id])


def _approvals(call: Call, row: Row[Any], level: int) -> int:
    return sum(each.level == level and each.answer == APPROVE for each in _answers(call, row))


def _again(call: Call, row: Row[Any]) -> Row[Any]:
    found = table.find(call, row.access_request_id)
    assert found is not None
    return found
