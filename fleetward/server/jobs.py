"""Jobs: work that outlasts a transaction: rows that entries move forward, with leases and effects as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Index, Integer, String, Table, Text, bindparam, delete, insert, or_, select, update

from fleetward.server.call import Call
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, tenant

TOPIC = "jobs"
LEASE = timedelta(seconds=10)
"""A step is one short entry; what a server that died had leased goes on elsewhere, or after its restart, this soon."""

EFFECT_LIMIT = timedelta(seconds=60)
"""What one effect may take; the lease is prolonged by as much."""

RETRY_LIMIT = timedelta(minutes=10)

jobs = Table(
    "jobs",
    metadata,
    *tenant(),
    Column("job_id", String(36), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("key", Text, nullable=False),
    Column("step", String(64), nullable=False),
    Column("state", Json, nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("due_at", UtcDateTime),  # null: finished
    Column("lease_owner", String(64)),
    Column("lease_until", UtcDateTime),
    Column("fault", Text),  # what the last failed attempt said
    Column("changed_at", UtcDateTime, nullable=False),
    Index("jobs_due", "due_at"),
    Index("jobs_key", "account_id", "region", "kind", "key"),
)

ADD = insert(jobs)
DUE = (
    select(jobs)
    .where(jobs.c.due_at <= bindparam("now"), or_(jobs.c.lease_until.is_(None), jobs.c.lease_until <= bindparam("now")))
    .order_by(jobs.c.due_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_THIS = (*in_tenant(jobs), jobs.c.job_id == bindparam("job"))
LEASE_JOB = update(jobs).where(*_THIS).values(lease_owner=bindparam("owner"), lease_until=bindparam("until"))
ADVANCE = (
    update(jobs)
    .where(*_THIS, jobs.c.lease_owner == bindparam("owner"))
    .values(
        step=bindparam("to_step"),
        state=bindparam("to_state", type_=Json),
        attempt=0,
        due_at=bindparam("due"),
        lease_owner=None,
        lease_until=None,
        fault=None,
        changed_at=bindparam("now"),
    )
)
FAIL = (
    update(jobs)
    .where(*_THIS, jobs.c.lease_owner == bindparam("owner"))
    .values(
        attempt=jobs.c.attempt + 1,
        due_at=bindparam("due"),
        lease_owner=None,
        lease_until=None,
        fault=bindparam("text"),
        changed_at=bindparam("now"),
    )
)
PROLONG = update(jobs).where(*_THIS, jobs.c.lease_owner == bindparam("owner")).values(lease_until=bindparam("until"))
NUDGE = (
    update(jobs)
    .where(
        *in_tenant(jobs),
        jobs.c.kind == bindparam("of_kind"),
        jobs.c.key == bindparam("of_key"),
        jobs.c.due_at > bindparam("now"),
    )
    .values(due_at=bindparam("now"))
)
UNFINISHED = select(jobs.c.job_id).where(
    *in_tenant(jobs), jobs.c.kind == bindparam("of_kind"), jobs.c.key == bindparam("of_key"), jobs.c.due_at.is_not(None)
)
FREE_ALL = update(jobs).where(jobs.c.lease_until.is_not(None)).values(lease_owner=None, lease_until=None)
NEXT_DUE = select(jobs.c.due_at).where(jobs.c.due_at.is_not(None)).order_by(jobs.c.due_at).limit(1)
FORGET = delete(jobs).where(jobs.c.due_at.is_(None), jobs.c.changed_at < bindparam("before"))


@dataclass(frozen=True, slots=True)
class Job:
    """One row, as its entry sees it. `outcome` is what the effects of the step before came to."""

    account: str
    region: str
    job_id: str
    kind: str
    key: str
    step: str
    state: Mapping[str, Any]
    attempt: int
    outcome: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class DeleteObject:
    """Effect: remove one object."""

    key: str


@dataclass(frozen=True, slots=True)
class AddMasterKey:
    """Effect: put a new key of this number into the ring's file, unless there is one."""

    number: int


@dataclass(frozen=True, slots=True)
class DropMasterKeys:
    """Effect: remove the keys with lower numbers from the ring's file."""

    below: int


