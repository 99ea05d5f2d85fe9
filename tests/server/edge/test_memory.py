"""After many connections have ended, the heap is trimmed once, and not again soon."""

from __future__ import annotations

import asyncio
import sys

import pytest

from fleetward.server.edge.memory import ENDED_BEFORE, PAUSE_SECONDS, Memory


async def _look(memory: Memory, now: float) -> None:
    memory.look(now)
    if memory._trimming is not None:
        await memory._trimming


def test_the_heap_is_trimmed_after_many_connections_and_with_pauses() -> None:
    trims: list[int] = []
    memory = Memory(lambda: trims.append(1))

    async def run() -> None:
        for _ in range(ENDED_BEFORE - 1):
            memory.connection_ended()
        await _look(memory, 100.0)
        assert trims == []
        memory.connection_ended()
        await _look(memory, 100.0)
        assert trims == [1]
        for _ in range(ENDED_BEFORE):
            memory.connection_ended()
        await _look(memory, 100.0 + PAUSE_SECONDS / 2)
        assert trims == [1]
        await _look(memory, 100.0 + PAUSE_SECONDS)
        assert trims == [1, 1]

    asyncio.run(run())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems are left alone")
def test_glibc_gives_back_what_lies_between_pieces_in_use() -> None:
    memory = Memory()
    trim = memory._trim
    if trim is None:
        pytest.skip("this C library has nothing to be told")
    pieces = [bytearray(60_000) for _ in range(2000)]
    kept = pieces[::20]
    del pieces
    before = _resident()
    trim()
    assert _resident() < before - 20_000_000
    assert len(kept) == 100


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
