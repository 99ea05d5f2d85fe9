"""The operator's terminal: raw while a shell runs and always restored; its size; bytes in and out without waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from fleetward.client.errors import ClientError

READ_BYTES = 256 * 1024
SIZE_WITHOUT_TERMINAL = (300, 100)
"""Columns and rows that the official client tells when it writes to no terminal."""
FULL_BYTES = 256 * 1024
"""So much unwritten output holds the session back; all of it is still shown after Ctrl-C."""


def require_posix() -> None:
    """ClientError where standard input and output cannot be waited for side by side."""
    if os.name != "posix":
        raise ClientError("shells and ssh-proxy need Linux, macOS or WSL; tunnels work here")


class Raw:
    """Takes a terminal's input byte by byte from `begin` to `restore`; does nothing where there is no terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._former: list[Any] | None = None

    @property
    def is_raw(self) -> bool:
        """Whether there is a terminal and it is raw now."""
        return self._former is not None

    def begin(self) -> None:
        """Make it raw, and remember how it was."""
        if self._former is None and os.isatty(self._fd):
            import termios

            self._former = termios.tcgetattr(self._fd)
            self.resume()

    def resume(self) -> None:
        """Make it raw again, after the process was stopped and goes on."""
        if self._former is not None:
            import termios
            import tty

            tty.setraw(self._fd, termios.TCSANOW)  # what was typed ahead is kept

    def restore(self) -> None:
        """Make it what it was."""
        if self._former is not None:
            import termios

            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._former)
            self._former = None


def size(fd: int) -> tuple[int, int]:
    """Columns and rows of the terminal, or what the official client tells without one."""
    try:
        found = os.get_terminal_size(fd)
    except OSError:
        return SIZE_WITHOUT_TERMINAL
    return (found.columns, found.lines) if found.columns and found.lines else SIZE_WITHOUT_TERMINAL


class Input:
    """Hands on what a file descriptor gives, when it gives it; can be held back."""

    def __init__(self, fd: int, received: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._fd = fd
        self._received = received
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Task[None] | None = None
        self._is_watched = False
        self._is_over = False

    def start(self) -> None:
        """Begin, or go on after `hold`."""
        if self._is_over or self._is_watched or self._reading is not None:
            return
        try:
            self._loop.add_reader(self._fd, self._read)
            self._is_watched = True
        except OSError:  # a regular file is always ready and cannot be watched
            self._reading = self._loop.create_task(self._read_file())

    def hold(self) -> None:
        """Read no more until `start`."""
        if self._is_watched:
            self._loop.remove_reader(self._fd)
            self._is_watched = False
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def close(self) -> None:
        """Read no more."""
        self.hold()
        self._is_over = True

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the terminal is gone
            data = b""
        self._deliver(data)

    async def _read_file(self) -> None:
        while data := os.read(self._fd, READ_BYTES):
            self._received(data)
            await asyncio.sleep(0)
        self._reading = None
        self._deliver(b"")

    def _deliver(self, data: bytes) -> None:
        if data:
            self._received(data)
        else:
            self.close()
            self._ended()


class Output:
    """Writes bytes to a file descriptor and never waits: what does not fit now follows when it does.

    `full` and `empty` are called when the unwritten rest passes 256 KiB and when there is none again. A reader that is
    gone is told by `gone`, once.
    """

    def __init__(
        self, fd: int, full: Callable[[], None], empty: Callable[[], None], gone: Callable[[], None] = lambda: None
    ) -> None:
        self._fd, self._is_own = _unblocked(fd)
        self._was_blocking = os.get_blocking(self._fd)
        os.set_blocking(self._fd, False)
        self._full, self._empty, self._gone = full, empty, gone
        self._loop = asyncio.get_running_loop()
        self._rest: deque[memoryview] = deque()
        self._rest_bytes = 0
        self._is_full = False
        self._is_gone = False
        self._drained = asyncio.Event()
        self._drained.set()

    def write(self, data: bytes | bytearray) -> None:
        """Write now what can be written now."""
        if self._is_gone:
            return
        view = memoryview(data)
        if not self._rest:
            view = view[self._push(view) :]
            if not view or self._is_gone:
                return
            self._loop.add_writer(self._fd, self._flush)
            self._drained.clear()
        self._rest.append(view)
        self._rest_bytes += len(view)
        if self._rest_bytes > FULL_BYTES and not self._is_full:
            self._is_full = True
            self._full()

    async def drain(self, seconds: float) -> None:
        """Wait until all is written, but not longer."""
        try:
            await asyncio.wait_for(self._drained.wait(), seconds)
        except TimeoutError:
            pass

    def close(self) -> None:
        """Write no more; the descriptor is as it was."""
        if self._rest:
            self._loop.remove_writer(self._fd)
            self._rest.clear()
        if self._is_own:
            os.close(self._fd)
        else:
            os.set_blocking(self._fd, self._was_blocking)
        self._is_gone = True

    def _flush(self) -> None:
        while self._rest:
            written = self._push(self._rest[0])
            if self._is_gone:
                return
            self._rest_bytes -= written
            if written < len(self._rest[0]):
                self._rest[0] = self._rest[0][written:]
                return
            self._rest.popleft()
        self._loop.remove_writer(self._fd)
        self._drained.set()
        if self._is_full:
            self._is_full = False
            self._empty()

    def _push(self, view: memoryview) -> int:
        """How many bytes were taken."""
        try:
            return os.write(self._fd, view)
        except BlockingIOError:
            return 0
        except OSError:
            self._lose()
            return 0

    def _lose(self) -> None:
        if self._rest:
            self._loop.remove_writer(self._fd)
            self._rest.clear()
        self._is_gone = True
        self._drained.set()
        self._gone()


class Signals:
    """What the system tells a program at a terminal, as calls; POSIX only, elsewhere nothing comes."""

    def __init__(
        self,
        *,
        interrupted: Callable[[], None],
        ended: Callable[[], None],
        resized: Callable[[], None] = lambda: None,
        continued: Callable[[], None] = lambda: None,
    ) -> None:
        self._handlers: dict[int, Callable[[], None]] = {}
        if sys.platform != "win32":
            self._handlers = {
                signal.SIGWINCH: resized,
                signal.SIGCONT: continued,
                signal.SIGINT: interrupted,
                signal.SIGTERM: ended,
                signal.SIGHUP: ended,
            }

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number, handler in self._handlers.items():
            loop.add_signal_handler(number, handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        loop = asyncio.get_running_loop()
        for number in self._handlers:
            loop.remove_signal_handler(number)


def _unblocked(fd: int) -> tuple[int, bool]:
    """A descriptor for the same terminal whose mode nobody shares, and whether it is another one.

    Standard output of a terminal is the shell's own as well: made non-blocking, it would stay so for the shell.
    """
    try:
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK), True
    except OSError:
        return fd, False
