"""A server in a simulated fleet: the real core, channels and background steps, on simulated time.

Only what waits is simulated: the writer's thread (entries that arrive within a few milliseconds are committed
together), the loops (a step is skipped when it would find nothing due), the bus, and parked requests.
"""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Executable, create_engine, event
from sqlalchemy.pool import NullPool

from fleetward.server import app, audit, ec2messages, jobs
from fleetward.server.backends.objects_folder import FolderObjects
from fleetward.server.backends.store_sqlite import SqliteStore, _configure
from fleetward.server.call import Call, Context
from fleetward.server.db import Db
from fleetward.server.edge.background import Background
from fleetward.server.edge.channels import Channels
from fleetward.server.edge.waits import Waits
from fleetward.server.errors import AwsError
from fleetward.server.keys import KeyRing
from fleetward.server.ports import Outcome, Unit
from fleetward.server.schema import microseconds
from fleetward.server.service import Entry, Runner, Timer, Wait
from fleetward.server.settings import Settings
from fleetward.server.ssm import ssm
from fleetward.testing.clock import SECOND, Coming, SimClock, start, together

RENEW_EVERY = 15.0
"""Seconds; less often than in production, where a lease of 20 s is renewed every 5, to keep long simulations fast."""
POLL_EVERY = 5 * SECOND
LONG = 3600 * SECOND


@dataclass(slots=True)
class Trouble:
    """What is wrong with the servers and the bus at the moment."""

    wakes_lost: float = 0.0
    """Share of publications that one server does not hear."""
    wakes_late: float = 0.05
    """Longest time that a wake takes, seconds."""
    commit: tuple[float, float] = (0.001, 0.003)
    """How long the writer gathers before it commits, seconds."""


class SeededCall(Call):
    """A Call whose chance comes from the world's seed."""

    __slots__ = ("_chance",)

    def __init__(self, chance: random.Random, context: Context, **rest: Any) -> None:
        super().__init__(context, **rest)
        self._chance = chance

    def new_id(self) -> str:
        """A UUID made of the seed."""
        digits = f"{self._chance.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"

    def new_hex(self, prefix: str, digits: int = 17) -> str:
        """Hex digits made of the seed."""
        return prefix + f"{self._chance.getrandbits(4 * digits):0{digits}x}"


class SeededRunner(Runner):
    """The real runner, with chance from the world's seed."""

    chance: random.Random

    def call(self, context: Context, connection: Connection) -> Call:
        """A Call on `connection` at the present time."""
        return SeededCall(
            self.chance, context, now=self.clock.now(), db=Db(connection), settings=self.settings, keys=self.keys
        )


class GatheringStore(SqliteStore):
    """The real store without its threads: what arrives until the writer's turn is committed as one group."""

    def __init__(self, file: Path, arrived: Callable[[], None]) -> None:
        _opening[:] = [file]
        super().__init__(file, threads=False, slow_entry_fails=True)
        self._arrived = arrived
        self._waiting: list[Unit] = []

    def _connect(self) -> Connection:
        return _engine().connect().execution_options(isolation_level="AUTOCOMMIT")

    def write(self, unit: Unit) -> None:
        """Queue `unit` for the next group commit."""
        self._waiting.append(unit)
        if len(self._waiting) == 1:
            self._arrived()

    def commit(self) -> list[tuple[Callable[[Outcome], None], Outcome]]:
        """Commit all that waits; nobody is told yet."""
        group, self._waiting = self._waiting, []
        return self._commit(group)

    def die(self) -> None:
        """Let go of the file; what waits is lost."""
        self._waiting = []
        self.close()


