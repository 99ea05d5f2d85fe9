"""Live targets: nodes that come to be targets run an association at once, those that cease to be do not any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, select, true

from fleetward.server import jobs
from fleetward.server.call import Call
from fleetward.server.jobs import DONE, Job, Next
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import nodes, run_command, ssm, tags
from fleetward.server.ssm.state_manager import executions, releases, table
from fleetward.server.ssm.state_manager.executions import Cause
from fleetward.server.ssm.state_manager.table import Overview

CHUNK = 25

LIVE = (
    select(table.associations.c.association_id, table.associations.c.definition)
    .where(
        *in_tenant(table.associations),
        table.associations.c.live == true(),
        table.associations.c.association_id > bindparam("after"),
    )
    .order_by(table.associations.c.association_id)
    .limit(CHUNK)
)
REMOVE = delete(table.releases).where(*table.THIS_RELEASE)
OF_NODE = (
    select(table.releases.c.association_id)
    .where(*in_tenant(table.releases), table.releases.c.node_id == bindparam("node"))
    .order_by(table.releases.c.association_id)
    .limit(CHUNK)
)


@ssm.reaction(nodes.NodeJoined)
def joined(call: Call, event: nodes.NodeJoined) -> None:
    """A new node may be a target."""
    jobs.start(call, executions.LOOK_AT_NODE, event.node_id, {"after": ""})


@ssm.reaction(tags.TagsChanged)
def retagged(call: Call, event: tags.TagsChanged) -> None:
    """A node may have become a target, or none."""
    if event.resource_type == nodes.RESOURCE_TYPE:
        jobs.start(call, executions.LOOK_AT_NODE, event.resource_id, {"after": ""})


@ssm.job(executions.LOOK_AT_NODE)
def look(call: Call, job: Job) -> Next:
    """Hold a node against the associations whose targets may come and go, some at a time."""
    node_id = job.key
    if not nodes.exists(call, node_id):
        return DONE
    rows = call.db.all(LIVE, **call.here, after=job.state["after"])
    ids = [row.association_id for row in rows]
    known = {each.association_id for each in call.db.all(table.OF_PAIRS, **call.here, nodes=[node_id], ids=ids)}
    for row in rows:
        fits = nodes.is_target(call, row.definition["Targets"], node_id)
        if fits and row.association_id not in known and runs_at_once(row.definition):
            executions.begin(call, row.association_id, Cause.TARGET, [node_id])
        elif not fits and row.association_id in known:
            leave(call, node_id, row.association_id)
    return Next("start", {"after": ids[-1]}) if len(rows) == CHUNK else DONE


@ssm.reaction(nodes.NodeLeft)
def left(call: Call, event: nodes.NodeLeft) -> None:
    """A node is gone, and with it how associations stood there."""
    jobs.start(call, "association-node-left", event.node_id, {})


@ssm.job("association-node-left")
def forget_node(call: Call, job: Job) -> Next:
    """Remove a node's rows, some at a time."""
    found = call.db.values(OF_NODE, **call.here, node=job.key)
    for association_id in found:
        leave(call, job.key, association_id)
    return Next("start", {}) if len(found) == CHUNK else DONE


def leave(call: Call, node_id: str, association_id: str) -> None:
    """A node is no target any more: what it has not begun is cancelled, and it counts no longer."""
    pair: Mapping[str, Any] = {"nodes": [node_id], "ids": [association_id]}
    row = call.db.first(table.OF_PAIRS, **call.here, **pair)
    if row is None:
        return
    for command_id in releases.commands_of([row]):
        run_command.commands.cancel_on(call, command_id, [node_id])
    association = table.lock(call, [association_id]).get(association_id)
    call.db.run(REMOVE, table.key(call, association_id, node=node_id))
    releases.take_back(call, [row])
    if association is not None:
        overview = Overview(association)
        overview.move(row.detailed_status, None)
        overview.store(call)


def runs_at_once(definition: Mapping[str, Any]) -> bool:
    """Whether a node that becomes a target runs it without waiting for the schedule."""
    return not definition.get("ApplyOnlyAtCronInterval", False)
