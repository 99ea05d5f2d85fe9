"""Events out: a stream forwards and backwards, and what a filter finds in a group."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, or_, select

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.logs import logs
from fleetward.server.logs.blocks import (
    BLOCKS_AT_ONCE,
    EVENT_OVERHEAD_BYTES,
    FIRST,
    LAST,
    Event,
    Place,
    backward,
    forward,
)
from fleetward.server.logs.errors import InvalidParameterException
from fleetward.server.logs.filter_patterns import PatternFault, compile_pattern
from fleetward.server.logs.table import (
    DAY,
    STREAM_OF_GROUP,
    after,
    blocks,
    find_group,
    find_stream,
    milliseconds,
    named_group,
    of_group,
    of_stream,
    streams,
)
from fleetward.server.schema import in_tenant, same_tenant

MOST_EVENTS = 10_000
LARGEST_PAGE_BYTES = 1_048_576
LARGEST_SEARCH_BYTES = 2 * 1024 * 1024
"""Events that one FilterLogEvents looks at; it then answers what it found and how to go on."""
LONGEST_SEARCH = 1.0
"""Seconds after which a search answers what it found so far: regular expressions can be slow."""
FOREVER = 2**53

_TOKEN = re.compile(r"([fb])/(\d{16})(\d{16})(\d{8})(\d{6})")
_HERE = in_tenant(blocks)
_OF_STREAM = (
    *same_tenant(streams, blocks),
    streams.c.stream_id == blocks.c.stream_id,
    streams.c.group_id == blocks.c.group_id,
)
_IN_PREFIX = func.substr(streams.c.name, 1, bindparam("length")) == bindparam("prefix")


def _forward(*which: Any) -> Select[Any]:
    """Blocks behind a place in order of their beginning."""
    behind = or_(
        blocks.c.first_at > bindparam("first"),
        and_(blocks.c.first_at == bindparam("first"), blocks.c.block > bindparam("number")),
    )
    return (
        select(blocks, streams.c.name.label("stream"))
        .join(streams, and_(*_OF_STREAM))
        .where(*_HERE, *which, blocks.c.first_at >= bindparam("first"), behind, blocks.c.last_at >= bindparam("at"))
        .order_by(blocks.c.first_at, blocks.c.block)
        .limit(BLOCKS_AT_ONCE)
    )


def _backward(*which: Any) -> Select[Any]:
    """Blocks in front of a place, the latest end first."""
    before = or_(
        blocks.c.last_at < bindparam("last"),
        and_(blocks.c.last_at == bindparam("last"), blocks.c.block < bindparam("number")),
    )
    return (
        select(blocks, streams.c.name.label("stream"))
        .join(streams, and_(*_OF_STREAM))
        .where(*_HERE, *which, blocks.c.last_at <= bindparam("last"), before, blocks.c.first_at <= bindparam("at"))
        .order_by(blocks.c.last_at.desc(), blocks.c.block.desc())
        .limit(BLOCKS_AT_ONCE)
    )


_ONE = (blocks.c.stream_id == bindparam("one"),)
_GROUP = (blocks.c.group_id == bindparam("of_group"),)
_SOME = (*_GROUP, blocks.c.stream_id.in_(bindparam("some", expanding=True)))
_PREFIX = (*_GROUP, _IN_PREFIX)
ONE_FORWARD, ONE_BACKWARD = _forward(*_ONE), _backward(*_ONE)
GROUP_FORWARD, GROUP_BACKWARD = _forward(*_GROUP), _backward(*_GROUP)
SOME_FORWARD, SOME_BACKWARD = _forward(*_SOME), _backward(*_SOME)
PREFIX_FORWARD, PREFIX_BACKWARD = _forward(*_PREFIX), _backward(*_PREFIX)
NAMED = select(streams.c.stream_id).where(*STREAM_OF_GROUP, streams.c.name.in_(bindparam("names", expanding=True)))


# -- one stream --------------------------------------------------------------------------------------------------------


@logs.operation("GetLogEvents", resources=of_stream, reads=True, audience="both", audit=False)
def get_log_events(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A page of a stream in order of time, from its end unless told otherwise, and how to go on either way.

    A token that leads to no events is answered again, so that readers know the end when they see it.
    """
    group = find_group(call, named_group(call, request))
    stream = find_stream(call, group, request["logStreamName"])
    start = max(request.get("startTime", 0), oldest(call, group.retention_days))
    end = request.get("endTime", FOREVER)
    limit = request.get("limit", MOST_EVENTS)
    way, place = _read_token(request.get("nextToken"))
    if not way:
        way, place = ("f", FIRST) if request.get("startFromHead") else ("b", LAST)
    values = {**call.here, "one": stream.stream_id}
    if way == "f":
        place = max(place, Place(start - 1, LAST.block, LAST.number))
        events = forward(_fetch(call, ONE_FORWARD, values, place.at), place, end)
    else:
        place = min(place, Place(end, -1, -1))
        events = backward(_fetch_backward(call, ONE_BACKWARD, values, place.at), place, start)
    found = _page(events, limit)
    if way == "b":
        found.reverse()
    shown = [{"timestamp": each.place.at, "message": each.message, "ingestionTime": each.ingested_at} for each in found]
    first = Place(start - 1, LAST.block, LAST.number)
    return {"events": shown, **_tokens(found, way, place, first, request.get("nextToken"))}


