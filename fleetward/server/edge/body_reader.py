"""Body reader: takes the socket's bytes while a large body comes, into one buffer that every connection shares.

uvloop makes a bytes object of 256 KiB for each TLS record otherwise, which the C library maps and unmaps each time:
measured, two thirds of the processor time of an upload.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

FROM_BYTES = 256 * 1024
"""Shorter bodies are read the ordinary way."""

_BUFFER = memoryview(bytearray(96 * 1024))


class Connection(Protocol):
    """What bytes and events are passed on to."""

    def data_received(self, data: memoryview) -> None:
        """Bytes that are gone when this returns."""

    def eof_received(self) -> None:
        """The peer has ended its side."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""

    def pause_writing(self) -> None:
        """The peer does not take what is written."""

    def resume_writing(self) -> None:
        """The peer takes it again."""


class BodyReader(asyncio.BufferedProtocol):
    """In a connection's place until its body is complete."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer: what is put in is used up before anybody else gets it."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        self._connection.data_received(_BUFFER[:nbytes])

    def eof_received(self) -> None:
        """Pass on."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass on."""
        self._connection.resume_writing()
