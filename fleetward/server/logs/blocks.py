"""Blocks: events that were put together, compressed; and how the events of many blocks are read in order. Pure.

A block holds events of one stream and of one span of ten minutes, in order of time. An event's place is its time, the
number of its block, which grows with every put in its group, and its own number in the block. Blocks may overlap in
time, so readers merge them: an event is given out once no block still to come can hold an earlier one.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

SPAN = 10 * 60 * 1000
"""Milliseconds that one block can cover; spans begin at multiples of it."""

BLOCKS_AT_ONCE = 16
EVENT_OVERHEAD_BYTES = 26
"""What CloudWatch Logs counts for an event besides its message."""


class Place(NamedTuple):
    """Where an event is among all of its group. `number` counts in its block; -1 stands before them all."""

    at: int
    block: int
    number: int


FIRST = Place(-1, -1, -1)
LAST = Place(2**62, 2**62, 2**31)


class Event(NamedTuple):
    """One event as it is read: `at` and `ingested_at` are milliseconds since 1970."""

    place: Place
    message: str
    stream: str
    ingested_at: int


@dataclass(frozen=True, slots=True)
class Block:
    """Events of one stream and span, to be kept. `size_bytes` is what CloudWatch Logs counts for them."""

    first_at: int
    last_at: int
    count: int
    size_bytes: int
    content: bytes


def pack(events: Sequence[tuple[int, str]]) -> list[Block]:
    """Blocks of events `(milliseconds, message)` that are in order of time."""
    blocks = []
    start = 0
    for end in range(1, len(events) + 1):
        if end == len(events) or events[end][0] // SPAN != events[start][0] // SPAN:
            part = events[start:end]
            size = sum(len(message.encode("utf-8", "surrogatepass")) + EVENT_OVERHEAD_BYTES for _, message in part)
            content = zlib.compress(orjson.dumps(part), 1)
            blocks.append(Block(part[0][0], part[-1][0], len(part), size, content))
            start = end
    return blocks


def unpack(content: bytes) -> list[tuple[int, str]]:
    """The events of a block, in order."""
    events: list[tuple[int, str]] = orjson.loads(zlib.decompress(content))
    return events


def first_start(place: Place) -> int:
    """The earliest start of a block that can hold an event at or behind `place`."""
    return max(0, place.at) // SPAN * SPAN


def forward(fetch: Callable[[int, int], Sequence[Any]], after: Place, end: int) -> Iterator[Event]:
    """Events behind `after` and before the time `end`, in order.

    `fetch(first_at, block)` gives the next rows of blocks behind that, in this order, BLOCKS_AT_ONCE at most: those
    that end at `after.at` or later.
    """
    waiting: list[Event] = []
    cursor = (first_start(after), -1)
    while True:
        rows = fetch(*cursor)
        for row in rows:
            cursor = (row.first_at, row.block)
            while waiting and waiting[0].place[:2] < cursor:
                yield heapq.heappop(waiting)
            if row.first_at >= end:
                break
            for event in _events(row):
                if event.place > after and event.place.at < end:
                    heapq.heappush(waiting, event)
        if len(rows) < BLOCKS_AT_ONCE or cursor[0] >= end:
            break
    while waiting:
        yield heapq.heappop(waiting)


def backward(fetch: Callable[[int, int], Sequence[Any]], before: Place, start: int) -> Iterator[Event]:
    """Events in front of `before` and at the time `start` or later, the latest first.

    `fetch(last_at, block)` gives the next rows in front of that, the latest end first, BLOCKS_AT_ONCE at most: those
    that begin at `before.at` or earlier.
    """
    waiting: list[tuple[tuple[int, int, int], Event]] = []
    cursor = (LAST.at, LAST.block)
    while True:
        rows = fetch(*cursor)
        for row in rows:
            cursor = (row.last_at, row.block)
            while waiting and waiting[0][1].place[:2] > cursor:
                yield heapq.heappop(waiting)[1]
            if row.last_at < start:
                break
            for event in _events(row):
                if start <= event.place.at and event.place < before:
                    at, block, number = event.place
                    heapq.heappush(waiting, ((-at, -block, -number), event))
        if len(rows) < BLOCKS_AT_ONCE or cursor[0] < start:
            break
    while waiting:
        yield heapq.heappop(waiting)[1]


def _events(row: Any) -> Iterator[Event]:
    for index, (at, message) in enumerate(unpack(row.content)):
        yield Event(Place(at, row.block, index), message, row.stream, row.ingested_at)
