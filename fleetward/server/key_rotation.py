"""Key rotation: a new master key reaches every server, then seals; rows are wrapped anew; old keys are retired.

    added to the ring's file -> every server has loaded it -> every server seals with it -> all rows wrapped anew
                                                                   -> 36 h later, if asked: older keys removed

Each arrow waits until every living server has reported, so that no server meets a value that it cannot open. What
waits is a job: a server that dies on the way delays it. Capabilities declare their sealed columns as `SealedColumn`s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    update,
)

from fleetward.server import jobs, presence
from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.jobs import DONE, AddMasterKey, DropMasterKeys, Job, Next
from fleetward.server.keys import KeyFault, ring_file
from fleetward.server.schema import Json, UtcDateTime, metadata

TOPIC = "keys"
ROTATION = "key-rotation"
RETIREMENT = "key-retirement"
RING = "ring"
CHUNK = 200
LOOK_AGAIN = timedelta(seconds=5)
STARTING = timedelta(seconds=30)
"""A server that reported this recently counts as living, even if its lease is not stored yet."""
FORGOTTEN = timedelta(hours=1)
LONGEST_TOKEN = timedelta(hours=36)
"""What GetSessionToken gives at most: until then tokens sealed with the key before are good."""

states = Table(
    "key_rotation_states",
    metadata,
    Column("name", String(8), primary_key=True),
    Column("sealing", Integer, nullable=False),  # the key in use
    Column("check_value", String(16), nullable=False),  # of that key
    Column("wanted", Integer, nullable=False, default=0),  # the key that is to be in use; 0: no other
    Column("rotated_at", UtcDateTime, nullable=False),
    Column("rewrapped_at", UtcDateTime),  # null: rows are being wrapped anew
    Column("retire_at", UtcDateTime),  # when older keys go; null: not asked for
)

rings = Table(
    "key_rotation_rings",
    metadata,
    Column("server_id", String(36), primary_key=True),
    Column("sealing", Integer, nullable=False),
    Column("checks", Json, nullable=False),  # number (text) -> check value
    Column("told_at", UtcDateTime, nullable=False),
)

STATE = select(states).where(states.c.name == RING)
ADD_STATE = insert(states)
WANT = update(states).where(states.c.name == RING).values(wanted=bindparam("number"))
SEAL_WITH = (
    update(states)
    .where(states.c.name == RING)
    .values(
        sealing=bindparam("number"),
        check_value=bindparam("check"),
        wanted=0,
        rotated_at=bindparam("now"),
        rewrapped_at=None,
    )
)
REWRAPPED = update(states).where(states.c.name == RING).values(rewrapped_at=bindparam("now"))
RETIRE_AT = update(states).where(states.c.name == RING).values(retire_at=bindparam("at"))
RINGS = select(rings).order_by(rings.c.server_id)
TELL = (
    update(rings)
    .where(rings.c.server_id == bindparam("server"))
    .values(sealing=bindparam("number"), checks=bindparam("held", type_=Json), told_at=bindparam("now"))
)
ADD_RING = insert(rings)
FORGET_OTHERS = delete(rings).where(rings.c.server_id != bindparam("server"))
FORGET_RINGS = delete(rings).where(rings.c.told_at < bindparam("before"))


class SealedColumn:
    """A column whose values `KeyRing.seal` made; `identity` gives, from a row's key, what each was sealed for."""

    def __init__(self, table: Table, column: str, identity: Callable[[Row[Any]], str]) -> None:
        self.column = table.c[column]
        self.identity = identity
        self._keys = keys = list(table.primary_key)
        self._first = select(*keys, self.column.label("sealed")).order_by(*keys).limit(CHUNK)
        behind = tuple_(*keys) > tuple_(*(bindparam(f"after_{key.name}", type_=key.type) for key in keys))
        self._following = self._first.where(behind)
        this = (key == bindparam(f"of_{key.name}", type_=key.type) for key in keys)
        unchanged = self.column == bindparam("sealed", type_=LargeBinary)
        self._replace = update(table).where(*this, unchanged).values({self.column: bindparam("fresh")})

    def rewrap(self, call: Call, after: Sequence[Any] | None) -> tuple[Sequence[Any] | None, int]:
        """Seal the next 200 values with the key in use: the key of the last row, None at the end, and how many."""
        if after is None:
            rows = call.db.all(self._first)
        else:
            named = {f"after_{key.name}": value for key, value in zip(self._keys, after, strict=True)}
            rows = call.db.all(self._following, **named)
        changes = []
        for row in rows:
            if row.sealed is not None and call.keys.needs_rewrap(row.sealed):
                identity = self.identity(row)
                fresh = call.keys.seal(call.keys.open(row.sealed, identity), identity)
                named = {f"of_{key.name}": value for key, value in zip(self._keys, row, strict=False)}
                changes.append({**named, "sealed": row.sealed, "fresh": fresh})
        call.db.run(self._replace, changes)
        return (list(rows[-1][:-1]) if len(rows) == CHUNK else None), len(changes)


