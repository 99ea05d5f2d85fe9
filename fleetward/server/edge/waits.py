"""Waits: parked requests, woken by topic or by time, without thread or transaction."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

REMEMBERED_LIMIT = 10_000


class Waits:
    """Who waits for which topic on this server."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._count = 0
        self._woken: dict[str, int] = {}
        self._forgotten = 0
        self.closed = False

    def close(self) -> None:
        """The server stops: nobody waits any longer."""
        self.closed = True
        self.wake_all()

    def wake_all(self) -> None:
        """Let everybody look again."""
        self.wake(list(self._waiting))

    def mark(self) -> int:
        """The present, for `sleep`: taken before looking, so that a wake between looking and sleeping is not lost."""
        return self._count

    def wake(self, topics: Sequence[str]) -> None:
        """Let everybody who waits for one of the topics look again."""
        self._count += 1
        if len(self._woken) > REMEMBERED_LIMIT:
            self._woken.clear()
            self._forgotten = self._count
        for topic in topics:
            self._woken[topic] = self._count
            for waiting in self._waiting.pop(topic, ()):
                if not waiting.done():
                    waiting.set_result(None)

    async def sleep(self, topic: str, seconds: float, since: int) -> None:
        """Return at the topic's next wake after the mark `since`, or after `seconds`."""
        if self.closed or self._woken.get(topic, 0) > since or self._forgotten > since:
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
