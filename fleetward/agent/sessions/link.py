"""The pipe to the resident agent, from the session's side: a line of JSON for each message.

    agent -> session   first the task (session, content, where the control plane is), later {"close": true} and
                       {"credentials": {...}}; the end of the pipe is the end of the session
    session -> agent   first {"pid": N}; {"credentials": true} asks for keys, {"rejected": ID} gives some back; last
                       {"ended": {...}}

Keys come this way and no other: command lines and environments are readable by others.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from fleetward.agent.http import HttpFault
from fleetward.agent.process import Stop
from fleetward.protocol.sigv4 import Credentials

_PIECE_BYTES = 64 * 1024


class Link:
    """Standard input and output of a session's process; also where a Client gets the node's keys."""

    def __init__(self, read_end: int = 0, write_end: int = 1) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_end, self._write_end = read_end, write_end
        self._received = bytearray()
        self._task: asyncio.Future[Mapping[str, Any]] = self._loop.create_future()
        self._keys: asyncio.Future[Credentials] | None = None
        self._last: Credentials | None = None
        self._is_alone = False
        self.closed = Stop()
        """Set when the agent wants the session to end, or is gone."""

    def begin(self) -> None:
        """Start to listen."""
        if sys.platform == "win32":
            threading.Thread(target=self._read_in_thread, daemon=True).start()
        else:
            os.set_blocking(self._read_end, False)
            self._loop.add_reader(self._read_end, self._read)

    def announce(self, pid: int) -> None:
        """Tell which process this is: the first message."""
        self._send({"pid": pid})

    async def task(self) -> Mapping[str, Any]:
        """What this process is for: the first message."""
        return await self._task

    async def current(self) -> Credentials:
        """The node's keys that are good now; without an agent the last ones, HttpFault if there never were any."""
        if self._is_alone:
            if self._last is None:
                raise HttpFault("the agent is gone, and with it the node's keys")
            return self._last
        if self._keys is None:
            self._keys = self._loop.create_future()
            self._send({"credentials": True})
        return await asyncio.shield(self._keys)

    def reject(self, credentials: Credentials) -> None:
        """The control plane no longer takes these keys."""
        self._send({"rejected": credentials.access_key_id})

    def end(self, result: Mapping[str, Any]) -> None:
        """Tell how the session ended: the last message."""
        self._send({"ended": dict(result)})

    def _send(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._write_end, line) :]
        except OSError:
            self.closed.set()

    def _read(self) -> None:
        try:
            piece = os.read(self._read_end, _PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._loop.remove_reader(self._read_end)
        self._receive(piece)

    def _read_in_thread(self) -> None:
        piece = b"."
        while piece:
            try:
                piece = os.read(self._read_end, _PIECE_BYTES)
            except OSError:
                piece = b""
            self._loop.call_soon_threadsafe(self._receive, piece)

    def _receive(self, piece: bytes) -> None:
        if not piece:
            self._leave()
            return
        self._received += piece
        while (end := self._received.find(b"\n")) >= 0:
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            self._handle(json.loads(line))

    def _handle(self, message: Mapping[str, Any]) -> None:
        if not self._task.done():
            self._task.set_result(message)
        elif "close" in message:
            self.closed.set()
        elif "credentials" in message:
            self._last = Credentials(**message["credentials"])
            self._answer(self._last)

    def _answer(self, credentials: Credentials | None) -> None:
        keys, self._keys = self._keys, None
        if keys is None or keys.done():
            return
        if credentials is None:
            keys.set_exception(HttpFault("the agent is gone, and with it the node's keys"))
        else:
            keys.set_result(credentials)

    def _leave(self) -> None:
        """The agent is gone."""
        self._is_alone = True
        self.closed.set()
        self._answer(self._last)
        if not self._task.done():
            self._task.set_exception(EOFError("the agent is gone"))
