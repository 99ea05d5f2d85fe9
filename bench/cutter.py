"""Cutter: a proxy for TCP connections that cuts them: by reset, or so that neither side notices."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

PIECE = 256 * 1024
AT_ONCE_A_RESET = struct.pack("ii", 1, 0)


class Cutter:
    """Carries connections to a port of this machine until they are cut; new ones always get through."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._carried: set[Carried] = set()

    async def start(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def reset(self) -> None:
        """Both sides of every connection get a reset."""
        for carried in tuple(self._carried):
            carried.reset()

    def silence(self) -> None:
        """Every connection stays, and nothing comes through it any more."""
        for carried in self._carried:
            carried.is_silent = True

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        carried = Carried((writer, far_writer))
        self._carried.add(carried)
        try:
            await asyncio.gather(carried.copy(reader, far_writer), carried.copy(far_reader, writer))
        finally:
            self._carried.discard(carried)
            carried.close()


class Carried:
    """One connection."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, ...]) -> None:
        self._writers = writers
        self.is_silent = False

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction."""
        with contextlib.suppress(OSError):
            while (data := await reader.read(PIECE)) and not writer.is_closing():
                if not self.is_silent:
                    writer.write(data)
                    await writer.drain()
            if not self.is_silent and not writer.is_closing():
                writer.write_eof()

    def reset(self) -> None:
        """Both sides get a reset."""
        for writer in self._writers:
            connected = writer.get_extra_info("socket")
            if connected is not None:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE_A_RESET)
            writer.transport.abort()

    def close(self) -> None:
        """It has ended by itself."""
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def cutting(target: int) -> AsyncIterator[Cutter]:
    """A cutter in front of a port, for the block."""
    cutter = Cutter(target)
    server = await cutter.start()
    try:
        yield cutter
    finally:
        server.close()
        cutter.reset()
