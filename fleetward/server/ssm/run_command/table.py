"""The rows of Run Command, and the rules for their counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Row, String, Table, Text, bindparam, select, update

from fleetward.protocol.status import CommandStatus, InvocationStatus, counts_as_error, is_terminal, roll_up_command
from fleetward.server.call import Call
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, tenant

commands = Table(
    "run_command_commands",
    metadata,
    *tenant(),
    Column("command_id", String(36), primary_key=True),
    Column("document_name", String(128), nullable=False),
    Column("document_version", String(16), nullable=False),
    Column("platform_types", Json, nullable=False),
    Column("step_count", Integer, nullable=False),
    Column("options", Json, nullable=False),  # comment, parameters, targets … as asked, AWS's names
    Column("content", Text, nullable=False),  # what nodes are sent
    Column("requested_at", UtcDateTime, nullable=False),
    Column("deliver_until", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("status", String(24), nullable=False),  # CommandStatus: AWS's StatusDetails
    Column("resolved", Boolean, nullable=False, default=False),  # all invocations exist
    Column("cancelled", Boolean, nullable=False, default=False),
    Column("target_count", Integer, nullable=False, default=0),
    Column("released_count", Integer, nullable=False, default=0),
    Column("concurrency_limit", Integer, nullable=False, default=1),
    Column("error_limit", Integer, nullable=False, default=0),
    Column("ended", Json, nullable=False),  # how many invocations ended how: InvocationStatus -> number
    Column("ended_released", Integer, nullable=False, default=0),  # of those that were released
    Column("caller_arn", Text, nullable=False, default=""),
    Column("carrier", String(16)),  # the capability by which nodes hear of it; null: this one
    Index("run_command_commands_newest", "account_id", "region", "requested_at", "command_id"),
)

invocations = Table(
    "run_command_invocations",
    metadata,
    *tenant(),
    Column("command_id", String(36), primary_key=True),
    Column("node_id", String(40), primary_key=True),
    Column("node_name", String(256), nullable=False, default=""),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("released_at", UtcDateTime),  # null: not yet released to its node
    Column("status", String(24), nullable=False),  # InvocationStatus
    Column("steps", Json, nullable=False),  # step name -> what the node reported
    Column("trace", Text, nullable=False, default=""),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("due_at", UtcDateTime),  # when its time is over; null once it ended
    Index("run_command_invocations_node", "account_id", "region", "node_id", "requested_at", "command_id"),
    Index("run_command_invocations_newest", "account_id", "region", "requested_at", "command_id", "node_id"),
    Index("run_command_invocations_due", "due_at"),
    Index("run_command_invocations_waiting", "account_id", "region", "command_id", "released_at", "node_id"),
)

outputs = Table(
    "run_command_outputs",
    metadata,
    *tenant(),
    Column("command_id", String(36), primary_key=True),
    Column("node_id", String(40), primary_key=True),
    Column("step", String(128), primary_key=True),
    Column("stream", String(6), primary_key=True),
    Column("object_key", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("stored_at", UtcDateTime, nullable=False),
    Index("run_command_outputs_at", "stored_at"),
)

halts = Table(
    "run_command_halts",
    metadata,
    *tenant(),
    Column("since", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("caller_arn", Text, nullable=False),
)

THIS_COMMAND = (*in_tenant(commands), commands.c.command_id == bindparam("command"))
COMMAND = select(commands).where(*THIS_COMMAND)
LOCK_COMMANDS = (
    select(commands)
    .where(*in_tenant(commands), commands.c.command_id.in_(bindparam("ids", expanding=True)))
    .order_by(commands.c.command_id)
    .with_for_update()
)
COUNT = (
    update(commands)
    .where(*THIS_COMMAND)
    .values(
        status=bindparam("to_status"),
        ended=bindparam("to_ended", type_=Json),
        ended_released=bindparam("to_ended_released"),
        released_count=bindparam("to_released"),
    )
)
THIS_INVOCATION = (
    *in_tenant(invocations),
    invocations.c.command_id == bindparam("command"),
    invocations.c.node_id == bindparam("node"),
)
INVOCATION = select(invocations).where(*THIS_INVOCATION)
AMONG = select(invocations).where(
    *in_tenant(invocations),
    invocations.c.command_id.in_(bindparam("ids", expanding=True)),
    invocations.c.node_id.in_(bindparam("nodes", expanding=True)),
)
RECORD = (
    update(invocations)
    .where(*THIS_INVOCATION)
    .values(
        status=bindparam("to_status"),
        steps=bindparam("to_steps", type_=Json),
        trace=bindparam("to_trace"),
        started_at=bindparam("started"),
        ended_at=bindparam("ended"),
        due_at=bindparam("due"),
    )
)
"""What a node told of its part."""
END_INVOCATION = (
    update(invocations)
    .where(*THIS_INVOCATION)
    .values(status=bindparam("to_status"), ended_at=bindparam("now"), due_at=None)
)


@dataclass(frozen=True, slots=True)
class InvocationsReleased:
    """Event: another capability's command may go to these nodes now; the capability tells them."""

    carrier: str
    command_id: str
    node_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InvocationsEnded:
    """Event: the server itself ended these nodes' part in another capability's command."""

    carrier: str
    command_id: str
    node_ids: tuple[str, ...]
    status: InvocationStatus