def begin(call: Call, _: Any = None) -> int:
    """Entry: the number of the key in use; KeyFault if this ring has not the same."""
    row = call.db.first(STATE)
    if row is None:
        newest = call.keys.newest
        first = {"name": RING, "sealing": newest, "check_value": call.keys.checks[newest], "wanted": 0}
        call.db.run(ADD_STATE, {**first, "rotated_at": call.now, "rewrapped_at": call.now, "retire_at": None})
        return newest
    number: int = row.sealing
    if call.keys.checks.get(number) != row.check_value:
        raise KeyFault(
            f"this ring is not the one that rows were sealed with: master key {number} is another or missing"
        )
    return number


def state_of(call: Call, _: Any = None) -> Row[Any]:
    """Entry: the one row."""
    row = call.db.first(STATE)
    if row is None:
        raise KeyFault("no server has begun on this store")
    return row


def report(call: Call, server_id: str) -> None:
    """Entry: which keys this server holds, and which one it seals with."""
    held = {str(number): check for number, check in call.keys.checks.items()}
    told = {"server": server_id, "number": call.keys.sealing, "held": held, "now": call.now}
    if not call.db.run(TELL, told):
        row = {"server_id": server_id, "sealing": call.keys.sealing, "checks": held, "told_at": call.now}
        call.db.run(ADD_RING, row)
    call.db.run(FORGET_RINGS, {"before": call.now - FORGOTTEN})
    jobs.nudge(call, ROTATION, RING)


def alone(call: Call, server_id: str) -> None:
    """Entry: there can be no other server, so what others told counts no more."""
    call.db.run(FORGET_OTHERS, {"server": server_id})


def rotate(call: Call) -> None:
    """Have a new key come into use; while one is on its way, or rows are being wrapped anew, nothing more.

    A ring that comes from a program is waited for until the program gives the key of that number.
    """
    row = state_of(call)
    if row.wanted or row.rewrapped_at is None:
        return
    newest = call.keys.newest
    number = newest if newest > row.sealing else newest + 1
    call.db.run(WANT, {"number": number})
    jobs.start(call, ROTATION, RING, {"number": number})


def retire(call: Call, *, at_once: bool) -> None:
    """Have the keys before the one in use removed, once no row and, unless `at_once`, no token needs them."""
    row = state_of(call)
    if _ring_is_external(call):
        raise ValidationException(
            "The key ring comes from a program of yours: let it give older keys no more, 36 hours after RewrappedAt."
        )
    if min(call.keys.checks) >= row.sealing:
        return
    at = call.now if at_once else row.retire_at or max(call.now, row.rotated_at + LONGEST_TOKEN)
    call.db.run(RETIRE_AT, {"at": at})
    if row.retire_at is None:
        jobs.start(call, RETIREMENT, RING, {"keep": row.sealing}, due_at=at)
    else:
        jobs.nudge(call, RETIREMENT, RING)


