"""The approvers' queue: access requests as those see them who make and answer them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.schema import EPOCH, in_tenant, microseconds
from fleetward.server.ssm.just_in_time_access import answering, table
from fleetward.server.ssm.just_in_time_access.table import Status, requests
from fleetward.server.ssm.tags import shape as tag_list
from fleetward.server.sts import issue

OPERATION = "ListAccessRequests"
PAGE = 50
"""A page may hold fewer requests than were asked for and have a NextToken all the same."""
LATEST = microseconds(datetime(9999, 1, 1, tzinfo=UTC))


def listed(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """One page of the account's requests, the newest first: all, one's own, or those that wait for one's answer."""
    size, view = request.get("MaxResults", PAGE), request.get("View", "All")
    conditions = _conditions(call, request, view)
    after = paging.decode(OPERATION, request.get("NextToken"))
    if after is not None:
        conditions.append(_behind(after))
    found = (
        select(requests)
        .where(*in_tenant(requests), *conditions)
        .order_by(requests.c.created_at.desc(), requests.c.access_request_id.desc())
        .limit(size + 1)
    )
    rows, more = paging.page(
        OPERATION,
        call.db.all(found, **call.here),
        size,
        lambda row: [microseconds(row.created_at), row.access_request_id],
    )
    shown = shapes(call, rows)
    if view == "ToAnswer":
        shown = [each for each in shown if each["CanAnswer"]]
    return {"AccessRequests": shown, **more}


def shapes(call: Call, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Requests as answers show them, each with the answers to it."""
    groups = answering.groups_of(call)
    answers: dict[str, list[Row[Any]]] = defaultdict(list)
    ids = [row.access_request_id for row in rows]
    for each in call.db.all(table.ANSWERS, **call.here, of_requests=ids) if ids else ():
        answers[each.access_request_id].append(each)
    return [_shape(call, row, answers[row.access_request_id], groups) for row in rows]


def _shape(call: Call, row: Row[Any], answers: Sequence[Row[Any]], groups: frozenset[str]) -> dict[str, Any]:
    status = table.status(row, call.now)
    me = issue.origin(call.caller)
    answered = any(each.person == me[:512] for each in answers)
    members = {
        "AccessRequestId": row.access_request_id,
        "Status": status.value,
        "Reason": row.reason,
        "InstanceIds": row.node_ids,
        "Requester": row.requester_arn,
        "CreatedAt": row.created_at,
        "PolicyName": row.policy_name,
        "PolicyVersion": row.policy_version,
        "AccessHours": row.access_seconds // 3600,
        "AnswerBy": row.due_at if status is Status.PENDING else None,
        "AccessUntil": row.access_until,
        "EndedAt": row.ended_at,
        "EndedBy": row.ended_by,
        "Comment": row.comment,
        "Levels": [_level(number, each, answers) for number, each in enumerate(row.levels)],
        "Answers": [_answer(each) for each in answers],
        "Tags": tag_list(row.tags),
        "CanAnswer": not answered and answering.may_answer(call, row, groups),
    }
    return {name: value for name, value in members.items() if value not in (None, "", [])}


def _level(number: int, level: Mapping[str, Any], answers: Sequence[Row[Any]]) -> dict[str, Any]:
    given = sum(each.level == number and each.answer == answering.APPROVE for each in answers)
    approvers = [{"Type": each["type"], "Name": each["name"]} for each in level["approvers"]]
    return {"MinimumApprovals": level["minimum"], "Approvals": given, "Approvers": approvers}


def _answer(row: Row[Any]) -> dict[str, Any]:
    shown = {"Arn": row.arn, "Level": row.level + 1, "Answer": row.answer, "At": row.at}
    return {**shown, "Comment": row.comment} if row.comment else shown


def _conditions(call: Call, request: Mapping[str, Any], view: str) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    asked = Status.PENDING.value if view == "ToAnswer" else request.get("Status")
    if asked is not None:
        found.append(_in_state(Status(asked), call.now))
    if view == "Own":
        found.append(requests.c.person == issue.origin(call.caller))
    return found


def _in_state(status: Status, now: datetime) -> ColumnElement[bool]:
    over = and_(requests.c.status.in_([each.value for each in table.OPEN]), requests.c.due_at <= now)
    if status is Status.EXPIRED:
        return or_(requests.c.status == status.value, over)
    return and_(requests.c.status == status.value, ~over) if status in table.OPEN else requests.c.status == status.value


def _behind(after: Sequence[Any]) -> ColumnElement[bool]:
    """Requests behind the one that a token names."""
    if len(after) != 2 or type(after[0]) is not int or not 0 <= after[0] < LATEST or not isinstance(after[1], str):
        raise paging.InvalidNextToken("The NextToken is not one that this operation handed out.")
    at = EPOCH + timedelta(microseconds=after[0])
    return or_(requests.c.created_at < at, and_(requests.c.created_at == at, requests.c.access_request_id < after[1]))
