"""Recording parts: one recording of what several servers have of a session, whose node went from one to another.

In every part times count from the beginning of the session, so the parts are put together by time, line by line.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

PIECE = 256 * 1024

Event = tuple[float, int, bytes, bytes]
"""When, of which part, that part's header, and the line."""


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file that comes in pieces; a last one without an end, which a power cut leaves, is left out."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"


def read_pieces(read: Callable[[int, int], bytes]) -> Iterator[bytes]:
    """What `read(start, end)` gives from 0 to its end."""
    start = 0
    while piece := read(start, start + PIECE):
        yield piece
        start += len(piece)


def merged(*parts: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of parts as pieces of one asciicast, with the header of the earliest.

    A part that was put in already changes nothing: an event that two parts have is the same.
    """
    waiting, size = [], 0
    for line in _together(parts):
        waiting.append(line)
        size += len(line)
        if size >= PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _together(parts: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    events = heapq.merge(
        *(_timed(number, iter(lines)) for number, lines in enumerate(parts)), key=lambda event: event[0]
    )
    now, seen = -1.0, dict[bytes, int]()
    for seconds, part, header, line in events:
        if now < 0:
            yield header
        if seconds != now:
            now, seen = seconds, {}
        if seen.setdefault(line, part) == part:
            yield line


def _timed(part: int, lines: Iterator[bytes]) -> Iterator[Event]:
    header = next(lines, b"")
    for line in lines:
        seconds, comma, _ = line[1:].partition(b",")
        if comma:
            yield float(seconds), part, header, line
