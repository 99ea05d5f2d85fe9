"""Groups, streams and blocks as rows: their tables, how they are named and found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Row, String, Table, bindparam, select

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.logs.errors import InvalidParameterException, ResourceNotFoundException
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, tenant

DAY = 24 * 60 * 60 * 1000
"""Milliseconds; all times of this service are milliseconds since 1970."""

groups = Table(
    "logs_groups",
    metadata,
    *tenant(),
    Column("name", String(512), primary_key=True),
    Column("group_id", String(36), nullable=False),
    Column("log_class", String(32), nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("retention_days", Integer),  # null: for ever
    Column("tags", Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("last_block", BigInteger, nullable=False),  # number of the newest
    Column("sweep_at", UtcDateTime),  # when retention is next carried out; null: never
    Index("logs_groups_sweep", "sweep_at"),
)

streams = Table(
    "logs_streams",
    metadata,
    *tenant(),
    Column("group_id", String(36), primary_key=True),
    Column("name", String(512), primary_key=True),
    Column("stream_id", String(36), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("first_event_at", BigInteger, nullable=False),  # -1: none yet
    Column("last_event_at", BigInteger, nullable=False),
    Column("last_ingestion_at", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Index("logs_streams_id", "account_id", "region", "stream_id"),
    Index("logs_streams_last_event", "account_id", "region", "group_id", "last_event_at", "name"),
)

blocks = Table(
    "logs_blocks",
    metadata,
    *tenant(),
    Column("group_id", String(36), primary_key=True),
    Column("block", BigInteger, primary_key=True),
    Column("stream_id", String(36), nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("ingested_at", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("logs_blocks_group_first", "account_id", "region", "group_id", "first_at", "block"),
    Index("logs_blocks_group_last", "account_id", "region", "group_id", "last_at", "block"),
    Index("logs_blocks_stream_first", "account_id", "region", "stream_id", "first_at", "block"),
    Index("logs_blocks_stream_last", "account_id", "region", "stream_id", "last_at", "block"),
)

GROUP_HERE = in_tenant(groups)
THIS_GROUP = (*GROUP_HERE, groups.c.name == bindparam("group"))
GET_GROUP = select(groups).where(*THIS_GROUP)
LOCK_GROUP = GET_GROUP.with_for_update()
STREAM_OF_GROUP = (*in_tenant(streams), streams.c.group_id == bindparam("of_group"))
THIS_STREAM = (*STREAM_OF_GROUP, streams.c.name == bindparam("stream"))
GET_STREAM = select(streams).where(*THIS_STREAM)
BLOCK_OF_GROUP = (*in_tenant(blocks), blocks.c.group_id == bindparam("of_group"))

_ARN = re.compile(r"arn:aws:logs:([a-z0-9-]{1,32}):([0-9]{12}):log-group:([.\-_/#A-Za-z0-9]{1,512})(:\*)?")


def milliseconds(call: Call) -> int:
    """The present."""
    return int(call.now.timestamp() * 1000)


def group_arn(call: Call, name: str) -> str:
    """A group's ARN, without the `:*` for its streams."""
    return call.arn(f"log-group:{name}", service="logs")


def find_group(call: Call, name: str, *, lock: bool = False) -> Row[Any]:
    """A group by name; ResourceNotFoundException."""
    row = call.db.first(LOCK_GROUP if lock else GET_GROUP, **call.here, group=name)
    if row is None:
        raise ResourceNotFoundException(f"The specified log group does not exist: {name}")
    return row


def find_stream(call: Call, group: Row[Any], name: str) -> Row[Any]:
    """A stream of a group by name; ResourceNotFoundException."""
    row = call.db.first(GET_STREAM, **call.here, of_group=group.group_id, stream=name)
    if row is None:
        raise ResourceNotFoundException(f"The specified log stream does not exist: {name}")
    return row


def name_of(call: Call, identifier: str) -> str:
    """The group that a name or ARN means; ARNs of other accounts and regions name nothing here."""
    if not identifier.startswith("arn:"):
        return identifier
    found = _ARN.fullmatch(identifier)
    if found is None:
        raise InvalidParameterException(f"{identifier[:200]!r} is not the ARN of a log group.")
    if (found[1], found[2]) != (call.region, call.account):
        raise ResourceNotFoundException(f"Log groups are those of {call.account} in {call.region}: {identifier}")
    return found[3]


def named_group(call: Call, request: Mapping[str, Any]) -> str:
    """The group's name in a request with logGroupName or logGroupIdentifier, of which one must be given."""
    given = [request[member] for member in ("logGroupName", "logGroupIdentifier") if member in request]
    if len(given) != 1:
        raise InvalidParameterException("Give either logGroupName or logGroupIdentifier.")
    return name_of(call, given[0])


# -- what policies decide on -------------------------------------------------------------------------------------------


def of_group(call: Call, request: Mapping[str, Any]) -> Sequence[Resource]:
    """`resources` of operations on a group: its ARN with `:*`, as policies must name it."""
    return (group_resource(call, named_group(call, request)),)


def group_resource(call: Call, name: str, suffix: str = ":*") -> Resource:
    """A group as a resource, with its tags."""
    row = call.db.first(GET_GROUP, **call.here, group=name)
    return Resource(group_arn(call, name) + suffix, row.tags if row is not None else None)


def of_stream(call: Call, request: Mapping[str, Any]) -> Sequence[Resource]:
    """`resources` of operations on a stream."""
    return (group_resource(call, named_group(call, request), f":log-stream:{request['logStreamName']}"),)


# -- pages -------------------------------------------------------------------------------------------------------------


def after(operation: str, request: Mapping[str, Any]) -> list[Any] | None:
    """The key in a request's nextToken; InvalidParameterException."""
    try:
        return paging.decode(operation, request.get("nextToken"))
    except paging.InvalidNextToken:
        raise InvalidParameterException("The specified nextToken is invalid.") from None


def page(operation: str, rows: Sequence[Any], limit: int, key: Any) -> tuple[Sequence[Any], dict[str, str]]:
    """Rows fetched with `limit + 1`: the page, and `{"nextToken": …}` when there is more."""
    shown, more = paging.page(operation, rows, limit, key)
    return shown, {"nextToken": more["NextToken"]} if more else {}
