"""Two ends of a stream on one clock, over a link that loses, repeats, reorders and cuts by chance."""

from __future__ import annotations

import heapq
import itertools
import random
import uuid
from collections.abc import Callable

from fleetward.protocol.data_channel.encryption import SessionKeys
from fleetward.protocol.data_channel.handshake import Terms
from fleetward.protocol.data_channel.stream import Event, Side, Stream

NOW_MS = 1_795_377_882_388
DATA_KEY = bytes(range(64))


def identities() -> Callable[[], uuid.UUID]:
    """Ids that count, so that bytes on the wire can be foretold."""
    numbers = itertools.count(1)
    return lambda: uuid.UUID(int=next(numbers))


def stream(side: Side, terms: Terms | None = None, *, encrypted: bool = False) -> Stream:
    made = Stream(side, clock_ms=lambda: NOW_MS, new_id=identities())
    if terms is not None:
        made.use(terms)
    if encrypted:
        made.encrypt(SessionKeys.of(DATA_KEY, side))
    return made


class Link:
    """Two streams on one clock. Each message is lost or repeated by chance and takes a time by chance."""

    def __init__(self, agent: Stream, client: Stream, seed: int, *, loss: float, repeats: float, jitter: float) -> None:
        self.now = 0.0
        self.heard: dict[Side, list[Event]] = {Side.AGENT: [], Side.CLIENT: []}
        self._ends = {Side.AGENT: agent, Side.CLIENT: client}
        self._chance = random.Random(seed)
        self._loss, self._repeats, self._jitter = loss, repeats, jitter
        self._wire: list[tuple[float, int, Side, bytes]] = []
        self._order = itertools.count()

    def pump(self) -> None:
        """Put on the wire what both ends want to write."""
        for side, end in self._ends.items():
            to = Side.CLIENT if side is Side.AGENT else Side.AGENT
            for data in end.outgoing(self.now):
                copies = (self._chance.random() >= self._loss) + (self._chance.random() < self._repeats)
                for _ in range(copies):
                    arrival = self.now + 0.001 + self._chance.random() * self._jitter
                    heapq.heappush(self._wire, (arrival, next(self._order), to, data))

    def step(self) -> bool:
        """Let the next thing happen; False when nothing is left to happen."""
        self.pump()
        due = [time for end in self._ends.values() if (time := end.due_at()) is not None]
        due += [self._wire[0][0]] if self._wire else []
        if not due:
            return False
        self.now = max(self.now, min(due))
        while self._wire and self._wire[0][0] <= self.now:
            _, _, to, data = heapq.heappop(self._wire)
            self.heard[to] += self._ends[to].receive(data, self.now)
        return True

    def cut(self) -> None:
        """Lose what is under way; both ends get a new socket."""
        self._wire.clear()
        for end in self._ends.values():
            end.reconnected(self.now)

    def run(self, steps: int = 20_000) -> None:
        """Until nothing is left to happen."""
        for _ in range(steps):
            if not self.step():
                return
        raise AssertionError("the two ends never come to rest")
