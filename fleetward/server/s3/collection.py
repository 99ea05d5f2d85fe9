"""Collection: blobs that nothing refers to any more are deleted, and bytes that no row ever came to refer to.

A blob whose last reference went is deleted an hour later. Once a day everything under Objects that is older than a day
and has no row is deleted too: what uploads left that a crash cut off between their bytes and their row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import Row, bindparam, delete, select, update

from fleetward.server import jobs
from fleetward.server.call import Call
from fleetward.server.jobs import DONE, DeleteObjects, ForgetUnfinished, Job, ListObjects, Next
from fleetward.server.s3 import content, s3
from fleetward.server.s3.table import blobs, garbage, keys, parts, uploads

BLOBS_AT_ONCE = 200
ROWS_AT_ONCE = 300
UNREFERENCED_FOR = timedelta(days=1)
CLAIMED_FOR = timedelta(days=1)
COMPLETED_KEPT = timedelta(days=7)
"""How long a completed upload is remembered, for clients that ask for its completion again."""

TENANTS = (
    select(blobs.c.account_id, blobs.c.region)
    .where(blobs.c.released_at <= bindparam("now"))
    .union(select(garbage.c.account_id, garbage.c.region).where(garbage.c.due_at <= bindparam("now")))
)
RELEASED = (
    select(blobs.c.blob)
    .where(
        blobs.c.account_id == bindparam("account"),
        blobs.c.region == bindparam("in_region"),
        blobs.c.released_at <= bindparam("before"),
    )
    .order_by(blobs.c.released_at)
    .limit(bindparam("most"))
)
_BLOB = (
    blobs.c.account_id == bindparam("account"),
    blobs.c.region == bindparam("in_region"),
    blobs.c.blob == bindparam("of_blob"),
)
CLAIM = update(blobs).where(*_BLOB).values(released_at=bindparam("until"))
FORGET_BLOB = delete(blobs).where(*_BLOB, blobs.c.references <= 0)
KNOWN = select(blobs.c.blob).where(
    blobs.c.account_id == bindparam("account"),
    blobs.c.region == bindparam("in_region"),
    blobs.c.blob.in_(bindparam("names", expanding=True)),
)
LEFT = (
    select(garbage)
    .where(
        garbage.c.account_id == bindparam("account"),
        garbage.c.region == bindparam("in_region"),
        garbage.c.due_at <= bindparam("now"),
    )
    .order_by(garbage.c.due_at)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_GARBAGE = (
    garbage.c.account_id == bindparam("account"),
    garbage.c.region == bindparam("in_region"),
    garbage.c.garbage_id == bindparam("of_garbage"),
)
CLEARED = delete(garbage).where(*_GARBAGE)
SHORTEN = update(garbage).where(*_GARBAGE).values(content=bindparam("rest"))
PARTS = (
    select(parts.c.number, parts.c.content)
    .where(
        parts.c.account_id == bindparam("account"),
        parts.c.region == bindparam("in_region"),
        parts.c.upload_id == bindparam("of_upload"),
    )
    .order_by(parts.c.number)
    .limit(bindparam("most"))
)
REMOVE_PART = delete(parts).where(
    parts.c.account_id == bindparam("account"),
    parts.c.region == bindparam("in_region"),
    parts.c.upload_id == bindparam("of_upload"),
    parts.c.number == bindparam("of_number"),
)
FORGET_UPLOADS = delete(uploads).where(uploads.c.result.is_not(None), uploads.c.begun_at < bindparam("before"))
STORING = select(keys.c.account_id, keys.c.region).where(keys.c.number > 0).distinct()
SHARDS = 256


@s3.timer(every=timedelta(minutes=1), due=TENANTS)
def collect(call: Call) -> bool:
    """Release what is left over, then hand some blobs to a job that deletes them; True: there is more."""
    row = call.db.first(LEFT, account=call.account, in_region=call.region, now=call.now)
    if row is not None:
        _clear(call, row)
        return True
    this = {"account": call.account, "in_region": call.region}
    before = call.now - content.KEPT_AFTER_RELEASE
    names = call.db.values(RELEASED, **this, before=before, most=BLOBS_AT_ONCE)
    if not names:
        return False
    until = call.now + CLAIMED_FOR  # should the job be lost, another takes them then
    call.db.run(CLAIM, [{**this, "of_blob": name, "until": until} for name in names])
    jobs.start(call, "s3-collect", "", {"blobs": list(names)})
    return len(names) == BLOBS_AT_ONCE


def _clear(call: Call, row: Row[Any]) -> None:
    """Some hundred slices of a content, or parts of an ended upload."""
    this = {"account": row.account_id, "in_region": row.region}
    if not row.upload_id:
        slices = content.load(row.content)
        content.let_go(call, slices[:ROWS_AT_ONCE])
        rest = slices[ROWS_AT_ONCE:]
        _shorten(call, row, content.dump(rest) if rest else "")
        return
    found = call.db.all(PARTS, **this, of_upload=row.upload_id, most=ROWS_AT_ONCE)
    unlisted = None if row.content == content.ALL_PARTS else set(orjson.loads(row.content))
    for part in found:
        if unlisted is None or part.number in unlisted:
            content.release(call, content.load(part.content))
    call.db.run(REMOVE_PART, [{**this, "of_upload": row.upload_id, "of_number": part.number} for part in found])
    _shorten(call, row, row.content if len(found) == ROWS_AT_ONCE else "")


def _shorten(call: Call, row: Row[Any], rest: str) -> None:
    this = {"account": row.account_id, "in_region": row.region, "of_garbage": row.garbage_id}
    if rest:
        call.db.run(SHORTEN, {**this, "rest": rest})
    else:
        call.db.run(CLEARED, this)


@s3.job("s3-collect")
def delete_blobs(call: Call, job: Job) -> Next:
    """The bytes first, then the rows: a crash between them repeats a deletion, which harms nobody."""
    names: Sequence[str] = job.state["blobs"]
    if job.step == "start":
        return Next("forget", job.state, effects=[DeleteObjects(tuple(map(content.storage_key, names)))])
    this = {"account": call.account, "in_region": call.region}
    call.db.run(FORGET_BLOB, [{**this, "of_blob": name} for name in names])
    return DONE


@s3.timer(every=timedelta(days=1))
def begin_sweep(call: Call) -> None:
    """Look for bytes without a row in every tenant that stores some, and forget uploads completed long ago."""
    call.db.run(FORGET_UPLOADS, {"before": call.now - COMPLETED_KEPT})
    for tenant in call.db.all(STORING):
        state = {"account": tenant.account_id, "region": tenant.region, "shard": 0, "after": ""}
        jobs.start(call, "s3-sweep", f"{tenant.account_id}/{tenant.region}", state)


@s3.job("s3-sweep")
def sweep(call: Call, job: Job) -> Next:
    """One folder of 256 after the other: list it, compare it with the rows, delete what has none."""
    state = job.state
    before = call.now - UNREFERENCED_FOR
    if job.step == "start":
        return Next("list", state, effects=[ForgetUnfinished(before)])
    if job.step == "list":
        if state["shard"] == SHARDS:
            return DONE
        prefix = content.storage_key(f"{state['account']}/{state['region']}/{state['shard']:02x}/")
        return Next("compare", state, effects=[ListObjects(prefix, before, state["after"], ROWS_AT_ONCE)])
    if job.step == "compare":
        found: Sequence[str] = job.outcome[0]
        after = found[-1] if len(found) == ROWS_AT_ONCE else ""
        state = {**state, "after": after, "shard": state["shard"] + (0 if after else 1)}
        lost = _unknown(call, state["account"], state["region"], found)
        return Next("list", state, effects=[DeleteObjects(lost)]) if lost else Next("list", state)
    return DONE


def _unknown(call: Call, account: str, region: str, found: Sequence[str]) -> tuple[str, ...]:
    """The storage keys that no blob's row stands for."""
    names = {key.removeprefix(content.FOLDER): key for key in found}
    if not names:
        return ()
    known = set(call.db.values(KNOWN, account=account, in_region=region, names=list(names)))
    return tuple(key for name, key in names.items() if name not in known)
