"""Background: what the server starts by itself: due jobs and their effects, timers, resends, leases.

Each loop is bounded, survives errors, and reads the store only through entries.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Column, String, Table, bindparam, insert, select, update

from fleetward.server import jobs, keys, mailbox, presence
from fleetward.server.call import Call, Context, service_context
from fleetward.server.edge.waits import Waits
from fleetward.server.jobs import (
    AddMasterKey,
    DeleteObject,
    DeleteObjects,
    DropMasterKeys,
    Effect,
    ForgetUnfinished,
    Job,
    ListObjects,
    Next,
)
from fleetward.server.ports import Objects
from fleetward.server.schema import UtcDateTime, metadata
from fleetward.server.service import Entry, Runner, Service, Timer

log = logging.getLogger("fleetward.background")

JOBS_AT_ONCE = 32
IDLE = 5.0
RESEND_EVERY = 1.0
SWEEP_BACK = timedelta(seconds=10)
TIMER_ROUNDS = 200
"""How often a timer's entry runs in a row at most; with 500 rows each, 100,000 time out at once."""
EFFECT_SECONDS = 60.0

timer_leases = Table(
    "timer_leases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("due_at", UtcDateTime, nullable=False),
)
LEASE_OF = select(timer_leases.c.due_at).where(timer_leases.c.name == bindparam("timer"))
TAKE = (
    update(timer_leases)
    .where(timer_leases.c.name == bindparam("timer"), timer_leases.c.due_at <= bindparam("now"))
    .values(due_at=bindparam("following"))
)
ADD_LEASE = insert(timer_leases)

Run = Callable[[Entry, Context, Any], Awaitable[Any]]


def take_timer(call: Call, request: tuple[str, timedelta]) -> bool:
    """Entry: whether this server runs the timer now; it is nobody else's until its next time."""
    name, every = request
    if call.db.value(LEASE_OF, timer=name) is None:
        call.db.run(ADD_LEASE, {"name": name, "due_at": call.now + every})
        return True
    return call.db.run(TAKE, {"timer": name, "now": call.now, "following": call.now + every}) > 0


def due_tenants(call: Call, timer: Timer) -> list[tuple[str, str]]:
    """Entry: the tenants in which a timer has something due."""
    assert timer.due is not None
    return [(row.account_id, row.region) for row in call.db.all(timer.due, now=call.now)]


LEASE_JOBS = Entry("jobs.lease", jobs.lease, audit=False)
FAIL_JOB = Entry("jobs.fail", jobs.fail, audit=False)
NEXT_DUE = Entry("jobs.next-due", jobs.next_due, reads=True)
FORGET_JOBS = Entry("timer jobs.forget", jobs.forget, audit=False)
EXPIRE_MESSAGES = Entry("timer mailbox.expire", mailbox.expire, audit=False)
TAKE_TIMER = Entry("timer.take", take_timer, audit=False)
DUE_TENANTS = Entry("timer.tenants", due_tenants, reads=True)
DUE_NODES = Entry("mailbox.due", mailbox.due_nodes, reads=True)
LEFT_WAITING = Entry("mailbox.left-waiting", mailbox.left_waiting, reads=True)
RENEW = Entry("presence.renew", presence.renew, audit=False)
DROP_SERVER = Entry("presence.drop", presence.drop_server, audit=False)

OWN_TIMERS = (
    Timer("jobs.forget", timedelta(hours=1), FORGET_JOBS, None),
    Timer("mailbox.expire", timedelta(minutes=1), EXPIRE_MESSAGES, None),
)


