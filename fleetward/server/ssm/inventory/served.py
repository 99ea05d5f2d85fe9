"""The types that the server fills itself: what nodes are and their tags, as rows of an inventory type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from fleetward.server.call import Call
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import nodes, tags
from fleetward.server.ssm.inventory.table import members
from fleetward.server.ssm.inventory.types import INFORMATION, TAG

ACTIVE, LOST, TERMINATED = "Active", "ConnectionLost", "Terminated"

_COLUMNS = {
    "AgentType": "agent_name",
    "AgentVersion": "agent_version",
    "ComputerName": "computer_name",
    "IpAddress": "ip_address",
    "PlatformName": "platform_name",
    "PlatformType": "platform_type",
    "PlatformVersion": "platform_version",
}
ALL_MEMBERS = select(members).where(*in_tenant(members))
GONE_MEMBERS = ALL_MEMBERS.where(members.c.forget_at.is_not(None))

Rows = Mapping[str, Sequence[Mapping[str, str]]]


def rows(call: Call, type_name: str, node_ids: Sequence[str] | None = None) -> Rows:
    """The rows of a type by node: of these nodes, or of every one that has any."""
    if type_name == INFORMATION:
        return _information(call, node_ids)
    if type_name == TAG:
        found = tags.every(call, nodes.RESOURCE_TYPE) if node_ids is None else None
        if found is None:
            found = tags.of(call, nodes.RESOURCE_TYPE, node_ids or ())
        return {
            node_id: [{"Key": key, "Value": content[key]} for key in sorted(content)]
            for node_id, content in found.items()
        }
    return {}


def _information(call: Call, node_ids: Sequence[str] | None) -> Rows:
    present = nodes.every(call) if node_ids is None else nodes.known(call, node_ids)
    status = nodes.statuses(call, present)
    found = {
        row.node_id: [_facts(dict(row._mapping), ACTIVE if status[row.node_id] == "Online" else LOST)]
        for row in present
    }
    for row in _gone(call, node_ids):
        found.setdefault(row.node_id, [_facts({"node_id": row.node_id, **row.facts}, TERMINATED)])
    return found


def _gone(call: Call, node_ids: Sequence[str] | None) -> Iterable[Any]:
    wanted = None if node_ids is None else set(node_ids)
    return (row for row in call.db.all(GONE_MEMBERS, **call.here) if wanted is None or row.node_id in wanted)


def _facts(row: Mapping[str, Any], status: str) -> dict[str, str]:
    told = {name: row[column] for name, column in _COLUMNS.items() if row.get(column)}
    return {"InstanceId": row["node_id"], "InstanceStatus": status, "ResourceType": nodes.RESOURCE_TYPE, **told}
