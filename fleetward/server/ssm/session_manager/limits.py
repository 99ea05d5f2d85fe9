"""Limits: when a session is over although nobody ended it. Pure but for the timer that looks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, case, or_, select, update

from fleetward.protocol.status import SessionStatus
from fleetward.server import presence
from fleetward.server.call import Call
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.session_manager import table
from fleetward.server.ssm.session_manager.ending import end
from fleetward.server.ssm.session_manager.table import sessions

NODE_COMES_WITHIN = timedelta(seconds=30)
"""The node's end of a new session opens in so much time, or the session has failed."""
CLIENT_COMES_WITHIN = timedelta(minutes=5)
AT_ONCE = 200

OVERDUE_TENANTS = (
    select(sessions.c.account_id, sessions.c.region).where(sessions.c.due_at <= bindparam("now")).distinct()
)
OVERDUE = (
    select(sessions)
    .where(*in_tenant(sessions), sessions.c.due_at <= bindparam("now"))
    .order_by(sessions.c.due_at)
    .limit(AT_ONCE)
    .with_for_update()
)
LATER = update(sessions).where(*table.THIS).values(due_at=bindparam("at"))
_CONNECTED = sessions.c.status == SessionStatus.CONNECTED.value
_GOES_ON = sessions.c.due_at.is_not(None)
OPEN_TENANTS = (
    select(sessions.c.account_id, sessions.c.region)
    .where(_GOES_ON, sessions.c.started_at <= bindparam("now"))
    .distinct()
)
NODES_LEFT_BEHIND = (
    update(sessions)
    .where(
        *in_tenant(sessions),
        _GOES_ON,
        sessions.c.node_left_at.is_(None),
        or_(sessions.c.node_server.is_(None), sessions.c.node_server.not_in(bindparam("living", expanding=True))),
    )
    .values(node_left_at=bindparam("now"), due_at=bindparam("now"))
)
CLIENTS_LEFT_BEHIND = (
    update(sessions)
    .where(
        *in_tenant(sessions),
        _GOES_ON,
        sessions.c.client_left_at.is_(None),
        or_(sessions.c.client_server.is_(None), sessions.c.client_server.not_in(bindparam("living", expanding=True))),
    )
    .values(
        client_left_at=bindparam("now"),
        due_at=bindparam("now"),
        status=case((_CONNECTED, SessionStatus.DISCONNECTED.value), else_=sessions.c.status),
    )
)


class Limit(NamedTuple):
    """A moment at which a session ends, how, and what its client and its history are told."""

    at: datetime
    status: SessionStatus
    text: str


def first_limit(row: Any, resume_within: timedelta) -> Limit | None:
    """The limit that a session reaches first as it stands; None: it may go on for ever.

    `resume_within` is how long an end that was there may be away.
    """
    return min(_limits(row, resume_within), default=None)


def _limits(row: Any, resume_within: timedelta) -> Iterator[Limit]:
    if row.node_left_at is not None:
        if row.node_epoch == 0:
            text = "The node did not open its end of the session in time."
            yield Limit(row.node_left_at + NODE_COMES_WITHIN, SessionStatus.FAILED, text)
        else:
            text = "The connection of the node was lost and did not come back."
            yield Limit(row.node_left_at + resume_within, SessionStatus.TERMINATED, text)
    if row.client_left_at is not None:
        within = resume_within if row.client_epoch else CLIENT_COMES_WITHIN
        text = "The client went away and did not come back."
        yield Limit(row.client_left_at + within, SessionStatus.TERMINATED, text)
    if row.idle_minutes is not None:
        text = "Session timed out: there was no input or output."
        yield Limit(row.active_at + timedelta(minutes=row.idle_minutes), SessionStatus.TERMINATED, text)
    if row.max_duration:
        text = "Session timed out: it reached its maximum duration."
        yield Limit(row.started_at + timedelta(minutes=int(row.max_duration)), SessionStatus.TERMINATED, text)


def resume_within(call: Call) -> timedelta:
    """How long an end of a session may be away."""
    return timedelta(seconds=call.settings.session_resume)


def due_at(call: Call, row: Any) -> datetime:
    """When somebody has to look at a session as it stands: never None, by which those are known that have ended."""
    limit = first_limit(row, resume_within(call))
    return call.now + timedelta(days=1) if limit is None else limit.at


@ssm.timer(every=timedelta(seconds=2), due=OVERDUE_TENANTS)
def end_overdue(call: Call) -> bool:
    """End the sessions that reached a limit; True while there are more to look at."""
    overdue = call.db.all(OVERDUE, **call.here, now=call.now)
    for row in overdue:
        _look(call, row)
    return len(overdue) == AT_ONCE


def _look(call: Call, row: Row[Any]) -> None:
    limit = first_limit(row, resume_within(call))
    if limit is None or limit.at > call.now:
        call.db.run(LATER, {**table.these(call, row.session_id), "at": due_at(call, row)})
    else:
        end(call, row, limit.status, limit.text)


@ssm.timer(every=timedelta(seconds=5), due=OPEN_TENANTS)
def find_left_behind(call: Call) -> None:
    """The ends that a dead server held are away; whoever held them opens them anew, or a limit ends the session."""
    living = list(presence.living(call))
    call.db.run(NODES_LEFT_BEHIND, {**call.here, "living": living, "now": call.now})
    call.db.run(CLIENTS_LEFT_BEHIND, {**call.here, "living": living, "now": call.now})
