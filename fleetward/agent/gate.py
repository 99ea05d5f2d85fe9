"""The gate before every step: closed when the agent stops or the machine is to reboot."""

from __future__ import annotations

import asyncio


class Gate:
    """What every step passes through: once closed, no step starts, and one can wait until none runs."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0

    @property
    def is_open(self) -> bool:
        """Whether steps may start."""
        return self._open.is_set()

    def close(self) -> None:
        """Let no further step start."""
        self._open.clear()

    async def wait_empty(self, seconds: float) -> None:
        """Wait until no step runs, at most this long."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            pass

    async def __aenter__(self) -> None:
        await self._open.wait()
        self._inside += 1
        self._empty.clear()

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1
        if not self._inside:
            self._empty.set()
