"""A command without a terminal (AP 12.3): NonInteractiveCommands. No shell reads it, nothing is typed into it.

Both streams go to the client as they come, as one or, where the document says so, apart: standard output as type 1,
standard error as type 11, at the end the exit code as type 12. A prefix of the document goes before what begins a line.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from fleetward.agent.platforms import Platform
from fleetward.agent.platforms.terminal import Launch
from fleetward.agent.process import Pipe, wait_process
from fleetward.agent.sessions.peer import OFFICIAL_FRAME_BYTES, Characters, Peer, pieces
from fleetward.protocol.frame import PayloadType

INTERRUPT, QUIT = 0x03, 0x1C
LINGER_SECONDS = 2.0
READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Separation:
    """That both streams go apart, and what goes before the lines of each."""

    output_prefix: bytes = b""
    errors_prefix: bytes = b""


class Command:
    """One command, whose output goes to the client and to `record`; OSError when it cannot be started."""

    def __init__(
        self,
        launch: Launch,
        platform: Platform,
        peer: Peer,
        record: Callable[[bytes], None],
        separation: Separation | None,
    ) -> None:
        self._platform = platform
        self._peer = peer
        self._record = record
        self._separates = separation is not None
        apart = separation or Separation()
        self._outlets = [Outlet(self._pass_on, PayloadType.OUTPUT, apart.output_prefix)]
        if separation is not None:
            self._outlets.append(Outlet(self._pass_on, PayloadType.STANDARD_ERROR, apart.errors_prefix))
        try:
            self._process = self._start(launch)
        except BaseException:
            for outlet in self._outlets:
                outlet.pipe.abandon()
            raise
        self.exit_code: int | None = None
        """How the command ended, once it has."""

    async def run(self) -> None:
        """Pass on what it prints until it ends."""
        for outlet in self._outlets:
            outlet.pipe.begin()
        await wait_process(self._process)
        await self._drain()
        code = self._process.returncode
        self.exit_code = code if code >= 0 else 128 - code
        if self._separates or not self._peer.is_official:
            self._peer.send(PayloadType.EXIT_CODE, f"EXIT_CODE: {self.exit_code}".encode())

    async def end(self) -> None:
        """Kill the command and what it started."""
        if self._process.poll() is None:
            self._platform.kill_tree(self._process.pid)
            await wait_process(self._process)
        for outlet in self._outlets:
            outlet.pipe.abandon()

    def receive(self, payload_type: int, payload: bytes) -> None:
        """Ctrl-C and Ctrl-\\ are signals; everything else is passed over."""
        if payload_type == PayloadType.OUTPUT and self._process.poll() is None:
            if INTERRUPT in payload:
                self._platform.interrupt(self._process.pid)
            elif QUIT in payload:
                self._platform.interrupt(self._process.pid, hard=True)

    def on_room(self) -> None:
        """Read on."""
        for outlet in self._outlets:
            outlet.pipe.resume()

    def _start(self, launch: Launch) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            launch.command,
            cwd=launch.folder,
            env=dict(launch.environment),
            stdin=subprocess.DEVNULL,
            stdout=self._outlets[0].pipe.write_end,
            stderr=self._outlets[-1].pipe.write_end,
            **self._platform.session_options(),
            **self._platform.account_options(launch.account),
        )

    async def _drain(self) -> None:
        """Read what is still in the pipes: all of it, but when what was left in the background keeps them open."""
        for outlet in self._outlets:
            while not outlet.pipe.ended.is_set():
                before = outlet.passed
                try:
                    async with asyncio.timeout(LINGER_SECONDS):
                        await outlet.pipe.ended.wait()
                except TimeoutError:
                    if outlet.passed == before and not outlet.pipe.is_paused:
                        break
            outlet.flush()
            outlet.pipe.abandon()

    def _pass_on(self, payload_type: int, data: bytes) -> None:
        self._record(data)
        for piece in pieces(data, OFFICIAL_FRAME_BYTES if self._peer.is_official else READ_BYTES):
            self._peer.send(payload_type, piece)
        if not self._peer.has_room:
            for outlet in self._outlets:
                outlet.pipe.pause()


class Outlet:
    """One stream of a command, cut between characters, with a prefix before what begins a line."""

    def __init__(self, pass_on: Callable[[int, bytes], None], payload_type: int, prefix: bytes) -> None:
        self._pass_on = pass_on
        self._payload_type = payload_type
        self._prefix = prefix
        self._at_line_start = True
        self._characters = Characters()
        self.pipe = Pipe(self._take)
        self.passed = 0
        """How many pieces were read."""

    def flush(self) -> None:
        """Pass on what was held back."""
        if rest := self._characters.rest():
            self._pass_on(self._payload_type, rest)

    def _take(self, piece: bytes) -> None:
        self.passed += 1
        data = self._characters.take(piece)
        if not data:
            return
        if self._at_line_start:
            data = self._prefix + data
        self._at_line_start = data.endswith(b"\n")
        self._pass_on(self._payload_type, data)
