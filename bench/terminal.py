"""Terminal: a program on a pty of this machine, and somebody who types and reads there; all of it blocks."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BEGUN, DONE = b"terminal-begun", b"terminal-done"
SAY_BEGUN, SAY_DONE = "printf 'terminal-%s' begun", "printf 'terminal-%s' done"
"""Commands whose output is a marker, but whose echo is none."""
PAUSE_SECONDS = 0.03
"""Between keys, as a fast typist makes it."""
ECHO_SECONDS = 30.0


class Terminal:
    """The keyboard and screen of one program."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._tail = b""

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def read(self, seconds: float) -> bytes:
        """What the program shows next; TimeoutError when it shows nothing in time, EOFError when it has ended."""
        if not select.select([self._master], [], [], seconds)[0]:
            raise TimeoutError(f"nothing was shown within {seconds} s after {self._tail[-300:]!r}")
        try:
            shown = os.read(self._master, 1 << 17)
        except OSError as fault:
            raise EOFError(f"the program has ended: {self._tail[-300:]!r}") from fault
        self._tail = self._tail[-300:] + shown[-300:]
        return shown

    def read_until(self, marker: bytes, seconds: float = 60.0) -> int:
        """Read up to a marker; how many bytes that were."""
        size, tail = 0, b""
        until = time.monotonic() + seconds
        while True:
            shown = self.read(max(0.0, until - time.monotonic()))
            size += len(shown)
            tail += shown
            if marker in tail:
                return size
            tail = tail[-len(marker) :]

    def echoes(self, count: int) -> list[float]:
        """Press a key so many times, each once the one before was shown; the seconds that took, sorted."""
        taken = []
        for number in range(count):
            started = time.perf_counter()
            self.type(b"k")
            while b"k" not in self.read(ECHO_SECONDS):
                pass
            taken.append(time.perf_counter() - started)
            if number % 64 == 63:
                self.type(b"\n")
                self.read_until(b"k" * 64 + b"\r\n")
            time.sleep(PAUSE_SECONDS)
        return sorted(taken)


@contextlib.contextmanager
def terminal(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Terminal]:
    """A program on a pty, until the block ends."""
    master, slave = os.openpty()
    try:
        with log.open("ab") as errors:
            program = subprocess.Popen(
                arguments, stdin=slave, stdout=slave, stderr=errors, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip
        os.close(slave)
        try:
            yield Terminal(master)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(program.pid, signal.SIGHUP)
            try:
                program.wait(5)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
    finally:
        os.close(master)
