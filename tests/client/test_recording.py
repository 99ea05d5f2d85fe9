"""Recordings as they are played: pauses, speed, whatever pieces the file arrives in, files that are none."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.client.recording import BadRecording, Piece, pieces

HEADER = b'{"version": 2, "width": 80, "height": 24}\n'


def recorded(*events: tuple[float, str, str]) -> bytes:
    """A recording's file."""
    return HEADER + b"".join(json.dumps(event).encode() + b"\n" for event in events)


def test_pauses_are_those_recorded_but_not_longer_than_asked() -> None:
    file = recorded((0.5, "o", "a"), (0.75, "i", "typed"), (1.0, "o", "b"), (60.0, "r", "80x30"), (90.0, "o", "ü"))
    shown = list(pieces([file], longest_pause=2.0))
    assert shown == [Piece(0.5, b"a"), Piece(0.5, b"b"), Piece(2.0, "ü".encode())]
    assert [piece.pause for piece in pieces([file], speed=4, longest_pause=1.0)] == [0.125, 0.125, 0.25]


@given(st.integers(1, 40))
def test_the_pieces_of_the_file_do_not_matter(size: int) -> None:
    file = recorded((0.1, "o", "häß"), (0.2, "o", "\x1b[0m"))

    def chunks() -> Iterator[bytes]:
        yield from (file[start : start + size] for start in range(0, len(file), size))

    assert list(pieces(chunks())) == list(pieces([file]))


def test_a_recording_that_was_cut_off_shows_what_there_is() -> None:
    shown = pieces([recorded((0, "o", "a")) + b'[0.5, "o", "b'])
    assert next(shown) == Piece(0, b"a")
    with pytest.raises(BadRecording):
        next(shown)


@pytest.mark.parametrize(
    "file", [b"", b"GIF89a", b'{"version": 1}\n', b"[]\n", HEADER + b"{}\n", HEADER + b'["x", "o", "y"]\n']
)
def test_other_files_are_told_from_recordings(file: bytes) -> None:
    with pytest.raises(BadRecording):
        list(pieces([file]))
