"""Recordings of shells (asciicast v2): what was shown, and how long to wait before each piece."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fleetward.client.errors import ClientError

LONGEST_LINE_BYTES = 16 * 1024 * 1024


class BadRecording(ClientError):
    """A file is no asciicast v2 recording."""


@dataclass(frozen=True)
class Piece:
    """What was shown, `pause` seconds after the piece before."""

    pause: float
    data: bytes


def pieces(chunks: Iterable[bytes], *, speed: float = 1.0, longest_pause: float = 2.0) -> Iterator[Piece]:
    """What a recording shows, from its file's bytes in chunks of any size.

    Time runs `speed` times as fast; no pause, as it was recorded, counts more than `longest_pause` seconds.
    BadRecording when the file is none.
    """
    lines = _lines(chunks)
    _check_header(next(lines, b""))
    shown_at = 0.0
    for line in lines:
        at, kind, text = _event(line)
        if kind != "o":
            continue
        pause = min(max(at - shown_at, 0.0), longest_pause) / speed
        shown_at = max(at, shown_at)
        yield Piece(pause, text.encode(errors="replace"))


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(rest) > LONGEST_LINE_BYTES:
            raise BadRecording("the recording has a line without an end")
    if rest.strip():
        yield rest


def _check_header(line: bytes) -> None:
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("version") != 2:
        raise BadRecording("this is no asciicast v2 recording")


def _event(line: bytes) -> tuple[float, str, str]:
    try:
        at, kind, text = json.loads(line)
        return float(at), str(kind), str(text)
    except (ValueError, TypeError) as error:
        raise BadRecording("the recording has a line that is no event") from error
