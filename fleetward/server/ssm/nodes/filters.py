"""Filters: AWS's keys, operators and values as conditions on the rows of nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, false, func, not_, or_, select, true

from fleetward.server import presence
from fleetward.server.call import Call
from fleetward.server.schema import same_tenant
from fleetward.server.ssm import tags
from fleetward.server.ssm.nodes.heartbeat import version_order
from fleetward.server.ssm.nodes.table import RESOURCE_TYPE, nodes, online_since, pings

SOURCE_TYPE = "AWS::SSM::ManagedInstance"
ONLINE, LOST = "Online", "ConnectionLost"

Condition = ColumnElement[bool]

ALLOWED: Mapping[str, frozenset[str]] = {
    "PingStatus": frozenset((ONLINE, LOST, "Inactive")),
    "PlatformType": frozenset(("Windows", "Linux", "MacOS")),
    "PlatformTypes": frozenset(("Windows", "Linux", "MacOS")),
    "ResourceType": frozenset(("ManagedInstance", "EC2Instance")),
    "SourceTypes": frozenset((SOURCE_TYPE, "AWS::EC2::Instance", "AWS::IoT::Thing")),
}
"""Filter keys with a closed set of values."""

COLUMNS: Mapping[str, ColumnElement[Any]] = {
    "ActivationIds": nodes.c.activation_id,
    "AgentType": nodes.c.agent_name,
    "AgentVersion": nodes.c.agent_version,
    "AvailabilityZone": nodes.c.availability_zone,
    "AvailabilityZoneId": nodes.c.availability_zone_id,
    "ComputerName": nodes.c.computer_name,
    "IPAddress": nodes.c.ip_address,
    "IamRole": nodes.c.iam_role,
    "InstanceIds": nodes.c.node_id,
    "Name": nodes.c.name,
    "PlatformName": nodes.c.platform_name,
    "PlatformType": nodes.c.platform_type,
    "PlatformTypes": nodes.c.platform_type,
    "PlatformVersion": nodes.c.platform_version,
    "SourceIds": nodes.c.node_id,
}
"""Filter keys that compare a column."""

VERSIONS: Mapping[str, ColumnElement[Any]] = {
    "AgentVersion": nodes.c.agent_version_order,
    "PlatformVersion": nodes.c.platform_version_order,
}
"""Filter keys whose values are ordered as versions are, not as text."""

_ON_COLUMN: Mapping[str, Callable[[ColumnElement[Any], Sequence[str]], Condition]] = {
    "Equal": lambda column, values: column.in_(values),
    "NotEqual": lambda column, values: or_(column.is_(None), column.not_in(values)),
    "BeginWith": lambda column, values: or_(*(begins(column, value) for value in values)),
    "LessThan": lambda column, values: or_(*(column < value for value in values)),
    "GreaterThan": lambda column, values: or_(*(column > value for value in values)),
}
_ON_VALUE: Mapping[str, Callable[[str, Sequence[str]], bool]] = {
    "Equal": lambda actual, values: actual in values,
    "NotEqual": lambda actual, values: actual not in values,
    "BeginWith": lambda actual, values: any(actual.startswith(value) for value in values),
    "LessThan": lambda actual, values: any(actual < value for value in values),
    "GreaterThan": lambda actual, values: any(actual > value for value in values),
}


def begins(column: ColumnElement[Any], prefix: str) -> Condition:
    """Whether the text begins with `prefix`; case counts and no character is special, on either database."""
    return func.substr(column, 1, len(prefix)) == prefix


def on_column(key: str, operator: str, values: Sequence[str]) -> Condition:
    """A condition of one of COLUMNS; versions are compared number by number."""
    if key in VERSIONS and operator in ("LessThan", "GreaterThan"):
        return _ON_COLUMN[operator](VERSIONS[key], [version_order(value) or "" for value in values])
    return _ON_COLUMN[operator](COLUMNS[key], values)


def on_value(actual: str, operator: str, values: Sequence[str]) -> Condition:
    """A condition on what is the same for every node here."""
    return true() if _ON_VALUE[operator](actual, values) else false()


def on_ping_status(
    call: Call, operator: str, values: Sequence[str], online: str = ONLINE, lost: str = LOST
) -> Condition:
    """A condition on whether nodes are Online; `online` and `lost` are the words that the values use."""
    wants_online = _ON_VALUE[operator](online, values)
    wants_lost = _ON_VALUE[operator](lost, values)
    if wants_online == wants_lost:
        return true() if wants_online else false()
    return is_online(call) if wants_online else not_(is_online(call))


def is_online(call: Call) -> Condition:
    """Connected to a living server, or heard of within `online_for`."""
    connected = exists(
        select(presence.connections.c.node_id)
        .join(presence.servers, presence.servers.c.server_id == presence.connections.c.server_id)
        .where(
            *same_tenant(presence.connections, nodes),
            presence.connections.c.node_id == nodes.c.node_id,
            presence.servers.c.lease_until > call.now,
        )
    )
    heard_of = and_(pings.c.last_seen_at.is_not(None), pings.c.last_seen_at >= online_since(call))
    return or_(heard_of, connected)


def on_tag(key: str, operator: str, values: Sequence[str]) -> Condition | None:
    """A condition of `tag:<key>` or `tag-key`, for Equal and NotEqual; None for every other key or operator."""
    if key == "tag-key":
        found = or_(*(nodes.c.node_id.in_(tags.having(RESOURCE_TYPE, value)) for value in values))
    elif key.startswith("tag:") and len(key) > len("tag:"):
        found = nodes.c.node_id.in_(tags.having(RESOURCE_TYPE, key.removeprefix("tag:"), values))
    else:
        return None
    if operator == "Equal":
        return found
    return not_(found) if operator == "NotEqual" else None
