"""Reverts: a node that was set back to an earlier state must not run again what it ran since."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import BigInteger, Column, String, Table, bindparam, delete, insert, select, update

from fleetward.protocol.control_channel import job_id
from fleetward.protocol.status import InvocationStatus
from fleetward.server import mailbox
from fleetward.server.call import Call
from fleetward.server.schema import in_tenant, metadata, tenant
from fleetward.server.ssm import nodes, ssm
from fleetward.server.ssm.run_command import release

sequences = Table(
    "run_command_sequences",
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("confirmed", BigInteger, nullable=False),  # how many commands our agent there has said it accepted
)

_NODE = (*in_tenant(sequences), sequences.c.node_id == bindparam("node"))
CONFIRMED = select(sequences.c.confirmed).where(*_NODE)
ADD = insert(sequences)
RAISE = (
    update(sequences).where(*_NODE, sequences.c.confirmed < bindparam("number")).values(confirmed=bindparam("number"))
)
FORGET = delete(sequences).where(*_NODE)


def confirm(call: Call, node_id: str, sequence: int) -> int:
    """How many commands the node is known to have accepted, `sequence` included.

    If those are more than it says, it was set back: what was sent to it and has not ended may have run, and ends
    Undeliverable; what was never sent goes out as usual.
    """
    key = {**call.here, "node": node_id}
    known = call.db.value(CONFIRMED, **key)
    if known is None:
        call.db.run(ADD, {**call.tenant, "node_id": node_id, "confirmed": sequence})
        return sequence
    if known <= sequence:
        call.db.run(RAISE, {**key, "number": sequence})
        return sequence
    rows = call.db.all(release.UNFINISHED_OF_NODE, **key)
    sent = [
        row
        for row in rows
        if row.status not in release.OPEN or mailbox.was_sent(call, node_id, job_id(row.command_id, node_id))
    ]
    release.end_unanswered(call, sent, InvocationStatus.UNDELIVERABLE)
    return int(known)


def learn(call: Call, told: Mapping[str, int]) -> None:
    """What replies say: node -> number of the command in its journal."""
    named = call.here
    call.db.run(RAISE, [{**named, "node": node_id, "number": number} for node_id, number in sorted(told.items())])


@ssm.reaction(nodes.NodeLeft)
def node_left(call: Call, event: nodes.NodeLeft) -> None:
    """The node is gone."""
    call.db.run(FORGET, {**call.here, "node": event.node_id})
