"""A real terminal: raw and restored, its size, input and output that never wait and hold back."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import struct
import termios
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

from fleetward.client import terminal
from fleetward.client.terminal import Input, Output, Raw, Signals


@pytest.fixture
def tty() -> Iterator[tuple[int, int]]:
    """Master and slave of a pseudo terminal."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_a_terminal_is_raw_for_a_while_and_restored(tty: tuple[int, int]) -> None:
    _, slave = tty
    before = termios.tcgetattr(slave)
    raw = Raw(slave)
    raw.begin()
    assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    termios.tcsetattr(slave, termios.TCSANOW, before)
    raw.resume()
    assert not termios.tcgetattr(slave)[3] & termios.ECHO
    raw.restore()
    assert termios.tcgetattr(slave) == before
    raw.resume()
    assert termios.tcgetattr(slave) == before


def test_what_is_no_terminal_stays_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        raw = Raw(file.fileno())
        raw.begin()
        raw.restore()
        assert terminal.size(file.fileno()) == (300, 100)


def test_the_size_is_that_of_the_window(tty: tuple[int, int]) -> None:
    master, slave = tty
    assert terminal.size(slave) == (300, 100)
    ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    assert terminal.size(slave) == (111, 33)


def test_input_comes_as_it_is_typed_and_waits_while_held(tty: tuple[int, int]) -> None:
    async def play() -> None:
        master, slave = tty
        typed: asyncio.Queue[bytes] = asyncio.Queue()
        ended = asyncio.Event()
        raw = Raw(slave)
        raw.begin()
        source = Input(slave, typed.put_nowait, ended.set)
        source.start()
        os.write(master, b"a\x03\x1a")
        assert await asyncio.wait_for(typed.get(), 5) == b"a\x03\x1a"
        source.hold()
        os.write(master, b"b")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(typed.get(), 0.1)
        source.start()
        assert await asyncio.wait_for(typed.get(), 5) == b"b"
        source.close()

    asyncio.run(play())


def test_input_from_files_and_pipes_ends(tmp_path: Path) -> None:
    async def read(fd: int) -> bytes:
        taken: list[bytes] = []
        ended = asyncio.Event()
        source = Input(fd, taken.append, ended.set)
        source.start()
        await asyncio.wait_for(ended.wait(), 5)
        return b"".join(taken)

    (tmp_path / "file").write_bytes(b"line\n" * 100_000)
    with (tmp_path / "file").open("rb") as file, open(os.devnull, "rb") as nothing:
        assert asyncio.run(read(file.fileno())) == b"line\n" * 100_000
        assert asyncio.run(read(nothing.fileno())) == b""
    reading, writing = os.pipe()
    os.write(writing, b"x")
    os.close(writing)
    assert asyncio.run(read(reading)) == b"x"
    os.close(reading)


def test_output_that_nobody_reads_holds_back_and_is_written_in_full_later() -> None:
    async def play() -> None:
        reading, writing = os.pipe()
        told: list[str] = []
        out = Output(writing, lambda: told.append("full"), lambda: told.append("empty"))
        for number in range(300):
            out.write(bytes([number % 256]) * 10_000)
        assert told == ["full"]
        taken = bytearray()
        while len(taken) < 3_000_000:
            taken += await asyncio.to_thread(os.read, reading, 65536)
        await out.drain(5)
        assert told == ["full", "empty"]
        assert taken == b"".join(bytes([number % 256]) * 10_000 for number in range(300))
        out.close()
        assert os.get_blocking(writing)
        os.close(writing)
        os.close(reading)

    asyncio.run(play())


def test_a_reader_that_is_gone_is_told_once() -> None:
    async def play() -> None:
        reading, writing = os.pipe()
        told: list[str] = []
        out = Output(writing, lambda: None, lambda: None, lambda: told.append("gone"))
        os.close(reading)
        out.write(b"x")
        out.write(b"y")
        assert told == ["gone"]
        out.close()
        os.close(writing)

    asyncio.run(play())


def test_a_terminals_own_mode_is_left_to_who_shares_it(tty: tuple[int, int]) -> None:
    async def play() -> None:
        master, slave = tty
        out = Output(slave, lambda: None, lambda: None)
        assert os.get_blocking(slave)
        out.write(b"seen")
        assert os.read(master, 100) == b"seen"
        out.close()

    asyncio.run(play())


def test_signals_come_as_calls_as_long_as_they_are_wanted() -> None:
    async def play() -> None:
        came = {name: asyncio.Event() for name in ("resized", "continued", "interrupted", "ended")}
        with Signals(**{name: event.set for name, event in came.items()}):
            for number in (signal.SIGWINCH, signal.SIGCONT, signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            for event in came.values():
                await asyncio.wait_for(event.wait(), 5)

    asyncio.run(play())
