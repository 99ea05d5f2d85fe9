"""What goes away: events past their group's days, and the rows of deleted groups and streams, in keyed chunks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, Index, Row, String, Table, bindparam, delete, insert, select, update

from fleetward.server.call import Call
from fleetward.server.logs import logs
from fleetward.server.logs.table import BLOCK_OF_GROUP, DAY, blocks, groups, milliseconds, streams
from fleetward.server.schema import UtcDateTime, in_tenant, metadata, tenant

CHUNK = 500
GROUPS_AT_ONCE = 50
SWEEP = timedelta(hours=1)
WHOLE_GROUP = ""

removals = Table(
    "logs_removals",
    metadata,
    *tenant(),
    Column("group_id", String(36), primary_key=True),
    Column("stream_id", String(36), primary_key=True),  # empty: the whole group
    Column("since", UtcDateTime, nullable=False),
    Index("logs_removals_since", "since"),
)

ADD = insert(removals)
_HERE = in_tenant(removals)
WAITING = select(removals.c.account_id, removals.c.region).where(removals.c.since <= bindparam("now")).distinct()
NEXT = select(removals).where(*_HERE).order_by(removals.c.group_id, removals.c.stream_id).limit(1)
DONE = delete(removals).where(
    *_HERE, removals.c.group_id == bindparam("of_group"), removals.c.stream_id == bindparam("of_stream")
)
_BLOCKS = select(blocks.c.block, blocks.c.stream_id, blocks.c.size_bytes).limit(CHUNK)
OF_GROUP = _BLOCKS.where(*BLOCK_OF_GROUP).order_by(blocks.c.block)
OF_STREAM = _BLOCKS.where(*in_tenant(blocks), blocks.c.stream_id == bindparam("of_stream")).order_by(
    blocks.c.first_at, blocks.c.block
)
REMOVE_BLOCK = delete(blocks).where(*BLOCK_OF_GROUP, blocks.c.block == bindparam("number"))
_STREAM_OF_GROUP = (*in_tenant(streams), streams.c.group_id == bindparam("of_group"))
STREAMS_OF = select(streams.c.name).where(*_STREAM_OF_GROUP).order_by(streams.c.name).limit(CHUNK)
REMOVE_STREAM = delete(streams).where(*_STREAM_OF_GROUP, streams.c.name == bindparam("stream"))

TO_SWEEP = select(groups.c.account_id, groups.c.region).where(groups.c.sweep_at <= bindparam("now")).distinct()
SWEEP_NEXT = (
    select(groups)
    .where(*in_tenant(groups), groups.c.sweep_at <= bindparam("now"))
    .order_by(groups.c.sweep_at)
    .limit(GROUPS_AT_ONCE)
    .with_for_update()
)
EXPIRED = _BLOCKS.where(*BLOCK_OF_GROUP, blocks.c.last_at < bindparam("before")).order_by(
    blocks.c.last_at, blocks.c.block
)
SWEPT = (
    update(groups)
    .where(*in_tenant(groups), groups.c.name == bindparam("group"))
    .values(sweep_at=bindparam("at"), stored_bytes=groups.c.stored_bytes - bindparam("size"))
)
TAKE_BYTES = (
    update(streams)
    .where(*in_tenant(streams), streams.c.stream_id == bindparam("of_stream"))
    .values(stored_bytes=streams.c.stored_bytes - bindparam("size"))
)


def remove_later(call: Call, group_id: str, stream_id: str = WHOLE_GROUP) -> None:
    """Have the rows of a deleted stream, or of a whole group, removed."""
    call.db.run(ADD, {**call.tenant, "group_id": group_id, "stream_id": stream_id, "since": call.now})


@logs.timer(every=timedelta(seconds=10), due=WAITING)
def remove(call: Call) -> bool:
    """Remove a chunk of what was deleted; whether there may be more."""
    removal = call.db.first(NEXT, **call.here)
    if removal is None:
        return False
    key = {**call.here, "of_group": removal.group_id}
    if removal.stream_id:
        found = call.db.all(OF_STREAM, **call.here, of_stream=removal.stream_id)
    else:
        found = call.db.all(OF_GROUP, **key)
    call.db.run(REMOVE_BLOCK, [{**key, "number": row.block} for row in found])
    if len(found) == CHUNK:
        return True
    if not removal.stream_id:
        names = call.db.values(STREAMS_OF, **key)
        call.db.run(REMOVE_STREAM, [{**key, "stream": name} for name in names])
        if len(names) == CHUNK:
            return True
    call.db.run(DONE, {**key, "of_stream": removal.stream_id})
    return True


@logs.timer(every=timedelta(minutes=5), due=TO_SWEEP)
def expire(call: Call) -> bool:
    """Remove a chunk of the events that are past their group's days; whether there may be more."""
    now = milliseconds(call)
    rows = call.db.all(SWEEP_NEXT, **call.here, now=call.now)
    for row in rows:
        key = {**call.here, "of_group": row.group_id}
        gone = call.db.all(EXPIRED, **key, before=now - row.retention_days * DAY)
        call.db.run(REMOVE_BLOCK, [{**key, "number": each.block} for each in gone])
        call.db.run(TAKE_BYTES, _by_stream(call, gone))
        finished = len(gone) < CHUNK
        size = sum(each.size_bytes for each in gone)
        at = call.now + SWEEP if finished else row.sweep_at
        call.db.run(SWEPT, {**call.here, "group": row.name, "size": size, "at": at})
        if not finished:
            return True
    return len(rows) == GROUPS_AT_ONCE


def _by_stream(call: Call, gone: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    sizes: dict[str, int] = {}
    for each in gone:
        sizes[each.stream_id] = sizes.get(each.stream_id, 0) + each.size_bytes
    return [{**call.here, "of_stream": stream_id, "size": size} for stream_id, size in sizes.items()]
