"""Groups: associations whose targets are a resource group follow what is in it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, bindparam, select

from fleetward.server import jobs
from fleetward.server.call import Call
from fleetward.server.jobs import DONE, Job, Next
from fleetward.server.resource_groups import GroupChanged
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import nodes, ssm
from fleetward.server.ssm.state_manager import executions, live_targets, table
from fleetward.server.ssm.state_manager.executions import Cause

COMING, LEAVING = 100, 20
"""Nodes that one step looks at: whether they run the association, and whether they are its targets still."""

RUNNING_IT = (
    select(table.releases.c.node_id)
    .where(
        *in_tenant(table.releases),
        table.releases.c.association_id == bindparam("association"),
        table.releases.c.node_id > bindparam("after"),
    )
    .order_by(table.releases.c.node_id)
    .limit(LEAVING)
)


@ssm.reaction(GroupChanged)
def changed(call: Call, event: GroupChanged) -> None:
    """A group has other resources, another query, or is gone."""
    jobs.start(call, "association-group", event.name, {"association": ""})


@ssm.job("association-group")
def look(call: Call, job: Job) -> Next:
    """Hold one association of the group after the other against the nodes that it means now."""
    state = job.state
    if job.step == "start":
        rows = call.db.all(live_targets.LIVE, **call.here, after=state["association"])
        found = next((row for row in rows if _is_of(row, job.key)), None)
        if found is not None:
            return Next("come", {"association": found.association_id, "node": ""})
        return Next("start", {"association": rows[-1].association_id}) if len(rows) == live_targets.CHUNK else DONE
    row = call.db.first(table.FIND, **table.key(call, state["association"]))
    if row is None:
        return Next("start", {"association": state["association"]})
    return _come(call, row, state["node"]) if job.step == "come" else _go(call, row, state["node"])


def _is_of(row: Row[Any], name: str) -> bool:
    return any(each["Key"] == nodes.GROUP and name in each["Values"] for each in row.definition["Targets"])


def _come(call: Call, row: Row[Any], after: str) -> Next:
    """Nodes that have become targets run the association."""
    ids = [each.node_id for each in nodes.select(call, row.definition["Targets"], after, COMING)]
    pairs = {"nodes": ids, "ids": [row.association_id]}
    known = {each.node_id for each in call.db.all(table.OF_PAIRS, **call.here, **pairs)}
    new = [node_id for node_id in ids if node_id not in known]
    if new and live_targets.runs_at_once(row.definition):
        executions.begin(call, row.association_id, Cause.TARGET, new)
    following = ("come", ids[-1]) if len(ids) == COMING else ("go", "")
    return Next(following[0], {"association": row.association_id, "node": following[1]})


def _go(call: Call, row: Row[Any], after: str) -> Next:
    """Nodes that have ceased to be targets do not run it any more."""
    ids = call.db.values(RUNNING_IT, **table.key(call, row.association_id, after=after))
    for node_id in ids:
        if not nodes.is_target(call, row.definition["Targets"], node_id):
            live_targets.leave(call, node_id, row.association_id)
    if len(ids) == LEAVING:
        return Next("go", {"association": row.association_id, "node": ids[-1]})
    return Next("start", {"association": row.association_id})
