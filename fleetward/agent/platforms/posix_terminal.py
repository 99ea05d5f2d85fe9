"""Terminals of Linux and macOS: a pty that is the program's controlling terminal, read and written without waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from fleetward.agent.platforms.terminal import Launch
from fleetward.agent.process import wait_process

assert sys.platform != "win32"

import fcntl  # noqa: E402 - none of these three is there on Windows
import struct  # noqa: E402
import termios  # noqa: E402

READ_BYTES = 64 * 1024
PIECE_BYTES = 16 * 1024
WRITE_BYTES = 16 * 1024
FIRST_SIZE = (80, 24)
GRACE_SECONDS = 1.0
QUIET_SECONDS = 0.3
"""How long to read on after the program ended, while something else holds the terminal and is silent. Ours."""

_IUTF8 = 0x4000  # erasing in a line takes whole characters; the same on Linux and macOS, unknown to termios


class PosixTerminal:
    """One program in a pty."""

    def __init__(self, launch: Launch, account_options: Mapping[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._typed = bytearray()
        self._is_reading = self._is_writing = self._is_wanted = False
        self._dry = asyncio.Event()
        self._read_at = 0.0
        self._master, slave = os.openpty()
        try:
            self._process = _start(launch, slave, account_options)
        except BaseException:
            os.close(self._master)
            self._master = -1
            raise
        finally:
            os.close(slave)
        os.set_blocking(self._master, False)
        self.resize(*FIRST_SIZE)

    def begin(self, on_output: Callable[[bytes], None], on_written: Callable[[], None]) -> None:
        """Start to read."""
        self._on_output = on_output
        self._on_written = on_written
        self.resume()

    def pause(self) -> None:
        """Read no more for now."""
        self._is_wanted = False
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._master)

    def resume(self) -> None:
        """Read on."""
        self._is_wanted = True
        if not self._is_reading and self._master >= 0 and not self._dry.is_set():
            self._is_reading = True
            self._loop.add_reader(self._master, self._read)

    def write(self, data: bytes) -> None:
        """Type something; what the program does not take yet waits here."""
        if self._master < 0:
            return
        self._typed += data
        if not self._is_writing:
            self._push()

    @property
    def backlog(self) -> int:
        """Bytes that were typed and not yet taken."""
        return len(self._typed)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size; the kernel tells the foreground."""
        if self._master >= 0:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def ended(self) -> int:
        """Wait for the program's end and for its output: whatever it left in the background may keep the pty open."""
        await wait_process(self._process)
        self._read_at = self._loop.time()
        while not self._dry.is_set():
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._dry.wait()
            except TimeoutError:
                if self._is_wanted and self._loop.time() - self._read_at >= QUIET_SECONDS:
                    break
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    async def hang_up(self) -> None:
        """SIGHUP to the program and the foreground, as when a line drops; SIGKILL to what is left after a second."""
        groups = {self._process.pid, self._foreground()} - {0}
        self._drop()
        for number in (signal.SIGHUP, signal.SIGCONT):
            _signal(groups, number)
        await self._gone(groups)
        _signal(groups, signal.SIGKILL)
        if self._process.poll() is None:
            await wait_process(self._process)

    async def _gone(self, groups: set[int]) -> None:
        deadline = self._loop.time() + GRACE_SECONDS
        while self._loop.time() < deadline:
            self._process.poll()
            if not _signal(groups, 0):
                return
            await asyncio.sleep(0.02)

    def _foreground(self) -> int:
        """The process group in the foreground; 0 when there is none or it is not to be known."""
        if self._master < 0:
            return 0
        try:
            group = os.tcgetpgrp(self._master)
        except OSError:
            return 0
        return group if group > 1 and group != os.getpgrp() else 0

    def _drop(self) -> None:
        if self._master >= 0:
            self.pause()
            if self._is_writing:
                self._loop.remove_writer(self._master)
            os.close(self._master)
            self._master = -1
            self._typed.clear()
            self._dry.set()

    def _read(self) -> None:
        pieces = []
        size = 0
        while size < READ_BYTES:
            try:
                piece = os.read(self._master, PIECE_BYTES)
            except BlockingIOError:
                break
            except OSError:  # EIO: nobody has the other side open any more
                piece = b""
            if not piece:
                self.pause()
                self._dry.set()
                break
            pieces.append(piece)
            size += len(piece)
        if pieces:
            self._read_at = self._loop.time()
            self._on_output(b"".join(pieces))

    def _push(self) -> None:
        """Write what the terminal takes, and come back for the rest when it takes more."""
        before, had_waited = len(self._typed), self._is_writing
        while self._typed:
            try:
                written = os.write(self._master, self._typed[:WRITE_BYTES])
            except BlockingIOError:
                break
            except OSError:
                self._typed.clear()
                break
            del self._typed[:written]
        if bool(self._typed) != self._is_writing:
            self._is_writing = bool(self._typed)
            if self._is_writing:
                self._loop.add_writer(self._master, self._push)
            else:
                self._loop.remove_writer(self._master)
        if had_waited and len(self._typed) < before:
            self._on_written()


def _start(launch: Launch, slave: int, account_options: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    attributes = termios.tcgetattr(slave)
    attributes[0] |= _IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    if launch.account is not None:
        os.fchown(slave, launch.account.uid, -1)
        os.fchmod(slave, 0o620)
    return subprocess.Popen(
        launch.command,
        cwd=launch.folder,
        env=dict(launch.environment),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        umask=0o022,
        preexec_fn=_take_terminal,
        **account_options,
    )


def _take_terminal() -> None:
    """Between fork and exec, as the leader of a new session: make the pty its controlling terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _signal(groups: set[int], number: int) -> bool:
    """Send a signal to process groups; whether one of them is there. Signal 0 only asks."""
    there = False
    for group in groups:
        try:
            os.killpg(group, number)
            there = True
        except ProcessLookupError:
            pass
        except PermissionError:
            there = True
    return there
