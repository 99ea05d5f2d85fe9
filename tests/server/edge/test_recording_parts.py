"""Recording parts: whatever servers stored in whatever order, one recording comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.edge.recording_parts import lines_of, merged, read_pieces


def part(name: str, *events: tuple[float, str]) -> list[bytes]:
    lines: list[Any] = [{"version": 2, "title": name}, *([seconds, "o", text] for seconds, text in events)]
    return [json.dumps(line).encode() + b"\n" for line in lines]


def shown(pieces: Iterable[bytes]) -> tuple[str, str]:
    header, *events = [json.loads(line) for line in b"".join(pieces).splitlines()]
    times = [event[0] for event in events]
    assert times == sorted(times)
    return header["title"], "".join(event[2] for event in events)


FIRST = part("first", (1.0, "a"), (2.0, "b"), (2.0, "b"), (7.5, "e"))
SECOND = part("second", (3.0, "c"), (5.25, "d"))


def test_parts_are_put_together_by_time_with_the_header_of_the_earliest() -> None:
    assert shown(merged(FIRST, SECOND)) == shown(merged(SECOND, FIRST)) == ("first", "abbcde")


def test_a_part_that_is_in_already_changes_nothing() -> None:
    both = list(lines_of(merged(FIRST, SECOND)))
    for again in (FIRST, SECOND, both):
        assert shown(merged(both, again)) == ("first", "abbcde")


def test_a_line_that_was_cut_off_is_left_out() -> None:
    assert shown(merged(lines_of([*FIRST, b'[9.0, "o", "hal']), SECOND)) == ("first", "abbcde")
    assert b"".join(merged([], [b"{}\n"])) == b""


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=9))
def test_lines_do_not_depend_on_the_pieces(pieces: Sequence[bytes]) -> None:
    whole = b"".join(pieces)
    assert b"".join(lines_of(pieces)) == whole[: whole.rfind(b"\n") + 1]
    assert b"".join(read_pieces(lambda start, end: whole[start : min(end, start + 3)])) == whole
