"""Log streams: made, listed by name or by their last event, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, func, insert, or_, select, update

from fleetward.server.call import Call
from fleetward.server.logs import logs
from fleetward.server.logs.errors import InvalidParameterException, ResourceAlreadyExistsException
from fleetward.server.logs.removal import remove_later
from fleetward.server.logs.table import (
    GET_STREAM,
    STREAM_OF_GROUP,
    THIS_STREAM,
    after,
    find_group,
    find_stream,
    group_arn,
    groups,
    milliseconds,
    named_group,
    of_group,
    of_stream,
    page,
    streams,
)
from fleetward.server.schema import in_tenant

PAGE = 50
SEQUENCE_TOKEN = "49" + "0" * 54
"""Tokens are accepted and mean nothing, as with AWS today; older agents want to be given one."""

ADD = insert(streams)
REMOVE = delete(streams).where(*THIS_STREAM)
TAKE_BYTES = (
    update(groups)
    .where(*in_tenant(groups), groups.c.name == bindparam("group"))
    .values(stored_bytes=groups.c.stored_bytes - bindparam("size"))
)
_IN_PREFIX = func.substr(streams.c.name, 1, bindparam("length")) == bindparam("prefix")
_LIST = select(streams).where(*STREAM_OF_GROUP, _IN_PREFIX).limit(bindparam("most"))
BY_NAME = _LIST.where(streams.c.name > bindparam("behind")).order_by(streams.c.name)
BY_NAME_DOWN = _LIST.order_by(streams.c.name.desc())
BY_NAME_DOWN_BEHIND = BY_NAME_DOWN.where(streams.c.name < bindparam("behind"))
_BY_EVENT = select(streams).where(*STREAM_OF_GROUP).limit(bindparam("most"))
BY_EVENT = _BY_EVENT.where(
    or_(
        streams.c.last_event_at > bindparam("at"),
        and_(streams.c.last_event_at == bindparam("at"), streams.c.name > bindparam("behind")),
    )
).order_by(streams.c.last_event_at, streams.c.name)
BY_EVENT_DOWN = _BY_EVENT.order_by(streams.c.last_event_at.desc(), streams.c.name.desc())
BY_EVENT_DOWN_BEHIND = BY_EVENT_DOWN.where(
    or_(
        streams.c.last_event_at < bindparam("at"),
        and_(streams.c.last_event_at == bindparam("at"), streams.c.name < bindparam("behind")),
    )
)


@logs.operation("CreateLogStream", resources=of_stream, audience="both", grows=True)
def create_log_stream(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make an empty stream."""
    group = find_group(call, request["logGroupName"], lock=True)
    name = request["logStreamName"]
    if call.db.first(GET_STREAM, **call.here, of_group=group.group_id, stream=name) is not None:
        raise ResourceAlreadyExistsException(f"The specified log stream already exists: {name}")
    add_stream(call, group, name)
    return {}


def add_stream(call: Call, group: Row[Any], name: str) -> None:
    """A stream that does not exist yet."""
    row = {
        "group_id": group.group_id,
        "name": name,
        "stream_id": call.new_id(),
        "created_at": milliseconds(call),
        "first_event_at": -1,
        "last_event_at": -1,
        "last_ingestion_at": -1,
        "stored_bytes": 0,
    }
    call.db.run(ADD, {**call.tenant, **row})


@logs.operation("DeleteLogStream", resources=of_stream)
def delete_log_stream(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a stream with its events; their rows go little by little afterwards."""
    group = find_group(call, request["logGroupName"], lock=True)
    stream = find_stream(call, group, request["logStreamName"])
    call.db.run(REMOVE, {**call.here, "of_group": group.group_id, "stream": stream.name})
    call.db.run(TAKE_BYTES, {**call.here, "group": group.name, "size": stream.stored_bytes})
    remove_later(call, group.group_id, stream.stream_id)
    return {}


@logs.operation("DescribeLogStreams", resources=of_group, reads=True, audience="both")
def describe_log_streams(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A group's streams in order of name or of last event, either way."""
    name = named_group(call, request)
    group = find_group(call, name)
    by_event = request.get("orderBy") == "LastEventTime"
    prefix, down = request.get("logStreamNamePrefix", ""), request.get("descending", False)
    if by_event and prefix:
        raise InvalidParameterException("Cannot order by LastEventTime with a logStreamNamePrefix.")
    limit = request.get("limit", PAGE)
    operation = f"DescribeLogStreams {request.get('orderBy')} {down}"
    behind = after(operation, request)
    values: dict[str, Any] = {**call.here, "of_group": group.group_id, "most": limit + 1}
    if by_event:
        at, name_behind = behind or [-2, ""]
        statement = BY_EVENT if not down else BY_EVENT_DOWN_BEHIND if behind else BY_EVENT_DOWN
        if statement is not BY_EVENT_DOWN:
            values |= {"at": at, "behind": name_behind}
    else:
        values |= {"prefix": prefix, "length": len(prefix)}
        statement = BY_NAME if not down else BY_NAME_DOWN_BEHIND if behind else BY_NAME_DOWN
        if statement is not BY_NAME_DOWN:
            values["behind"] = behind[0] if behind else ""
    rows = call.db.all(statement, **values)
    key = (lambda row: [row.last_event_at, row.name]) if by_event else (lambda row: [row.name])
    shown, more = page(operation, rows, limit, key)
    return {"logStreams": [_shape(call, name, row) for row in shown], **more}


def _shape(call: Call, group: str, row: Row[Any]) -> dict[str, Any]:
    shown = {
        "logStreamName": row.name,
        "creationTime": row.created_at,
        "firstEventTimestamp": row.first_event_at,
        "lastEventTimestamp": row.last_event_at,
        "lastIngestionTime": row.last_ingestion_at,
        "uploadSequenceToken": SEQUENCE_TOKEN,
        "arn": f"{group_arn(call, group)}:log-stream:{row.name}",
        "storedBytes": row.stored_bytes,
    }
    return {name: value for name, value in shown.items() if value != -1}
