"""Ending: requests that nobody answered and access whose time is over; what is kept of them, and how long."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import bindparam, select

from fleetward.server.call import Call
from fleetward.server.iam import principals
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.just_in_time_access import table
from fleetward.server.ssm.just_in_time_access.table import Status, requests

AT_ONCE = 200
_OPEN = requests.c.status.in_([each.value for each in table.OPEN])
DUE_TENANTS = (
    select(requests.c.account_id, requests.c.region).where(_OPEN, requests.c.due_at <= bindparam("now")).distinct()
)
DUE = (
    select(requests)
    .where(*in_tenant(requests), _OPEN, requests.c.due_at <= bindparam("now"))
    .order_by(requests.c.due_at)
    .limit(AT_ONCE)
    .with_for_update()
)
OLD = (
    select(*table.KEY)
    .where(requests.c.created_at < bindparam("before"), ~_OPEN)
    .order_by(requests.c.created_at)
    .limit(AT_ONCE)
)


@ssm.timer(every=timedelta(seconds=5), due=DUE_TENANTS)
def expire(call: Call) -> bool:
    """Write down what time has ended; True while there may be more."""
    rows = call.db.all(DUE, **call.here, now=call.now)
    for row in rows:
        table.move(call, row, Status.EXPIRED, ended=row.due_at)
    if any(row.end_sessions for row in rows):
        principals.changed(call)
    return len(rows) == AT_ONCE


@ssm.timer(every=timedelta(hours=1))
def forget(call: Call) -> bool:
    """Forget requests as the audit trail does, after `keep_audit` days; True while there may be more."""
    rows = call.db.all(OLD, before=call.now - timedelta(days=call.settings.keep_audit))
    gone = [tuple(row) for row in rows]
    if gone:
        call.db.run(table.FORGET_ANSWERS, {"gone": gone})
        call.db.run(table.FORGET, {"gone": gone})
    return len(gone) == AT_ONCE