def describe(call: Call) -> dict[str, Any]:
    """How the ring stands, in our API's words."""
    row = state_of(call)
    shown: dict[str, Any] = {"InUse": row.sealing, "RotatedAt": row.rotated_at}
    if row.wanted:
        shown["Wanted"] = row.wanted
        shown["WaitingFor"] = _without(call, row.wanted)
    for name, value in (("RewrappedAt", row.rewrapped_at), ("RetireAt", row.retire_at)):
        if value is not None:
            shown[name] = value
    told = _told(call)
    shown["Servers"] = [
        {"ServerId": server_id, "InUse": ring.sealing, "Keys": sorted(int(number) for number in ring.checks)}
        for server_id, ring in told.items()
        if ring is not None
    ]
    return shown


def rotation(call: Call, job: Job, sealed: Sequence[SealedColumn]) -> Next:
    """Job: one step of a rotation to key `number`."""
    number: int = job.state["number"]
    later = call.now + LOOK_AGAIN
    if job.step == "start" and number not in call.keys.checks and not _ring_is_external(call):
        return Next("spread", job.state, effects=[AddMasterKey(number)])
    if job.step in ("start", "spread"):
        call.wake(TOPIC)
        if _without(call, number):
            return Next("spread", job.state, due_at=later)
        call.db.run(SEAL_WITH, {"number": number, "check": call.keys.checks[number], "now": call.now})
        return Next("follow", job.state, due_at=later)
    if job.step == "follow":
        call.wake(TOPIC)
        if any(ring is None or ring.sealing != number for ring in _told(call).values()):
            return Next("follow", job.state, due_at=later)
        return Next("rewrap", job.state)
    following = _pass(call, job, sealed)
    if following is None:
        call.db.run(REWRAPPED, {"now": call.now})
        return DONE
    return following


def retirement(call: Call, job: Job, sealed: Sequence[SealedColumn]) -> Next:
    """Job: remove keys with lower numbers than `keep`, after a last look whether a row needs them."""
    row = state_of(call)
    if job.step == "dropped":
        call.db.run(RETIRE_AT, {"at": None})
        call.wake(TOPIC)
        return DONE
    if job.step == "start":
        if row.wanted or row.rewrapped_at is None:
            return Next("start", job.state, due_at=call.now + LOOK_AGAIN)
        if row.retire_at is not None and row.retire_at > call.now:
            return Next("start", job.state, due_at=row.retire_at)
        return Next("rewrap", job.state)
    return _pass(call, job, sealed) or Next("dropped", effects=[DropMasterKeys(job.state["keep"])])


def _pass(call: Call, job: Job, sealed: Sequence[SealedColumn]) -> Next | None:
    """One chunk of a pass over all sealed columns; None when a whole pass found nothing to wrap anew."""
    index, changed = job.state.get("column", 0), job.state.get("changed", 0)
    if call.keys.sealing != state_of(call).sealing:
        return Next("rewrap", job.state, due_at=call.now + LOOK_AGAIN)
    after, number = sealed[index].rewrap(call, job.state.get("after"))
    changed += number
    if after is None:
        index += 1
    if index == len(sealed):
        if not changed:
            return None
        index, changed = 0, 0
    return Next("rewrap", {**job.state, "column": index, "after": after, "changed": changed})


def _told(call: Call) -> Mapping[str, Row[Any] | None]:
    """What every living server told of its ring; None: nothing yet."""
    reports = {row.server_id: row for row in call.db.all(RINGS)}
    starting = {server_id for server_id, row in reports.items() if row.told_at > call.now - STARTING}
    return {server_id: reports.get(server_id) for server_id in sorted({*presence.living(call), *starting})}


def _without(call: Call, number: int) -> list[str]:
    """The living servers that have not loaded the key, or another of the same number."""
    ours = call.keys.checks.get(number)
    if ours is None:
        return sorted(_told(call))
    return [
        server_id for server_id, ring in _told(call).items() if ring is None or ring.checks.get(str(number)) != ours
    ]


def _ring_is_external(call: Call) -> bool:
    return ring_file(call.settings.data, call.settings.keys) is None
