"""Reported: what other capabilities tell of the commands that they carry to nodes by themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, bindparam, select

from fleetward.protocol.status import InvocationStatus, advance
from fleetward.server.call import Call
from fleetward.server.schema import in_tenant
from fleetward.server.ssm.run_command import release, table
from fleetward.server.ssm.run_command.table import Tally

COMMANDS = select(table.commands).where(
    *in_tenant(table.commands), table.commands.c.command_id.in_(bindparam("ids", expanding=True))
)
OF_COMMAND = (
    select(table.invocations)
    .where(
        *in_tenant(table.invocations),
        table.invocations.c.command_id == bindparam("command"),
        table.invocations.c.node_id > bindparam("after"),
    )
    .order_by(table.invocations.c.node_id)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class Report:
    """How a command stands on one node; `trace` is the node's summary, `steps` as in an invocation's row."""

    command_id: str
    node_id: str
    status: InvocationStatus
    trace: str = ""
    steps: Mapping[str, Any] | None = None


def record(call: Call, reports: Sequence[Report], *, grace: timedelta) -> None:
    """Apply reports in their order; repeats and late news change nothing.

    A node that has begun has its document's time and `grace` on top to tell the end.
    """
    rows = table.lock(call, (report.command_id for report in reports))
    nodes = list({report.node_id for report in reports})
    found = call.db.all(table.AMONG, **call.here, ids=list(rows), nodes=nodes) if rows else ()
    known = {(row.command_id, row.node_id): row for row in found}
    state = {pair: InvocationStatus(row.status) for pair, row in known.items()}
    changes: dict[tuple[str, str], Report] = {}
    for report in reports:
        pair = (report.command_id, report.node_id)
        if pair in state and advance(state[pair], report.status):
            state[pair] = report.status
            changes[pair] = report
    call.db.run(
        table.RECORD, [_change(call, known[pair], rows[pair[0]], told, grace) for pair, told in changes.items()]
    )
    by_command: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for pair in changes:
        by_command[pair[0]].append(pair)
    for command_id, pairs in by_command.items():
        tally = Tally(rows[command_id])
        tally.touched = True
        for pair in pairs:
            if table.is_over(state[pair]):
                tally.end(state[pair], released=known[pair].released_at is not None)
        release.proceed(call, tally)


def counters(call: Call, command_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The rows of commands, with their counters, by id."""
    ids = sorted(set(command_ids))
    return {row.command_id: row for row in call.db.all(COMMANDS, **call.here, ids=ids)} if ids else {}


def invocations_of(call: Call, command_id: str, after: str, most: int) -> Sequence[Row[Any]]:
    """A command's invocations in order of their nodes, behind `after`."""
    return call.db.all(OF_COMMAND, **table.key(call, command_id), after=after, most=most)


def _change(call: Call, row: Row[Any], command: Row[Any], told: Report, grace: timedelta) -> dict[str, Any]:
    over = table.is_over(told.status)
    return {
        **table.key(call, row.command_id, row.node_id),
        "to_status": told.status.value,
        "to_steps": dict(told.steps) if told.steps is not None else row.steps,
        "to_trace": told.trace or row.trace,
        "started": row.started_at or call.now,
        "ended": call.now if over else None,
        "due": None if over else call.now + (command.expires_at - command.deliver_until) + grace,
    }