def _tokens(found: Sequence[Event], way: str, place: Place, first: Place, given: str | None) -> dict[str, str]:
    if found:
        onward, back = found[-1].place, found[0].place
    else:
        onward = place if way == "f" else first  # there is nothing between them
        back = place if way == "b" else Place(place.at, place.block, place.number + 1)
    tokens = {"nextForwardToken": _token("f", onward), "nextBackwardToken": _token("b", back)}
    if not found and given:
        tokens["nextForwardToken" if way == "f" else "nextBackwardToken"] = given
    return tokens


def _token(way: str, place: Place) -> str:
    """A place as text; parts beyond what can be are the nearest that can."""
    at = min(max(place.at, -1), FOREVER) + 1
    block = min(max(place.block, -1), FOREVER) + 1
    number = min(max(place.number, -1), 10**8 - 2) + 1
    digits = f"{at:016d}{block:016d}{number:08d}"
    return f"{way}/{digits}{sum(map(int, digits)):06d}"


def _read_token(token: str | None) -> tuple[str, Place]:
    if token is None:
        return "", FIRST
    parts = _TOKEN.fullmatch(token)
    if parts is None or sum(map(int, parts[2] + parts[3] + parts[4])) != int(parts[5]):
        raise InvalidParameterException("The specified nextToken is invalid.")
    return parts[1], Place(int(parts[2]) - 1, int(parts[3]) - 1, int(parts[4]) - 1)


def _page(events: Iterator[Event], limit: int) -> list[Event]:
    found: list[Event] = []
    size = 0
    for event in events:
        size += len(event.message.encode("utf-8", "surrogatepass")) + EVENT_OVERHEAD_BYTES
        if found and size > LARGEST_PAGE_BYTES:
            break
        found.append(event)
        if len(found) == limit:
            break
    return found


# -- a group -----------------------------------------------------------------------------------------------------------


