"""Simulated time: one clock, one queue of what happens when, and coroutines that wait on it without an event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Generator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
SECOND = 1_000_000


class Alarm:
    """One thing that will happen; `cancel` makes it not happen."""

    __slots__ = ("arguments", "at", "function", "number")

    def __init__(self, at: int, number: int, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.at = at
        self.number = number
        self.function: Callable[..., object] | None = function
        self.arguments = arguments

    def __lt__(self, other: Alarm) -> bool:
        return (self.at, self.number) < (other.at, other.number)

    def cancel(self) -> None:
        """Forget it."""
        self.function = None
        self.arguments = ()


class SimClock:
    """A clock that moves from one event to the next. Events of the same moment happen in the order they were asked for.

    It is a `Clock` to the server; `elapsed` counts microseconds since the start.
    """

    def __init__(self, start: datetime = START) -> None:
        self.start = start
        self.elapsed = 0
        self._queue: list[Alarm] = []
        self._number = 0
        self._loop: Any = _Loop(self)

    def now(self) -> datetime:
        """The present."""
        return self.start + timedelta(microseconds=self.elapsed)

    def at(self, elapsed: int, function: Callable[..., object], *arguments: Any) -> Alarm:
        """Have `function` called when so many microseconds have elapsed; what is past happens now."""
        self._number += 1
        alarm = Alarm(max(elapsed, self.elapsed), self._number, function, arguments)
        heapq.heappush(self._queue, alarm)
        return alarm

    def after(self, seconds: float, function: Callable[..., object], *arguments: Any) -> Alarm:
        """Have `function` called in so many seconds."""
        return self.at(self.elapsed + round(seconds * SECOND), function, *arguments)

    def sleep(self, seconds: float) -> Coming:
        """Something to await for so long."""
        coming = Coming()
        self.after(seconds, coming.settle, None)
        return coming

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let so many seconds pass, or fewer when `until` comes true at a full second; returns whether it did."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self._loop)
        try:
            return self._run(self.elapsed + round(seconds * SECOND), until)
        finally:
            asyncio._set_running_loop(before)

    def _run(self, end: int, until: Callable[[], bool] | None) -> bool:
        look_at = self.elapsed
        while True:
            if until is not None and self.elapsed >= look_at:
                if until():
                    return True
                look_at = self.elapsed + SECOND
            if not self._queue or self._queue[0].at > end:
                break
            alarm = heapq.heappop(self._queue)
            if alarm.function is not None:
                self.elapsed = alarm.at
                alarm.function(*alarm.arguments)
        self.elapsed = end
        return until is not None and until()


class _Loop:
    """What code of the edge finds as its event loop while a simulation runs: enough for time-outs of connections."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock

    def time(self) -> float:
        """Seconds since the start."""
        return self._clock.elapsed / SECOND

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        """An alarm in simulated time; it can be cancelled like a TimerHandle."""
        return self._clock.after(delay, callback, *args)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        """As soon as what happens now is over."""
        return self._clock.after(0, callback, *args)


class Coming:
    """An outcome that will be there later: await it. An exception as outcome is raised."""

    __slots__ = ("_settled", "_then", "outcome")

    def __init__(self) -> None:
        self._settled = False
        self.outcome: Any = None
        self._then: Callable[[], object] | None = None

    @property
    def settled(self) -> bool:
        """Whether the outcome is there."""
        return self._settled

    def settle(self, outcome: Any) -> None:
        """The outcome is there; only the first one counts."""
        if self._settled:
            return
        self._settled = True
        self.outcome = outcome
        if self._then is not None:
            self._then()

    def then(self, function: Callable[[], object]) -> None:
        """Have `function` called once the outcome is there."""
        if self._settled:
            function()
        else:
            self._then = function

    def result(self) -> Any:
        """The outcome, returned or raised."""
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def __await__(self) -> Generator[Coming, None, Any]:
        if not self._settled:
            yield self
        return self.result()


def start(coroutine: Coroutine[Any, Any, Any]) -> Coming:
    """Run a coroutine that awaits nothing but Comings; its result is the outcome of the one returned."""
    finished = Coming()

    def go_on() -> None:
        try:
            waiting_for: Coming = coroutine.send(None)
        except StopIteration as stop:
            finished.settle(stop.value)
        except Exception as fault:  # whoever awaits it gets it
            finished.settle(fault)
        else:
            waiting_for.then(go_on)

    go_on()
    return finished


async def together(coroutines: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run several side by side; returns their results in order, or raises the first fault in order."""
    return [await coming for coming in [start(coroutine) for coroutine in coroutines]]
