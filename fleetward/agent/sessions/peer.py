"""The two sides of a session's process: what a program, a command or a port asks of the stream, and gives to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

OFFICIAL_FRAME_BYTES = 1024


class Peer(Protocol):
    """The client, as the far end of a stream."""

    is_official: bool
    """Whether its frames are small ones."""

    def send(self, payload_type: int, payload: bytes) -> None:
        """Send a payload, once and in order, whatever becomes of the connection."""

    @property
    def has_room(self) -> bool:
        """Whether there is room for more; without, stop to read until `Activity.on_room`."""

    def hold(self) -> None:
        """Deliver nothing more: the reader on this side is slow. The client stops at its window."""

    def release(self) -> None:
        """Deliver again."""


class Activity(Protocol):
    """What a session does."""

    async def run(self) -> None:
        """Do it until it is over by itself."""

    async def end(self) -> None:
        """End what still runs; called once, whether `run` has ended or not."""

    def receive(self, payload_type: int, payload: bytes) -> None:
        """The client sent something."""

    def on_room(self) -> None:
        """There is room to send again."""


class Characters:
    """Cuts output between characters of UTF-8: what comes in pieces is held back until it is whole."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> bytes:
        """The data, with what was held back before it, without a character at its end that is not whole yet."""
        data = self._rest + data
        whole = _boundary(data, len(data))
        self._rest = data[whole:]
        return data[:whole]

    def rest(self) -> bytes:
        """What is held back, when nothing more comes."""
        rest, self._rest = self._rest, b""
        return rest


def pieces(data: bytes, most: int) -> Iterator[bytes]:
    """The data in pieces of at most `most` bytes, cut between characters; bytes that are no UTF-8 are cut anywhere."""
    start = 0
    while len(data) - start > most:
        end = _boundary(data, start + most)
        if end <= start:
            end = start + most
        yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:] if start else data


def _boundary(data: bytes, end: int) -> int:
    """The last place at or before `end` that lies between characters, as far as the three bytes before it say."""
    for back in range(1, min(3, end) + 1):
        byte = data[end - back]
        if byte < 0x80:
            return end
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return end - back if length > back else end
    return end
