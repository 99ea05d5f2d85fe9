"""ListNodes and ListNodesSummary: the fleet as Systems Manager's start page shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, false, func, select, true

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import (
    InvalidAggregatorException,
    InvalidFilter,
    ResourceDataSyncNotFoundException,
)
from fleetward.server.ssm.nodes.filters import LOST, ONLINE, SOURCE_TYPE, Condition, on_column, on_ping_status, on_value
from fleetward.server.ssm.nodes.listing import PAGE, statuses
from fleetward.server.ssm.nodes.table import HERE, RESOURCE_TYPE, SHOWN, WITH_PING, nodes, scope

DEFAULT_SYNC = "AWS-QuickSetup-ManagedNode"
"""The data sync that is decided on where none is named (API reference, ListNodes: SyncName)."""
WORDS = {ONLINE: "Active", LOST: "ConnectionLost"}
"""Ping statuses in the words of inventory, which these two operations use."""
SAME_NAME = {
    "InstanceId": "InstanceIds",
    "IpAddress": "IPAddress",
    "SourceId": "SourceIds",
}
"""Filter keys here and, where it differs, the key of the other lists."""
ATTRIBUTES: Mapping[str, ColumnElement[Any]] = {
    "AgentVersion": nodes.c.agent_version,
    "AvailabilityZone": nodes.c.availability_zone,
    "PlatformName": nodes.c.platform_name,
    "PlatformType": nodes.c.platform_type,
    "PlatformVersion": nodes.c.platform_version,
}
"""What can be counted by; the rest is the same for every node here."""


def _sync(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(call.arn(f"resource-data-sync/{request.get('SyncName', DEFAULT_SYNC)}")),)


@ssm.operation("ListNodes", resources=_sync, reads=True)
def list_nodes(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes in order of id; filters must all fit."""
    conditions = _conditions(call, request)
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("ListNodes", request.get("NextToken"))
    statement = select(*SHOWN).select_from(WITH_PING).where(*HERE, *conditions).order_by(nodes.c.node_id)
    if after is not None:
        statement = statement.where(nodes.c.node_id > after[0])
    rows, more = paging.page(
        "ListNodes", call.db.all(statement.limit(limit + 1), **scope(call)), limit, lambda row: [row.node_id]
    )
    status = statuses(call, rows)
    return {"Nodes": [_shape(call, row, WORDS[status[row.node_id]]) for row in rows], **more}


@ssm.operation("ListNodesSummary", resources=_sync, reads=True)
def list_nodes_summary(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of nodes by one or, by an aggregator inside an aggregator, two attributes, in order of their values."""
    conditions = _conditions(call, request)
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("ListNodesSummary", request.get("NextToken"))
    groupings = _groupings(request["Aggregators"])
    groups = [
        [number, *counted] for number, names in enumerate(groupings) for counted in _counted(call, names, conditions)
    ]
    waiting = [group for group in groups if after is None or group[:-1] > after]
    page, more = paging.page("ListNodesSummary", waiting[: limit + 1], limit, lambda group: group[:-1])
    summary = [
        {"Count": str(total), **dict(zip(groupings[number], values, strict=True))} for number, *values, total in page
    ]
    return {"Summary": summary, **more}


def _groupings(aggregators: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The attributes of each wanted list of counts: those of the outer aggregators, with each inner one below it."""
    found: list[tuple[str, ...]] = []
    for outer in aggregators:
        inner = outer.get("Aggregators", ())
        if any(each.get("Aggregators") for each in inner):
            raise InvalidAggregatorException("Aggregators can be nested once: counts by two attributes at most.")
        if any(each["AttributeName"] == outer["AttributeName"] for each in inner):
            raise InvalidAggregatorException(f"{outer['AttributeName']} is named twice.")
        found += [(outer["AttributeName"], each["AttributeName"]) for each in inner] or [(outer["AttributeName"],)]
    return found


def _counted(call: Call, names: Sequence[str], conditions: Sequence[Condition]) -> list[list[Any]]:
    """`[value, …, count]` for each combination of values, ordered; a node that has not told a value counts as ""."""
    constant = {"Region": call.region, "ResourceType": RESOURCE_TYPE, "SourceType": SOURCE_TYPE}
    varying = [func.coalesce(ATTRIBUTES[name], "") for name in names if name in ATTRIBUTES]
    statement = select(*varying, func.count()).select_from(WITH_PING).where(*HERE, *conditions)
    rows = call.db.all(statement.group_by(*varying) if varying else statement, **scope(call))
    counted = []
    for *told, total in rows:
        values = iter(told)
        if total:
            counted.append([*(next(values) if name in ATTRIBUTES else constant[name] for name in names), total])
    return sorted(counted)


def _conditions(call: Call, request: Mapping[str, Any]) -> list[Condition]:
    if "SyncName" in request:
        raise ResourceDataSyncNotFoundException(f"There is no resource data sync named {request['SyncName']!r}.")
    return [
        _condition(call, each["Key"], each.get("Type", "Equal"), each["Values"]) for each in request.get("Filters", ())
    ]


def _condition(call: Call, key: str, operator: str, values: Sequence[str]) -> Condition:
    same_for_all = {
        "AccountId": call.account,
        "Region": call.region,
        "ResourceType": RESOURCE_TYPE,
        "SourceType": SOURCE_TYPE,
        "OrganizationalUnitId": "",
        "OrganizationalUnitPath": "",
        "SourceLocation": "",
    }
    if key == "ManagedStatus":
        return _on_managed_status(operator, values)
    if key == "InstanceStatus":
        return on_ping_status(call, operator, values, WORDS[ONLINE], WORDS[LOST])
    if key in same_for_all:
        return on_value(same_for_all[key], operator, values)
    return on_column(SAME_NAME.get(key, key), operator, values)


def _on_managed_status(operator: str, values: Sequence[str]) -> Condition:
    wrong = [value for value in values if value not in ("All", "Managed", "Unmanaged")]
    if wrong or operator != "Equal":
        raise InvalidFilter("ManagedStatus can be Equal to All, Managed or Unmanaged.")
    return true() if "All" in values or "Managed" in values else false()


def _shape(call: Call, row: Row[Any], status: str) -> dict[str, Any]:
    instance = {
        "AgentType": row.agent_name,
        "AgentVersion": row.agent_version,
        "ComputerName": row.computer_name,
        "InstanceStatus": status,
        "IpAddress": row.ip_address,
        "ManagedStatus": "Managed",
        "Name": row.name or None,
        "PlatformType": row.platform_type,
        "PlatformName": row.platform_name,
        "PlatformVersion": row.platform_version,
        "ResourceType": RESOURCE_TYPE,
        "SourceType": SOURCE_TYPE,
        "SourceId": row.node_id,
        "AvailabilityZone": row.availability_zone or None,
        "AvailabilityZoneId": row.availability_zone_id or None,
    }
    return {
        "CaptureTime": row.last_seen_at or row.created_at,
        "Id": row.node_id,
        "Owner": {"AccountId": call.account},
        "Region": call.region,
        "NodeType": {"Instance": {member: value for member, value in instance.items() if value is not None}},
    }
