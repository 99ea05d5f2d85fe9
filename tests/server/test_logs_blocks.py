"""Blocks: whatever is put in comes out once and in order, forwards and backwards, from every place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.logs.blocks import (
    BLOCKS_AT_ONCE,
    FIRST,
    LAST,
    SPAN,
    Place,
    backward,
    first_start,
    forward,
    pack,
    unpack,
)

TIMES = st.integers(0, 3 * SPAN) | st.sampled_from([0, SPAN - 1, SPAN, SPAN + 1, 2 * SPAN])
BATCHES = st.lists(st.lists(TIMES, min_size=1, max_size=6).map(sorted), max_size=40)


def rows_of(batches: Sequence[Sequence[int]]) -> list[Any]:
    """Rows as the store would give them."""
    rows = []
    for number, batch in enumerate(batches):
        for block in pack([(at, f"{number}/{index}") for index, at in enumerate(batch)]):
            rows.append(
                SimpleNamespace(
                    first_at=block.first_at,
                    last_at=block.last_at,
                    block=len(rows) + 1,
                    content=block.content,
                    stream="s",
                    ingested_at=0,
                )
            )
    return rows


def ahead(rows: Sequence[Any], at: int) -> Callable[[int, int], list[Any]]:
    """What the statement for reading forward gives."""

    def fetch(first: int, number: int) -> list[Any]:
        found = [row for row in rows if (row.first_at, row.block) > (first, number) and row.last_at >= at]
        return sorted(found, key=lambda row: (row.first_at, row.block))[:BLOCKS_AT_ONCE]

    return fetch


def astern(rows: Sequence[Any], at: int) -> Callable[[int, int], list[Any]]:
    """What the statement for reading backward gives."""

    def fetch(last: int, number: int) -> list[Any]:
        found = [row for row in rows if (row.last_at, row.block) < (last, number) and row.first_at <= at]
        return sorted(found, key=lambda row: (row.last_at, row.block), reverse=True)[:BLOCKS_AT_ONCE]

    return fetch


def all_of(rows: Sequence[Any]) -> list[tuple[Place, str]]:
    """Every event in order."""
    return sorted(
        (Place(at, row.block, number), message)
        for row in rows
        for number, (at, message) in enumerate(unpack(row.content))
    )


@given(BATCHES)
def test_blocks_hold_what_was_put_and_never_cross_a_span(batches: list[list[int]]) -> None:
    rows = rows_of(batches)
    assert sorted(at for batch in batches for at in batch) == [place.at for place, _ in all_of(rows)]
    assert all(row.first_at // SPAN == row.last_at // SPAN for row in rows)
    assert all(first_start(Place(row.last_at, 0, 0)) <= row.first_at for row in rows)


@given(BATCHES)
def test_everything_is_read_in_order_both_ways(batches: list[list[int]]) -> None:
    rows, wanted = rows_of(batches), all_of(rows_of(batches))
    there = [(event.place, event.message) for event in forward(ahead(rows, FIRST.at), FIRST, 2**50)]
    back = [(event.place, event.message) for event in backward(astern(rows, LAST.at), LAST, 0)]
    assert there == wanted
    assert back == wanted[::-1]


@given(BATCHES, TIMES, TIMES, st.data())
def test_reading_goes_on_from_any_place_without_missing_or_repeating(
    batches: list[list[int]], start: int, end: int, data: st.DataObject
) -> None:
    rows = rows_of(batches)
    places = [place for place, _ in all_of(rows)]
    place = data.draw(st.sampled_from([FIRST, LAST, *places]))
    there = [event.place for event in forward(ahead(rows, place.at), place, end)]
    assert there == [each for each in places if each > place and each.at < end]
    back = [event.place for event in backward(astern(rows, place.at), place, start)]
    assert back == [each for each in places if each < place and each.at >= start][::-1]


def test_a_block_is_smaller_than_what_it_holds() -> None:
    (block,) = pack([(number, f"the same words again and again, number {number}") for number in range(1000)])
    assert len(block.content) < block.size_bytes / 4
