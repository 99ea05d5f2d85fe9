"""Heartbeats: what nodes tell about themselves every few minutes, taken a thousand at a time.

A heartbeat that tells nothing new costs one narrow row. The first one after a node's start is nearly empty, so what
is left out or empty never wipes what is known.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Row, bindparam, select, update

from fleetward.server.call import Call, Resource, Sent
from fleetward.server.errors import AccessDeniedException
from fleetward.server.schema import in_tenant
from fleetward.server.service import BATCH
from fleetward.server.ssm import ssm
from fleetward.server.ssm.nodes.table import HERE, arn, nodes, pings, scope, seen, unknown

FACTS = {
    "PlatformType": "platform_type",
    "PlatformName": "platform_name",
    "PlatformVersion": "platform_version",
    "AgentName": "agent_name",
    "AgentVersion": "agent_version",
    "IPAddress": "ip_address",
    "ComputerName": "computer_name",
    "AvailabilityZone": "availability_zone",
    "AvailabilityZoneId": "availability_zone_id",
    "SSMConnectionChannel": "channel",
}
"""The request's members and the columns they are kept in."""

NUMBER = re.compile(r"\d+")
NUMBER_WIDTH = 10

_MEMBERS = tuple(FACTS)
_COLUMNS = (*FACTS.values(), "agent_version_order", "platform_version_order")

TOLD = select(pings.c.node_id, pings.c.told).where(
    *in_tenant(pings), pings.c.node_id.in_(bindparam("node_ids", expanding=True))
)
REMEMBER_TOLD = (
    update(pings).where(*in_tenant(pings), pings.c.node_id == bindparam("node")).values(told=bindparam("hash_told"))
)
KNOWN = select(nodes.c.node_id, *(nodes.c[name] for name in _COLUMNS)).where(
    *HERE, nodes.c.node_id.in_(bindparam("node_ids", expanding=True))
)
LEARN = (
    update(nodes)
    .where(*HERE, nodes.c.node_id == bindparam("node"))
    .values({name: bindparam(f"new_{name}") for name in _COLUMNS})
)


def _told_about(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(arn(call, request["InstanceId"])),)


@ssm.operation("UpdateInstanceInformation", resources=_told_about, audience="node", together=BATCH)
def update_instance_information(call: Call, members: Sequence[Sent]) -> list[dict[str, Any] | Exception]:
    """Batch entry: nodes' heartbeats. A member that names another node than its caller, or one unknown, fails alone."""
    known = _told(call, {member.request["InstanceId"] for member in members})
    outputs: list[dict[str, Any] | Exception] = []
    heard_of: set[str] = set()
    news: dict[str, list[Mapping[str, Any]]] = {}
    for context, request in members:
        node_id = request["InstanceId"]
        if context.caller.node_id != node_id:
            outputs.append(AccessDeniedException(f"{context.caller.arn} may tell about itself only, not {node_id}"))
            continue
        if node_id not in known:
            outputs.append(unknown([node_id]))
            continue
        told = hash_of(request)
        if told != known[node_id]:
            news.setdefault(node_id, []).append(request)
            known[node_id] = told
        heard_of.add(node_id)
        outputs.append({})
    seen(call, heard_of)
    call.db.run(REMEMBER_TOLD, [scope(call, node=node_id, hash_told=known[node_id]) for node_id in sorted(news)])
    _learn(call, news)
    return outputs


def hash_of(request: Mapping[str, Any]) -> str:
    """A short hash of all that a heartbeat tells."""
    return hashlib.sha256(orjson.dumps([request.get(member) for member in _MEMBERS])).hexdigest()[:32]


def version_order(version: str | None) -> str | None:
    """A version whose text order is its order: every number padded to ten digits."""
    if version is None:
        return None
    return NUMBER.sub(lambda number: number.group().zfill(NUMBER_WIDTH), version)[:256]


def _told(call: Call, node_ids: set[str]) -> dict[str, str | None]:
    """Of those that are registered: the hash of what each told last."""
    rows = call.db.all(TOLD, **scope(call, node_ids=sorted(node_ids)))
    return {row.node_id: row.told for row in rows}


def _learn(call: Call, news: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    if not news:
        return
    learned = []
    for row in call.db.all(KNOWN, **scope(call, node_ids=sorted(news))):
        facts = _merged(row, news[row.node_id])
        if any(facts[name] != row._mapping[name] for name in _COLUMNS):
            learned.append(scope(call, node=row.node_id, **{f"new_{name}": facts[name] for name in _COLUMNS}))
    call.db.run(LEARN, sorted(learned, key=lambda each: str(each["node"])))


def _merged(row: Row[Any], requests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    facts = dict(row._mapping)
    for request in requests:
        for member, column in FACTS.items():
            if request.get(member):
                facts[column] = request[member]
    facts["agent_version_order"] = version_order(facts["agent_version"])
    facts["platform_version_order"] = version_order(facts["platform_version"])
    return facts