class SimBus:
    """A bus between simulated servers that may lose wakes and deliver them late."""

    def __init__(
        self, clock: SimClock, chance: random.Random, trouble: Trouble, happened: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._trouble = trouble
        self._happened = happened
        self._receivers: list[Callable[[Sequence[str]], None]] = []

    def publish(self, topics: Sequence[str]) -> None:
        """Tell every server, each after a delay of its own, unless the wake is lost."""
        for receive in self._receivers:
            if self._trouble.wakes_lost and self._chance.random() < self._trouble.wakes_lost:
                self._happened("lost wakes")
                continue
            late = self._chance.uniform(0, self._trouble.wakes_late)
            if late > 1:
                self._happened("late wakes")
            self._clock.after(late, self._deliver, receive, topics)

    def subscribe(self, receive: Callable[[Sequence[str]], None]) -> None:
        """Add a server."""
        self._receivers.append(receive)

    def unsubscribe(self, receive: Callable[[Sequence[str]], None]) -> None:
        """The server is gone."""
        self._receivers.remove(receive)

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Nothing to disconnect."""

    def _deliver(self, receive: Callable[[Sequence[str]], None], topics: Sequence[str]) -> None:
        if receive in self._receivers:
            receive(topics)


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What the servers of one world share."""

    clock: SimClock
    chance: random.Random
    trouble: Trouble
    bus: SimBus
    keys: KeyRing
    settings: Settings
    database: Path
    eyes: sqlite3.Connection
    """A connection of the world's own, to see what was committed."""
    shape: Callable[[Entry], Any]
    committed: Callable[[], None]
    """Called after each commit of any server."""
    failed: Callable[[BaseException], None]
    """Told what entries raise that they never should."""
    waits: Waits = field(default_factory=Waits)


class SimServer:
    """One server process: from `__init__` until `kill`. What it keeps is in the store alone."""

    def __init__(self, name: str, around: Surroundings) -> None:
        self.name = name
        self.around = around
        self.clock = around.clock
        self.alive = True
        self.dies_after_commits: int | None = None
        """Set to have it killed between a commit and the telling of it."""
        self.dies_before_commit = False
        """Set to have it killed when it next has something to commit."""
        self.died: Callable[[], None] = lambda: None
        self.store = GatheringStore(around.database, self._arrived)
        self.runner = SeededRunner(
            store=self.store,
            bus=around.bus,
            clock=around.clock,
            keys=around.keys,
            settings=around.settings,
            services=app.SERVICES,
        )
        self.runner.chance = around.chance
        self.runner.record = self._record
        self.store.deliver = self._tell  # for reads
        self.channels = Channels(runner=self.runner, services=app.SERVICES, server_id=name)
        ec2messages.offer(self.channels.take.function, ssm.replies)
        self.background = Background(
            runner=self.runner,
            run=self.run,
            waits=around.waits,
            services=app.SERVICES,
            timers=app.TIMERS,
            objects=FolderObjects(around.settings.data / "objects"),
            server_id=name,
            wake=self._hear,
            every_second=_nothing,
        )
        self._parked: dict[str, list[Coming]] = defaultdict(list)
        self._leasing = self._lease_again = False
        self._job_poll_at = self._node_poll_at = 0
        around.bus.subscribe(self._hear)
        self._renew()
        self._tick_alarm = self.clock.after(around.chance.random(), self._tick)

    # --- entries ----------------------------------------------------------------------------------

    def run(self, entry: Entry, context: Context, request: Any) -> Coming:
        """Run one entry; await its commit. Never settles if the server is killed meanwhile."""
        coming = Coming()
        if self.alive:
            self.runner.submit(entry, context, request, coming.settle)
        return coming

    async def request(self, context: Context, service: str, operation: str, request: Any) -> Any:
        """An API call as the pipeline runs it, parked while it asks to wait."""
        entry = self.runner.services[service].operations[operation]
        since = self.clock.now()
        while True:
            output = await self.run(entry, context, request)
            if not isinstance(output, Wait):
                return output
            context = replace(context, waiting_since=since)
            await self._park(output)

    def kill(self) -> None:
        """kill -9: what was not committed is lost, and nobody is told anything."""
        if not self.alive:
            return
        self.alive = False
        self._tick_alarm.cancel()
        self.around.bus.unsubscribe(self._hear)
        self.store.die()
        self.died()

    def _record(self, call: Call, entry: Entry, request: Any, error: AwsError | None) -> None:
        audit.record(call, entry, audit.redact(self.around.shape(entry), request), error)

    def _arrived(self) -> None:
        self.clock.after(self.around.chance.uniform(*self.around.trouble.commit), self._commit)

    def _commit(self) -> None:
        if not self.alive:
            return
        if self.dies_before_commit:
            self.kill()
            return
        finished = self.store.commit()
        self.around.committed()
        for _, outcome in finished:
            if isinstance(outcome, BaseException) and not isinstance(outcome, AwsError | jobs.LostLease):
                self.around.failed(outcome)
        if self.dies_after_commits is not None:
            self.dies_after_commits -= 1
            if self.dies_after_commits <= 0:
                self.kill()
                return
        self._tell(finished)

    def _tell(self, finished: Sequence[tuple[Callable[[Outcome], None], Outcome]]) -> None:
        for done, outcome in self.runner.delivered(finished):
            done(outcome)

    def _start(self, coroutine: Coroutine[Any, Any, Any]) -> Coming:
        """Run something of the background; it must not fail."""
        coming = start(coroutine)
        coming.then(lambda: self._ended(coming))
        return coming

    def _ended(self, coming: Coming) -> None:
        if isinstance(coming.outcome, BaseException):
            self.around.failed(coming.outcome)

    def _park(self, wait: Wait) -> Coming:
        coming = Coming()
        self._parked[wait.topic].append(coming)
        self.clock.at(microseconds(wait.until) - microseconds(self.clock.start), coming.settle, None)
        return coming

    def _hear(self, topics: Sequence[str]) -> None:
        if not self.alive:
            return
        self.channels.wake(topics)
        for topic in topics:
            for coming in self._parked.pop(topic, ()):
                coming.settle(None)
        if jobs.TOPIC in topics:
            self._look_for_jobs()

    # --- what the server starts by itself ---------------------------------------------------------

    def _renew(self) -> None:
        if self.alive:
            self._start(self.background.renew())
            self.clock.after(RENEW_EVERY, self._renew)

    def _look_for_jobs(self) -> None:
        if self._leasing:
            self._lease_again = True
            return
        self._leasing = True
        running = start(self._run_jobs())
        running.then(lambda: self._jobs_done(running))

    async def _run_jobs(self) -> None:
        while True:
            self._lease_again = False
            leased = await self.background.lease_jobs()
            await together([self.background.advance(job) for job in leased])
            if not leased and not self._lease_again:
                return

    def _jobs_done(self, running: Coming) -> None:
        self._leasing = False
        self._ended(running)

    def tick_soon(self) -> None:
        """Something was committed: what is due may have changed."""
        soon = self.clock.elapsed + SECOND
        if self.alive and self._tick_alarm.at > soon:
            self._tick_alarm.cancel()
            self._tick_alarm = self.clock.at(soon, self._tick)

    def _tick(self) -> None:
        """What the loops do in a second, as far as something is due; then sleep until something will be."""
        if not self.alive:
            return
        now, moment = self.clock.elapsed, microseconds(self.clock.now())
        values = {"now": moment, "server": self.name}
        message, overlooked, job, invocation = self.around.eyes.execute(DUE, values).fetchone()
        if message is not None and message <= moment:
            self._start(self.background.sweep())
        following = [_at(message, moment, now, SECOND), _at(invocation, moment, now, 15 * SECOND)]
        if overlooked is not None and now >= self._node_poll_at:
            self._node_poll_at = now + POLL_EVERY
            self._start(self.background.poll_nodes())
        if job is not None and job <= moment and now >= self._job_poll_at:
            self._job_poll_at = now + POLL_EVERY
            self._look_for_jobs()
        following.append(self._node_poll_at if overlooked is not None else now + LONG)
        following.append(_at(job, moment, now, max(self._job_poll_at - now, SECOND)))
        leases = dict(self.around.eyes.execute("SELECT name, due_at FROM timer_leases").fetchall())
        for timer in self.background.timers:
            following.append(self._run_timer(timer, leases.get(timer.name), moment, now))
        self._tick_alarm = self.clock.at(max(now + SECOND, min(following)), self._tick)

    def _run_timer(self, timer: Timer, lease: int | None, moment: int, now: int) -> int:
        """Run the timer if its time has come and it would find something; returns when to look again."""
        if lease is not None and lease > moment:
            return now + lease - moment
        if timer.due is not None:
            text, constants = _text(timer.name, timer.due)
            found = self.around.eyes.execute(text, {**constants, "now": moment}).fetchone()
            if found is None:
                return now + LONG
        self._start(self.background.run_timer(timer))
        return now + SECOND


DUE = """
SELECT
 (SELECT min(due_at) FROM mailbox_messages WHERE due_at > :now - 10000000),
 (SELECT 1 FROM mailbox_messages m JOIN presence_connections c USING (account_id, region, node_id)
  WHERE c.server_id = :server AND m.due_at <= :now - 5000000 LIMIT 1),
 (SELECT min(max(due_at, coalesce(lease_until, 0))) FROM jobs WHERE due_at IS NOT NULL),
 (SELECT min(due_at) FROM run_command_invocations)
"""
"""When messages, jobs and invocations are due next, and whether connected nodes' messages were overlooked."""


def _at(due: int | None, moment: int, now: int, pause: int) -> int:
    """When to look again for what is due at `due`: then, or after `pause` if it is due already."""
    if due is None:
        return now + LONG
    return now + due - moment if due > moment else now + pause


@cache
def _text(name: str, due: Executable) -> tuple[str, dict[str, Any]]:
    """The SQL of what makes the timer of this name due, and the constants in it."""
    at_any_time: Any = due.params(now=None)  # type: ignore[attr-defined]  # every statement has it
    compiled = at_any_time.compile(compile_kwargs={"render_postcompile": True})
    return str(compiled), dict(compiled.params)


@cache
def _engine() -> Engine:
    """One engine for all stores of this process, so that statements are compiled once and not in every world."""
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(_opening[-1]), poolclass=NullPool)
    event.listen(engine, "connect", _configure)
    return engine


_opening: list[Path] = []
"""The file that the engine is to open."""


async def _nothing(now: datetime) -> None:
    """Nothing is polled every second here: root needs no policies."""
