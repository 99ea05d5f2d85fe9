"""Waits: parked requests, woken by topic or by time, without thread or transaction."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence


class Waits:
    """Who waits for which topic on this server."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self.closed = False

    def close(self) -> None:
        """The server stops: nobody waits any longer."""
        self.closed = True
        self.wake(list(self._waiting))

    def wake(self, topics: Sequence[str]) -> None:
        """Let everybody who waits for one of the topics look again."""
        for topic in topics:
            for waiting in self._waiting.pop(topic, ()):
                if not waiting.done():
                    waiting.set_result(None)

    async def sleep(self, topic: str, seconds: float) -> None:
        """Return at the topic's next wake, or after `seconds`."""
        if self.closed:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[topic].add(waiting)
        try:
            await asyncio.wait_for(waiting, max(seconds, 0))
        except TimeoutError:
            pass
        finally:
            remaining = self._waiting.get(topic)
            if remaining is not None:
                remaining.discard(waiting)
                if not remaining:
                    self._waiting.pop(topic, None)
