"""DescribeSessions: the sessions that are open, and those that were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select

from fleetward.protocol.status import ACTIVE_SESSIONS, SessionStatus
from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.schema import EPOCH, in_tenant, microseconds
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import DoesNotExistException, InvalidFilterKey
from fleetward.server.ssm.session_manager import table
from fleetward.server.ssm.session_manager.ending import summary
from fleetward.server.ssm.session_manager.table import sessions

PAGE = 50
LATEST = 2**53
COLUMNS: Mapping[str, ColumnElement[Any]] = {
    "AccessType": sessions.c.access_type,
    "Owner": sessions.c.owner_arn,
    "SessionId": sessions.c.session_id,
    "Status": sessions.c.status,
    "Target": sessions.c.node_id,
}


@ssm.operation("DescribeSessions", reads=True)
def describe_sessions(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Sessions of one state, the newest first; filters must all fit."""
    limit = request.get("MaxResults", PAGE)
    active = sessions.c.status.in_(ACTIVE_SESSIONS)
    conditions = [active if request["State"] == "Active" else ~active, *_conditions(request.get("Filters", ()))]
    after = paging.decode("DescribeSessions", request.get("NextToken"))
    if after is not None:
        conditions.append(_behind(after))
    found = (
        select(sessions)
        .where(*in_tenant(sessions), *conditions)
        .order_by(sessions.c.started_at.desc(), sessions.c.session_id.desc())
        .limit(limit + 1)
    )
    rows, more = paging.page(
        "DescribeSessions",
        call.db.all(found, **call.here),
        limit,
        lambda row: [microseconds(row.started_at), row.session_id],
    )
    return {"Sessions": [shape(row) for row in rows], **more}


def describe(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """One session in full, with how many bytes went to its node and came from it."""
    row = table.find(call, request["SessionId"])
    if row is None:
        raise DoesNotExistException(f"There is no session {request['SessionId']}.")
    return {**summary(row), "Recorded": bool(row.recording_key)}


def shape(row: Row[Any]) -> dict[str, Any]:
    """A session in AWS's words; what is not known is left out."""
    urls = {"S3OutputUrl": row.s3_url, "CloudWatchOutputUrl": row.log_url}
    members = {
        "SessionId": row.session_id,
        "Target": row.node_id,
        "Status": row.status,
        "StartDate": row.started_at,
        "EndDate": row.ended_at,
        "DocumentName": row.document_name,
        "Owner": row.owner_arn[:256],
        "Reason": row.reason,
        "Details": row.details,
        "OutputUrl": {name: url for name, url in urls.items() if url},
        "MaxSessionDuration": row.max_duration,
        "AccessType": row.access_type,
    }
    return {name: value for name, value in members.items() if value not in (None, "", {})}


def _conditions(filters: Sequence[Mapping[str, str]]) -> Iterator[ColumnElement[bool]]:
    keys = [each["key"] for each in filters]
    if len(set(keys)) < len(keys):
        raise InvalidFilterKey("A filter key is given twice.")
    for each in filters:
        key, value = each["key"], each["value"]
        if key == "InvokedAfter":
            yield sessions.c.started_at >= _moment(key, value)
        elif key == "InvokedBefore":
            yield sessions.c.started_at < _moment(key, value)
        elif key == "Status" and value not in SessionStatus._value2member_map_:
            raise InvalidFilterKey(f"Status is one of {', '.join(SessionStatus)}, not {value[:40]!r}.")
        else:
            yield COLUMNS[key] == value


def _moment(key: str, value: str) -> datetime:
    """A time as ISO 8601 writes it, `2026-08-29T00:00:00Z`; without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError as fault:
        raise InvalidFilterKey(f"{key} is a time such as 2026-08-29T00:00:00Z, not {value[:40]!r}.") from fault
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _behind(after: Sequence[Any]) -> ColumnElement[bool]:
    if len(after) != 2 or not isinstance(after[0], int) or not 0 <= after[0] < LATEST or not isinstance(after[1], str):
        raise paging.InvalidNextToken("The NextToken is not one that this operation handed out.")
    started_at = EPOCH + timedelta(microseconds=after[0])
    return or_(
        sessions.c.started_at < started_at,
        and_(sessions.c.started_at == started_at, sessions.c.session_id < after[1]),
    )
