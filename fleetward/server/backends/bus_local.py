"""Wakes inside one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence


class LocalBus:
    """Bus of a server that is alone: publications reach its own subscribers on the loop that started it."""

    def __init__(self) -> None:
        self._receivers: list[Callable[[Sequence[str]], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def publish(self, topics: Sequence[str]) -> None:
        """Deliver on the loop's thread; before start and after stop there is nobody to tell."""
        loop = self._loop
        if loop is None or not topics:
            return
        try:
            loop.call_soon_threadsafe(self._deliver, topics)
        except RuntimeError:
            self._loop = None

    def subscribe(self, receive: Callable[[Sequence[str]], None]) -> None:
        """Add a receiver."""
        self._receivers.append(receive)

    async def start(self) -> None:
        """Remember the loop to deliver on."""
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Deliver nothing more."""
        self._loop = None

    def _deliver(self, topics: Sequence[str]) -> None:
        for receive in self._receivers:
            receive(topics)
