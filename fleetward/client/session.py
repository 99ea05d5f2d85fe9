"""A session as programs use it: bytes out, bytes in, an exit code at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fleetward.client.api import Api
from fleetward.client.channel import Channel, Ending, Sink, Started, Timing
from fleetward.client.errors import ClientError, SessionFailed
from fleetward.protocol.data_channel.handshake import Completed
from fleetward.protocol.frame import PayloadType

log = logging.getLogger("fleetward.client")

UNREAD_BYTES = 4 * 1024 * 1024
"""So much that nobody has received yet holds the node back."""
SEND_BYTES = 1024 * 1024

_EXIT_CODE = re.compile(rb"EXIT_CODE: (-?\d{1,10})\s*")


@dataclass(frozen=True)
class Finished:
    """How a command ended; `exit_code` is None where the node's agent does not tell."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes


class Session(Sink):
    """An open session; `async with` ends it."""

    def __init__(self, api: Api, started: Started, timing: Timing) -> None:
        self.exit_code: int | None = None
        """How the shell or command ended, once it has and the agent tells."""
        self._channel = Channel(api, started, self, timing)
        self._unread: deque[tuple[int, bytes]] = deque()
        self._unread_bytes = 0
        self._is_held = False
        self._is_told = False
        self._came = asyncio.Event()
        self._roomy = asyncio.Event()

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._channel.started.session_id

    @property
    def node_id(self) -> str:
        """The node it is with."""
        return self._channel.started.node_id

    async def open(self) -> None:
        """Wait until the node is there; SessionFailed when it does not come."""
        await self._channel.open()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self.terminate()
        except ClientError as fault:
            log.debug("not terminated: %s", fault)

    async def send(self, data: bytes) -> None:
        """Type this; waits while the node is slow. SessionFailed after the end."""
        for start in range(0, len(data), SEND_BYTES):
            while self._channel.ending is None and not self._channel.has_room:
                self._roomy.clear()
                await self._roomy.wait()
            if self._channel.ending is not None:
                raise SessionFailed(self._channel.ending.reason or "the session has ended")
            self._channel.send(PayloadType.OUTPUT, data[start : start + SEND_BYTES])

    async def receive(self) -> bytes:
        """What the node's terminal shows, or its command prints, next; empty at the end."""
        return (await self.receive_from())[1]

    async def receive_from(self) -> tuple[str, bytes]:
        """Like `receive`, with the stream it comes from: stdout, or stderr where the document separates them."""
        while not self._unread:
            if self._channel.ending is not None:
                return "stdout", b""
            self._came.clear()
            await self._came.wait()
        payload_type, payload = self._unread.popleft()
        self._unread_bytes -= len(payload)
        if self._is_held and self._unread_bytes < UNREAD_BYTES // 2:
            self._is_held = False
            self._channel.release()
        return ("stderr" if payload_type == PayloadType.STANDARD_ERROR else "stdout"), payload

    def resize(self, columns: int, rows: int) -> None:
        """Tell the node's terminal how large ours is."""
        self._channel.send(PayloadType.SIZE, size_payload(columns, rows))

    async def wait(self) -> int | None:
        """Wait for the end; the exit code, where the node's agent tells."""
        await self._channel.wait()
        return self.exit_code

    async def terminate(self) -> None:
        """End it, if it has not ended."""
        await self._channel.terminate()

    async def collect(self, most_bytes: int) -> Finished:
        """Everything until the end; SessionFailed when it is more than `most_bytes`, or the session fails or is ended
        before its program."""
        found: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        while True:
            stream, piece = await self.receive_from()
            if not piece:
                break
            found[stream] += piece
            if sum(map(len, found.values())) > most_bytes:
                await self.terminate()
                raise SessionFailed(f"the command printed more than {most_bytes} bytes")
        ending = await self._channel.wait()
        if ending.is_failure or (self._is_told and self.exit_code is None):
            raise SessionFailed(ending.reason or "the session ended before its program did")
        return Finished(self.exit_code, bytes(found["stdout"]), bytes(found["stderr"]))

    def opened(self, session: Completed) -> None:
        """Of Sink: only a program can be spoken with; our own agent tells how it ends."""
        self._is_told = session.terms is not None
        if session.session_type == "Port":
            self._channel.abandon("the document forwards a port: open a tunnel")

    def received(self, payload_type: int, payload: bytes) -> None:
        """Of Sink."""
        if payload_type in (PayloadType.OUTPUT, PayloadType.STANDARD_ERROR):
            self._unread.append((payload_type, payload))
            self._unread_bytes += len(payload)
            self._came.set()
            if self._unread_bytes > UNREAD_BYTES and not self._is_held:
                self._is_held = True
                self._channel.hold()
        elif payload_type == PayloadType.EXIT_CODE:
            self.exit_code = read_exit_code(payload)

    def room(self) -> None:
        """Of Sink."""
        self._roomy.set()

    def ended(self, ending: Ending) -> None:
        """Of Sink."""
        self._came.set()
        self._roomy.set()


def size_payload(columns: int, rows: int) -> bytes:
    """A terminal's size as it is told to a node."""
    return json.dumps({"cols": columns, "rows": rows}, separators=(",", ":")).encode()


def read_exit_code(payload: bytes) -> int | None:
    """What an exit code's payload says; None when it says none."""
    found = _EXIT_CODE.fullmatch(payload)
    return int(found[1]) if found else None
