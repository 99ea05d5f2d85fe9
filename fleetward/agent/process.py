"""Run a program as a process group of its own, hand on what it prints, and end all of it when told to."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fleetward.agent import platforms

LINGER_SECONDS = 2.0
"""How long to read on after the program ended: what it left in the background may keep the pipes open. Ours."""

_PIECE_BYTES = 64 * 1024

Receiver = Callable[[bytes], None]


class Ending(Enum):
    """Why a program is over."""

    EXITED = "exited"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended; `exit_code` is 128 + signal for one that a signal killed, as shells say it."""

    how: Ending
    exit_code: int


class Stop:
    """A wish to stop that several waiters can see: `set` once, for good."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether somebody wants it to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Want it to stop."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until somebody wants it to stop."""
        await self._event.wait()


async def run_process(
    command: Sequence[str],
    *,
    folder: Path | None,
    environment: Mapping[str, str],
    on_output: Receiver,
    on_errors: Receiver,
    seconds: float,
    stop: Stop,
    on_started: Callable[[int], None] | None = None,
    given: bytes | None = None,
) -> Ended:
    """Run a program to its end, its time-out or the wish to stop; then nothing of its process group is left running
    unless it ended by itself. OSError when it cannot be started.
    """
    platform = platforms.current()
    output, errors = Pipe(on_output), Pipe(on_errors)
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 - starting is short, and asyncio's own way waits for pipes
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=output.write_end,
            stderr=errors.write_end,
            **platform.session_options(),
        )
    except BaseException:
        output.abandon()
        errors.abandon()
        raise
    output.begin()
    errors.begin()
    if on_started is not None:
        on_started(process.pid)
    if given is not None:
        _give(process, given)
    try:
        how = await _ended(process, seconds, stop)
    except BaseException:
        platform.kill_tree(process.pid)
        process.wait()
        output.abandon()
        errors.abandon()
        raise
    if how is not Ending.EXITED:
        platform.kill_tree(process.pid)
        await wait_process(process)
    await _drain(output, errors)
    code = process.returncode
    return Ended(how, code if code >= 0 else 128 - code)


async def run_program(command: Sequence[str], given: bytes) -> tuple[int, bytes, bytes]:
    """Run one of our own children on `given`: (exit code, standard output, standard error)."""
    output, errors = bytearray(), bytearray()
    ended = await run_process(
        command,
        folder=None,
        environment=os.environ,
        on_output=output.extend,
        on_errors=errors.extend,
        seconds=600,
        stop=Stop(),
        given=given,
    )
    return ended.exit_code, bytes(output), bytes(errors)


def _give(process: subprocess.Popen[bytes], given: bytes) -> None:
    """Write to the program; our children read everything before they do anything else, so this is short."""
    assert process.stdin is not None
    try:
        process.stdin.write(given)
        process.stdin.close()
    except BrokenPipeError:
        pass


async def _ended(process: subprocess.Popen[bytes], seconds: float, stop: Stop) -> Ending:
    exited = asyncio.ensure_future(wait_process(process))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({exited, stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            return Ending.EXITED
        return Ending.CANCELLED if stopped.done() else Ending.TIMED_OUT
    finally:
        exited.cancel()
        stopped.cancel()


async def wait_process(process: subprocess.Popen[bytes]) -> None:
    """Wait for the program's own end, by its pidfd where the system has them, else by a thread."""
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            pass  # an old kernel
        else:
            await _readable(descriptor)
            process.wait()
            return
    while process.poll() is None:
        await asyncio.to_thread(_wait_a_while, process)


def _wait_a_while(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        pass


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _drain(*pipes: Pipe) -> None:
    """Read what is still in the pipes, for a while if somebody else holds them open."""
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            for pipe in pipes:
                await pipe.ended.wait()
    except TimeoutError:
        pass
    for pipe in pipes:
        pipe.abandon()


class Pipe:
    """One output of a program on its way to a receiver, which is called on the loop."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._read_end, self.write_end = os.pipe()
        self._is_open = True
        self._written = self._is_read = False
        self._go_on = threading.Event()
        self.ended = asyncio.Event()

    def begin(self) -> None:
        """Close our copy of the write end and start to read."""
        os.close(self.write_end)
        self._written = True
        if sys.platform == "win32":
            threading.Thread(target=self._read_in_thread, daemon=True).start()
        else:
            os.set_blocking(self._read_end, False)
        self.resume()

    @property
    def is_paused(self) -> bool:
        """Whether it is not read for now."""
        return not self._is_read

    def pause(self) -> None:
        """Read no more for now: the program waits once the pipe is full."""
        if self._is_read:
            self._is_read = False
            self._go_on.clear()
            if sys.platform != "win32":
                self._loop.remove_reader(self._read_end)

    def resume(self) -> None:
        """Read on."""
        if self._is_open and self._written and not self._is_read:
            self._is_read = True
            self._go_on.set()
            if sys.platform != "win32":
                self._loop.add_reader(self._read_end, self._read)

    def abandon(self) -> None:
        """Stop reading, whatever may still come."""
        if not self._written:
            os.close(self.write_end)
            self._written = True
        if self._is_open:
            self._is_open = False
            self.pause()
            self._go_on.set()
            if sys.platform != "win32":
                os.close(self._read_end)
        self.ended.set()

    def _read(self) -> None:
        try:
            piece = os.read(self._read_end, _PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if piece:
            self._receiver(piece)
        else:
            self.abandon()

    def _read_in_thread(self) -> None:
        while self._go_on.wait() and (piece := os.read(self._read_end, _PIECE_BYTES)):
            self._loop.call_soon_threadsafe(self._hand_on, piece)
        os.close(self._read_end)
        self._loop.call_soon_threadsafe(self.abandon)

    def _hand_on(self, piece: bytes) -> None:
        if self._is_open:
            self._receiver(piece)
