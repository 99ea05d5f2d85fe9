"""Events in: what callers put, and what other capabilities append."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import Row, bindparam, insert, update

from fleetward.server.call import Call
from fleetward.server.logs import logs
from fleetward.server.logs.blocks import EVENT_OVERHEAD_BYTES, pack
from fleetward.server.logs.errors import InvalidParameterException
from fleetward.server.logs.groups import add_group
from fleetward.server.logs.streams import SEQUENCE_TOKEN, add_stream
from fleetward.server.logs.table import (
    DAY,
    GET_GROUP,
    GET_STREAM,
    THIS_GROUP,
    THIS_STREAM,
    blocks,
    find_group,
    find_stream,
    groups,
    milliseconds,
    of_stream,
    streams,
)

LARGEST_BATCH_BYTES = 1_048_576
OLDEST = 14 * DAY
NEWEST = 2 * 60 * 60 * 1000
WIDEST = DAY

ADD_BLOCKS = insert(blocks)
COUNT_GROUP = (
    update(groups)
    .where(*THIS_GROUP)
    .values(stored_bytes=groups.c.stored_bytes + bindparam("size"), last_block=bindparam("newest"))
)
COUNT_STREAM = (
    update(streams)
    .where(*THIS_STREAM)
    .values(
        stored_bytes=streams.c.stored_bytes + bindparam("size"),
        first_event_at=bindparam("first"),
        last_event_at=bindparam("last"),
        last_ingestion_at=bindparam("now"),
    )
)


@logs.operation("PutLogEvents", resources=of_stream, audience="both", grows=True, audit=False)
def put_log_events(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a batch of events that are in order of time; those too old or too far ahead are left out and counted."""
    events = [(event["timestamp"], event["message"]) for event in request["logEvents"]]
    _require_small(events)
    if any(one[0] > other[0] for one, other in pairwise(events)):
        raise InvalidParameterException("Log events in a single PutLogEvents request must be in chronological order.")
    group = find_group(call, request["logGroupName"], lock=True)
    stream = find_stream(call, group, request["logStreamName"])
    now = milliseconds(call)
    accepted, rejected = sift(events, now, group.retention_days)
    if accepted and accepted[-1][0] - accepted[0][0] > WIDEST:
        raise InvalidParameterException(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
        )
    _store(call, group, stream, accepted, now)
    answer: dict[str, Any] = {"nextSequenceToken": SEQUENCE_TOKEN}
    return {**answer, "rejectedLogEventsInfo": rejected} if rejected else answer


def append(call: Call, group: str, stream: str, events: Sequence[tuple[int, str]]) -> None:
    """For capabilities: add `(milliseconds since 1970, message)` to a stream; group and stream are made if absent.

    Events are put into order; 1 MiB at most, counted as PutLogEvents counts: InvalidParameterException. The caller has
    decided whether it may be.
    """
    _require_small(events)
    if call.db.first(GET_GROUP, **call.here, group=group) is None:
        add_group(call, group)
    row = find_group(call, group, lock=True)
    if call.db.first(GET_STREAM, **call.here, of_group=row.group_id, stream=stream) is None:
        add_stream(call, row, stream)
    readable = ((at, message.encode("utf-8", "replace").decode()) for at, message in events if message)
    ordered = sorted(readable, key=lambda event: event[0])
    _store(call, row, find_stream(call, row, stream), ordered, milliseconds(call))


def sift(
    events: Sequence[tuple[int, str]], now: int, retention_days: int | None
) -> tuple[Sequence[tuple[int, str]], dict[str, int]]:
    """The events of an ordered batch that are taken, and AWS's account of the others: where each kind ends."""
    times = [at for at, _ in events]
    expired_before = now - retention_days * DAY if retention_days is not None else 0
    old = sum(at < now - OLDEST for at in times)
    expired = sum(at < expired_before for at in times)
    new = sum(at > now + NEWEST for at in times)
    rejected = {}
    if new:
        rejected["tooNewLogEventStartIndex"] = len(events) - new
    if old:
        rejected["tooOldLogEventEndIndex"] = old
    if expired:
        rejected["expiredLogEventEndIndex"] = expired
    return events[max(old, expired) : len(events) - new], rejected


def _require_small(events: Sequence[tuple[int, str]]) -> None:
    size = sum(len(message.encode("utf-8", "surrogatepass")) + EVENT_OVERHEAD_BYTES for _, message in events)
    if size > LARGEST_BATCH_BYTES:
        raise InvalidParameterException(f"Upload too large: {size} bytes exceeds limit of {LARGEST_BATCH_BYTES}")


def _store(call: Call, group: Row[Any], stream: Row[Any], events: Sequence[tuple[int, str]], now: int) -> None:
    """Keep ordered events as blocks. The group's row is held, so that numbers of blocks are given once."""
    if not events:
        return
    packed = pack(events)
    rows = [
        {
            **call.tenant,
            "group_id": group.group_id,
            "block": group.last_block + number,
            "stream_id": stream.stream_id,
            "first_at": block.first_at,
            "last_at": block.last_at,
            "count": block.count,
            "size_bytes": block.size_bytes,
            "ingested_at": now,
            "content": block.content,
        }
        for number, block in enumerate(packed, 1)
    ]
    call.db.run(ADD_BLOCKS, rows)
    size = sum(block.size_bytes for block in packed)
    newest = group.last_block + len(packed)
    call.db.run(COUNT_GROUP, {**call.here, "group": group.name, "size": size, "newest": newest})
    known = stream.first_event_at != -1
    first = min(stream.first_event_at, events[0][0]) if known else events[0][0]
    counted = {"size": size, "first": first, "last": max(stream.last_event_at, events[-1][0]), "now": now}
    call.db.run(COUNT_STREAM, {**call.here, "of_group": group.group_id, "stream": stream.name, **counted})
