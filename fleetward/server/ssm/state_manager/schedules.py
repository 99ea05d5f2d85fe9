"""Schedules: associations that are due begin to run, found by index and once, whatever the number of servers."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import bindparam, select

from fleetward.server.call import Call
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.state_manager import associations, executions, table
from fleetward.server.ssm.state_manager import definition as definitions
from fleetward.server.ssm.state_manager.executions import Cause

CHUNK = 20

DUE_TENANTS = (
    select(table.associations.c.account_id, table.associations.c.region)
    .where(table.associations.c.due_at <= bindparam("now"))
    .distinct()
)
DUE = (
    select(table.associations.c.association_id)
    .where(*in_tenant(table.associations), table.associations.c.due_at <= bindparam("now"))
    .order_by(table.associations.c.due_at)
    .limit(CHUNK)
)


@ssm.timer(every=timedelta(seconds=1), due=DUE_TENANTS)
def begin_due(call: Call) -> bool:
    """Run what is due; of what was missed meanwhile, the latest alone. True while there are more."""
    found = call.db.values(DUE, **call.here, now=call.now)
    for row in table.lock(call, found).values():
        if row.due_at is None or row.due_at > call.now:
            continue
        due = definitions.due_after(row.definition, row.association_id, row.updated_at, call.now)
        associations.remember_due(call, row.association_id, due)
        executions.begin(call, row.association_id, Cause.SCHEDULE)
    return len(found) == CHUNK