class Background:
    """The loops of one server."""

    def __init__(
        self,
        *,
        runner: Runner,
        run: Run,
        waits: Waits,
        services: Sequence[Service],
        timers: Sequence[Timer],
        objects: Objects,
        server_id: str,
        wake: Callable[[Sequence[str]], None],
        every_second: Callable[[datetime], Awaitable[None]],
    ) -> None:
        self._runner = runner
        self._run = run
        self._waits = waits
        self._objects = objects
        self._server_id = server_id
        self._wake = wake
        self._every_second = every_second
        self._kinds: Mapping[str, Entry] = {
            kind: replace(entry, function=jobs.advance(entry.function))
            for service in services
            for kind, entry in service.jobs.items()
        }
        self.timers = (*OWN_TIMERS, *timers)
        self._overlooked = ("", "", "")
        settings = runner.settings
        self._home = service_context(settings.account, settings.default_region)

    async def start(self) -> list[asyncio.Task[None]]:
        """Take the server's lease, then start the loops."""
        await self.renew()
        loops = (
            (self._jobs_once, None),
            (self.sweep, RESEND_EVERY),
            (self.poll_nodes, IDLE),
            (self._timers_once, 1.0),
            (self.renew, presence.SERVER_LEASE.total_seconds() / 4),
        )
        return [asyncio.create_task(self._forever(function, pause)) for function, pause in loops]

    async def stop(self) -> None:
        """Give the lease back, so that other servers need not wait for it to lapse."""
        await self._run(DROP_SERVER, self._home, self._server_id)

    async def _forever(self, function: Callable[[], Awaitable[None]], pause: float | None) -> None:
        while True:
            try:
                await function()
                failed = False
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("background loop failed", extra={"fields": {"loop": function.__name__}})
                failed = True
            if failed or pause is not None:
                await asyncio.sleep(max(pause or 0.0, 1.0 if failed else 0.0))

    async def _jobs_once(self) -> None:
        mark = self._waits.mark()
        leased = await self.lease_jobs()
        await asyncio.gather(*(self.advance(job) for job in leased))
        if len(leased) == JOBS_AT_ONCE:
            return
        due: datetime | None = await self._run(NEXT_DUE, self._home, None)
        until = IDLE if due is None else (due - self._runner.clock.now()).total_seconds()
        if until > 0:
            await self._waits.sleep(jobs.TOPIC, min(until, IDLE), mark)
        elif not leased:
            await asyncio.sleep(0.2)

    async def lease_jobs(self) -> list[Job]:
        """Take due jobs for this server."""
        leased: list[Job] = await self._run(LEASE_JOBS, self._home, (self._server_id, JOBS_AT_ONCE))
        return leased

    async def advance(self, job: Job) -> None:
        """Run one step of a leased job, its effects and what follows them."""
        entry = self._kinds.get(job.kind)
        if entry is None:
            log.error("no such kind of job", extra={"fields": {"kind": job.kind}})
            return
        context = service_context(job.account, job.region, request_id=job.job_id)
        try:
            following: Next = await self._run(entry, context, (self._server_id, job))
            while following.effects:
                outcome = [await self._perform(effect) for effect in following.effects]
                job = replace(job, step=following.step, state=following.state, outcome=outcome)
                following = await self._run(entry, context, (self._server_id, job))
        except jobs.LostLease:
            return
        except Exception as fault:
            log.exception("job failed", extra={"fields": {"job": job.job_id, "kind": job.kind}})
            await self._run(FAIL_JOB, context, (self._server_id, job, repr(fault)))

    async def _perform(self, effect: Effect) -> Any:
        async with asyncio.timeout(EFFECT_SECONDS):
            match effect:
                case DeleteObject(key):
                    return await asyncio.to_thread(self._objects.delete, key)
                case DeleteObjects(names):
                    return await asyncio.to_thread(_delete_all, self._objects, names)
                case ListObjects():
                    return await asyncio.to_thread(_old_keys, self._objects, effect)
                case ForgetUnfinished(before):
                    return await asyncio.to_thread(self._objects.forget_unfinished, before)
                case AddMasterKey(number):
                    return await asyncio.to_thread(keys.add_key, self._ring_file(), number)
                case DropMasterKeys(below):
                    return await asyncio.to_thread(keys.drop_keys, self._ring_file(), below)

    def _ring_file(self) -> Path:
        settings = self._runner.settings
        file = keys.ring_file(settings.data, settings.keys)
        if file is None:
            raise keys.KeyFault("the key ring comes from a program and is changed there")
        return file

    async def sweep(self) -> None:
        """Wake nodes whose messages are due again; refresh what is polled every second."""
        now = self._runner.clock.now()
        await self._every_second(now)
        after: mailbox.Place | None = (now - SWEEP_BACK, "", "", "")
        while after is not None:
            topics, after = await self._run(DUE_NODES, self._home, after)
            if topics:
                self._wake(topics)

    async def poll_nodes(self) -> None:
        """Let connected nodes look whose messages nobody woke them for: a lost wake costs delay, never truth."""
        topics, self._overlooked = await self._run(LEFT_WAITING, self._home, (self._server_id, self._overlooked))
        if topics:
            self._wake(topics)

    async def _timers_once(self) -> None:
        for timer in self.timers:
            await self.run_timer(timer)

    async def run_timer(self, timer: Timer) -> None:
        """Run a timer's entry where something is due, if the timer's time has come and no other server took it."""
        if not await self._run(TAKE_TIMER, self._home, (timer.name, timer.every)):
            return
        contexts = [self._home]
        if timer.due is not None:
            contexts = [service_context(*tenant) for tenant in await self._run(DUE_TENANTS, self._home, timer)]
        for context in contexts:
            for _ in range(TIMER_ROUNDS):
                if await self._run(timer.entry, context, None) is not True:
                    break  # an entry that returns True has left more to do

    async def renew(self) -> None:
        """Say that this server lives."""
        await self._run(RENEW, self._home, (self._server_id, self._runner.settings.peer_listen))


def _delete_all(objects: Objects, keys: Sequence[str]) -> None:
    for key in keys:
        objects.delete(key)


def _old_keys(objects: Objects, wanted: ListObjects) -> list[str]:
    found = (each for each in objects.list(wanted.prefix) if each.key > wanted.after)
    old = (each.key for each in found if each.changed_at < wanted.before)
    return list(itertools.islice(old, wanted.most))