@dataclass(frozen=True, slots=True)
class DeleteObjects:
    """Effect: remove objects, as many as there are."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListObjects:
    """Effect: keys of objects that have not changed since `before`, in order, behind `after`."""

    prefix: str
    before: datetime
    after: str
    most: int


@dataclass(frozen=True, slots=True)
class ForgetUnfinished:
    """Effect: remove what unfinished uploads left that rest since `before`."""

    before: datetime


Effect = DeleteObject | DeleteObjects | ListObjects | ForgetUnfinished | AddMasterKey | DropMasterKeys


@dataclass(frozen=True, slots=True)
class Next:
    """What a step returns: the step to run next, when, and the effects to perform before it."""

    step: str = ""
    """Empty: the job is finished."""
    state: Mapping[str, Any] = field(default_factory=dict)
    due_at: datetime | None = None
    effects: Sequence[Effect] = ()


DONE = Next()


def start(call: Call, kind: str, key: str, state: Mapping[str, Any], due_at: datetime | None = None) -> str:
    """Store a job that is due at `due_at`, by default at once; returns its id."""
    job_id = call.new_id()
    call.db.run(
        ADD,
        {
            **call.tenant,
            "job_id": job_id,
            "kind": kind,
            "key": key,
            "step": "start",
            "state": state,
            "attempt": 0,
            "due_at": due_at or call.now,
            "changed_at": call.now,
        },
    )
    call.wake(TOPIC)
    return job_id


def nudge(call: Call, kind: str, key: str) -> None:
    """Have waiting jobs of this kind and key run now instead of later."""
    changed = call.db.run(NUDGE, {**call.here, "of_kind": kind, "of_key": key, "now": call.now})
    if changed:
        call.wake(TOPIC)


def keep(call: Call, kind: str, key: str) -> None:
    """Have the one job of this kind and key, which rests while it has nothing to do, run now; it is made if need be."""
    if call.db.value(UNFINISHED, **call.here, of_kind=kind, of_key=key) is None:
        start(call, kind, key, {})
    else:
        nudge(call, kind, key)


def lease(call: Call, request: tuple[str, int]) -> list[Job]:
    """Entry: take up to `most` due jobs of any tenant for `owner`, for ten seconds."""
    owner, most = request
    rows = call.db.all(DUE, now=call.now, most=most)
    call.db.run(
        LEASE_JOB,
        [
            {"account": r.account_id, "in_region": r.region, "job": r.job_id, "owner": owner, "until": call.now + LEASE}
            for r in rows
        ],
    )
    return [Job(r.account_id, r.region, r.job_id, r.kind, r.key, r.step, r.state, r.attempt) for r in rows]


def advance(function: Callable[[Call, Job], Next]) -> Callable[[Call, tuple[str, Job]], Next]:
    """The entry that runs one step of `function` and stores where the job stands; lost leases change nothing."""

    def step(call: Call, request: tuple[str, Job]) -> Next:
        owner, job = request
        following = function(call, job)
        if following.effects:  # performed by the edge, which then calls the step named
            until = call.now + LEASE + EFFECT_LIMIT * len(following.effects)
            _held(job, call.db.run(PROLONG, {**_key(job), "owner": owner, "until": until}))
            return following
        due = None if not following.step else following.due_at or call.now
        held = call.db.run(
            ADVANCE,
            {
                **_key(job),
                "owner": owner,
                "to_step": following.step,
                "to_state": following.state,
                "due": due,
                "now": call.now,
            },
        )
        _held(job, held)
        if due is not None and due <= call.now:
            call.wake(TOPIC)
        return following

    return step


class LostLease(Exception):
    """Another server has taken the job over; what this step did is rolled back."""


def _held(job: Job, rows: int) -> None:
    if not rows:
        raise LostLease(f"job {job.job_id} was taken over by another server")


def fail(call: Call, request: tuple[str, Job, str]) -> None:
    """Entry: a step raised; try again after 1, 2, 4 … s, at most ten minutes."""
    owner, job, text = request
    delay = min(RETRY_LIMIT, timedelta(seconds=2 ** min(job.attempt, 10)))
    call.db.run(FAIL, {**_key(job), "owner": owner, "due": call.now + delay, "text": text[:2000], "now": call.now})


def free_all(call: Call, _: str) -> None:
    """Entry: nobody else can be working on a job, so no lease holds."""
    call.db.run(FREE_ALL)


def next_due(call: Call) -> datetime | None:
    """Entry: when the next job is due, or None."""
    due: datetime | None = call.db.value(NEXT_DUE)
    return due


def forget(call: Call) -> None:
    """Remove jobs that finished longer ago than `keep_jobs`."""
    call.db.run(FORGET, {"before": call.now - timedelta(days=call.settings.keep_jobs)})


def _key(job: Job) -> dict[str, str]:
    return {"account": job.account, "in_region": job.region, "job": job.job_id}