@logs.operation("FilterLogEvents", resources=of_group, reads=True, audience="both", audit=False)
def filter_log_events(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Events of a group's streams in order of time that a pattern wants; a page may be short or empty and go on."""
    group = find_group(call, named_group(call, request))
    wanted = _filter(request.get("filterPattern", ""))
    start = max(request.get("startTime", 0), oldest(call, group.retention_days))
    end = request.get("endTime", FOREVER)
    end = min(end, FOREVER) + 1  # here, unlike in GetLogEvents, the millisecond of endTime counts
    ahead, place = _direction(request)
    values, statements = _streams_wanted(call, group.group_id, request)
    if values is None:
        return {"events": [], "searchedLogStreams": []}
    if ahead:
        place = max(place, Place(start - 1, LAST.block, LAST.number))
        events = forward(_fetch(call, statements[0], values, place.at), place, end)
    else:
        place = min(place, Place(end, -1, -1))
        events = backward(_fetch_backward(call, statements[1], values, place.at), place, start)
    found, last = _search(events, wanted, request.get("limit", MOST_EVENTS))
    answer: dict[str, Any] = {"events": [_shape(each) for each in found], "searchedLogStreams": []}
    if last is not None:
        answer["nextToken"] = paging.encode("FilterLogEvents", [ahead, *last])
    return answer


def _filter(text: str) -> Callable[[str], bool]:
    try:
        return compile_pattern(text)
    except PatternFault as fault:
        raise InvalidParameterException(f"Invalid filter pattern: {fault}") from fault


def _direction(request: Mapping[str, Any]) -> tuple[bool, Place]:
    """Whether the earliest come first, and where to go on."""
    going = after("FilterLogEvents", request)
    if going is not None:
        ahead, *place = going
        return bool(ahead), Place(*place)
    ahead = request.get("startFromHead", True)
    return ahead, FIRST if ahead else LAST


def _streams_wanted(
    call: Call, group_id: str, request: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, tuple[Any, Any]]:
    """Which blocks: the parameters, None when no stream is meant, and the statements forward and backward."""
    names, prefix = request.get("logStreamNames"), request.get("logStreamNamePrefix")
    if names and prefix:
        raise InvalidParameterException("Give either logStreamNames or logStreamNamePrefix.")
    values: dict[str, Any] = {**call.here, "of_group": group_id}
    if prefix:
        return {**values, "prefix": prefix, "length": len(prefix)}, (PREFIX_FORWARD, PREFIX_BACKWARD)
    if names:
        some = call.db.values(NAMED, **values, names=list(names))
        return {**values, "some": list(some)} if some else None, (SOME_FORWARD, SOME_BACKWARD)
    return values, (GROUP_FORWARD, GROUP_BACKWARD)


def _search(events: Iterator[Event], wanted: Callable[[str], bool], limit: int) -> tuple[list[Event], Place | None]:
    """The events found, and the place of the last one looked at if there may be more."""
    found: list[Event] = []
    seen = shown = 0
    last: Place | None = None
    until = time.monotonic() + LONGEST_SEARCH
    for event in events:
        size = len(event.message.encode("utf-8", "surrogatepass")) + EVENT_OVERHEAD_BYTES
        if len(found) == limit:
            return found, last
        if last is not None and (seen + size > LARGEST_SEARCH_BYTES or time.monotonic() > until):
            return found, last
        if _matches(wanted, event.message):
            if found and shown + size > LARGEST_PAGE_BYTES:
                return found, last
            shown += size
            found.append(event)
        seen += size
        last = event.place
    return found, None


def _matches(wanted: Callable[[str], bool], message: str) -> bool:
    try:
        return wanted(message)
    except PatternFault as fault:
        raise InvalidParameterException(f"Invalid filter pattern: {fault}") from fault


def _shape(event: Event) -> dict[str, Any]:
    at, block, number = event.place
    return {
        "logStreamName": event.stream,
        "timestamp": at,
        "message": event.message,
        "ingestionTime": event.ingested_at,
        "eventId": f"{at:016d}{block:020d}{number:020d}",
    }


# -- blocks ------------------------------------------------------------------------------------------------------------


def oldest(call: Call, retention_days: int | None) -> int:
    """The time from which events are shown: what is past its days is gone, whether it was removed yet or not."""
    return 0 if retention_days is None else milliseconds(call) - retention_days * DAY


def _fetch(
    call: Call, statement: Select[Any], values: Mapping[str, Any], at: int
) -> Callable[[int, int], Sequence[Any]]:
    return lambda first, number: call.db.all(statement, **values, at=at, first=first, number=number)


def _fetch_backward(
    call: Call, statement: Select[Any], values: Mapping[str, Any], at: int
) -> Callable[[int, int], Sequence[Any]]:
    return lambda last, number: call.db.all(statement, **values, at=at, last=last, number=number)