def key(call: Call, command_id: str, node_id: str | None = None) -> dict[str, str]:
    """The bind values of one command or one invocation."""
    found = {**call.here, "command": command_id}
    return found if node_id is None else {**found, "node": node_id}


def lock(call: Call, command_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The rows of commands, locked in one order so that entries never wait for each other in a circle."""
    ids = sorted(set(command_ids))
    if not ids:
        return {}
    rows = call.db.all(LOCK_COMMANDS, **call.here, ids=ids)
    return {row.command_id: row for row in rows}


class Tally:
    """A command's counters while an entry changes them; `store` writes them and the status that follows."""

    def __init__(self, row: Row[Any]) -> None:
        self.row = row
        self.ended: dict[str, int] = dict(row.ended)
        self.ended_released: int = row.ended_released
        self.released: int = row.released_count
        self.target_count: int = row.target_count
        self.resolved: bool = row.resolved
        self.cancelled: bool = row.cancelled
        self.concurrency: int = row.concurrency_limit
        self.error_limit: int = row.error_limit
        self.touched: bool = row.status != CommandStatus.PENDING

    @property
    def errors(self) -> int:
        """Ended invocations that count to MaxErrors."""
        return sum(number for status, number in self.ended.items() if counts_as_error(InvocationStatus(status)))

    @property
    def ended_total(self) -> int:
        """Invocations that ended, however."""
        return sum(self.ended.values())

    @property
    def running(self) -> int:
        """Released and not ended."""
        return self.released - self.ended_released

    @property
    def waiting(self) -> int:
        """Neither released nor ended."""
        return self.target_count - self.released - (self.ended_total - self.ended_released)

    @property
    def stopped(self) -> bool:
        """Too many errors: nothing more is released."""
        return self.errors > self.error_limit

    def end(self, status: InvocationStatus, *, released: bool, number: int = 1) -> None:
        """Count invocations that ended."""
        self.ended[status.value] = self.ended.get(status.value, 0) + number
        if released:
            self.ended_released += number

    def status(self) -> CommandStatus:
        """The command's status by its counters."""
        if self.resolved and self.ended_total >= self.target_count:
            counts: Mapping[InvocationStatus, int] = {InvocationStatus(s): n for s, n in self.ended.items()}
            return roll_up_command(counts, cancelled=self.cancelled, max_errors=self.error_limit)
        if self.cancelled:
            return CommandStatus.CANCELLING
        return CommandStatus.IN_PROGRESS if self.touched or self.ended_total else CommandStatus.PENDING

    def store(self, call: Call) -> CommandStatus:
        """Write the counters; returns the status."""
        status = self.status()
        call.db.run(
            COUNT,
            {
                **key(call, self.row.command_id),
                "to_status": status.value,
                "to_ended": self.ended,
                "to_ended_released": self.ended_released,
                "to_released": self.released,
            },
        )
        return status


def is_over(status: str) -> bool:
    """Whether a stored invocation status is terminal."""
    return is_terminal(InvocationStatus(status))


def end_invocations(call: Call, ends: Sequence[tuple[str, str, InvocationStatus]]) -> None:
    """Close invocations `(command_id, node_id, status)` that the server itself ends."""
    call.db.run(
        END_INVOCATION,
        [
            {**key(call, command_id, node_id), "to_status": status.value, "now": call.now}
            for command_id, node_id, status in ends
        ],
    )
