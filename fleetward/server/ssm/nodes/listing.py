"""Lists of nodes for operators: DescribeInstanceInformation, DescribeInstanceProperties, GetConnectionStatus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, false, select

from fleetward.server import paging, presence
from fleetward.server.call import Call, Resource
from fleetward.server.errors import AwsError, ValidationException
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import (
    InvalidFilterKey,
    InvalidInstanceId,
    InvalidInstanceInformationFilterValue,
    InvalidInstancePropertyFilterValue,
)
from fleetward.server.ssm.nodes.filters import (
    ALLOWED,
    COLUMNS,
    LOST,
    ONLINE,
    SOURCE_TYPE,
    Condition,
    on_column,
    on_ping_status,
    on_tag,
    on_value,
)
from fleetward.server.ssm.nodes.table import (
    HERE,
    RESOURCE_TYPE,
    SHOWN,
    WITH_PING,
    nodes,
    online_since,
    require,
    scope,
    tagged,
)

PAGE = 50
SAME_FOR_ALL: Mapping[str, str] = {"ResourceType": RESOURCE_TYPE, "SourceTypes": SOURCE_TYPE}
NOTHING_YET = ("AssociationStatus", "DocumentName")
"""Filter keys about associations; nodes without any match no value of them."""
INFORMATION_KEYS = frozenset(
    (
        *("ActivationIds", "AgentVersion", "IamRole", "InstanceIds", "PlatformType", "PlatformTypes", "SourceIds"),
        *("PingStatus", "AssociationStatus", *SAME_FOR_ALL),
    )
)
PROPERTY_KEYS = frozenset((*COLUMNS, *NOTHING_YET, "PingStatus", *SAME_FOR_ALL)) - {"AgentType"}


def statuses(call: Call, rows: Sequence[Row[Any]]) -> dict[str, str]:
    """The ping status of each of the rows (columns SHOWN): Online or ConnectionLost."""
    since = online_since(call)
    quiet = [row.node_id for row in rows if row.last_seen_at is None or row.last_seen_at < since]
    lost = set(quiet) - presence.connected(call, quiet)
    return {row.node_id: LOST if row.node_id in lost else ONLINE for row in rows}


@ssm.operation("DescribeInstanceInformation", reads=True)
def describe_instance_information(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes in order of id. Raises InvalidInstanceId when a filter names a node that is not registered."""
    legacy, filters = request.get("InstanceInformationFilterList"), request.get("Filters")
    if legacy and filters:
        raise ValidationException("Give either InstanceInformationFilterList or Filters, not both.")
    named = [(each["Key"], "Equal", each["Values"]) for each in filters or ()]
    named += [(each["key"], "Equal", each["valueSet"]) for each in legacy or ()]
    conditions = _conditions(call, named, INFORMATION_KEYS, InvalidInstanceInformationFilterValue)
    rows, more = _page(call, "DescribeInstanceInformation", request, conditions)
    status = statuses(call, rows)
    return {"InstanceInformationList": [information(row, status[row.node_id]) for row in rows], **more}


@ssm.operation("DescribeInstanceProperties", reads=True)
def describe_instance_properties(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes as Fleet Manager's table shows them. Filters of both lists must all fit."""
    listed = [(each["key"], "Equal", each["valueSet"]) for each in request.get("InstancePropertyFilterList", ())]
    listed += [
        (each["Key"], each.get("Operator", "Equal"), each["Values"]) for each in request.get("FiltersWithOperator", ())
    ]
    conditions = _conditions(call, listed, PROPERTY_KEYS, InvalidInstancePropertyFilterValue)
    rows, more = _page(call, "DescribeInstanceProperties", request, conditions)
    status = statuses(call, rows)
    return {"InstanceProperties": [properties(row, status[row.node_id]) for row in rows], **more}


def _target(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (tagged(call, request["Target"]),)


@ssm.operation("GetConnectionStatus", resources=_target, reads=True)
def get_connection_status(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the node's message channel is open; what is not registered is not connected."""
    target = request["Target"]
    return {"Target": target, "Status": "connected" if presence.connected(call, [target]) else "notconnected"}


def information(row: Row[Any], status: str) -> dict[str, Any]:
    """A row (columns SHOWN) as AWS's InstanceInformation."""
    shown = {
        "InstanceId": row.node_id,
        "PingStatus": status,
        "LastPingDateTime": row.last_seen_at,
        "AgentVersion": row.agent_version,
        "PlatformType": row.platform_type,
        "PlatformName": row.platform_name,
        "PlatformVersion": row.platform_version,
        "ActivationId": row.activation_id,
        "IamRole": row.iam_role,
        "RegistrationDate": row.created_at,
        "ResourceType": RESOURCE_TYPE,
        "Name": row.name or None,
        "IPAddress": row.ip_address,
        "ComputerName": row.computer_name,
        "SourceId": row.node_id,
        "SourceType": SOURCE_TYPE,
    }
    return {member: value for member, value in shown.items() if value is not None}


def properties(row: Row[Any], status: str) -> dict[str, Any]:
    """A row (columns SHOWN) as AWS's InstanceProperty; what only EC2 knows is left out."""
    shown = information(row, status)
    if row.availability_zone:
        shown["AvailabilityZone"] = row.availability_zone
    return shown


def _page(
    call: Call, operation: str, request: Mapping[str, Any], conditions: Sequence[Condition]
) -> tuple[Sequence[Row[Any]], dict[str, str]]:
    limit = request.get("MaxResults", PAGE)
    after = paging.decode(operation, request.get("NextToken"))
    statement = select(*SHOWN).select_from(WITH_PING).where(*HERE, *conditions).order_by(nodes.c.node_id)
    if after is not None:
        statement = statement.where(nodes.c.node_id > after[0])
    rows = call.db.all(statement.limit(limit + 1), **scope(call))
    return paging.page(operation, rows, limit, lambda row: [row.node_id])


def _conditions(
    call: Call, filters: Sequence[tuple[str, str, Sequence[str]]], keys: frozenset[str], bad_value: type[AwsError]
) -> list[Condition]:
    return [_condition(call, key, operator, values, keys, bad_value) for key, operator, values in filters]


def _condition(
    call: Call, key: str, operator: str, values: Sequence[str], keys: frozenset[str], bad_value: type[AwsError]
) -> Condition:
    tagged = on_tag(key, operator, values)
    if tagged is not None:
        return tagged
    if key not in keys:
        allowed = ", ".join((*sorted(keys), "tag-key", "tag:<key>"))
        raise InvalidFilterKey(f"The filter key {key!r} (with {operator}) is not one of: {allowed}")
    _check_values(call, key, operator, values, bad_value)
    if key == "PingStatus":
        return on_ping_status(call, operator, values)
    if key in SAME_FOR_ALL:
        return on_value(SAME_FOR_ALL[key], operator, values)
    if key in NOTHING_YET:
        return false()
    return on_column(key, operator, values)


def _check_values(call: Call, key: str, operator: str, values: Sequence[str], bad_value: type[AwsError]) -> None:
    if operator not in ("Equal", "NotEqual"):
        return
    wrong = [value for value in values if value not in ALLOWED.get(key, values)]
    if wrong:
        raise bad_value(f"{wrong[0]!r} is not a value of {key}; allowed: {', '.join(sorted(ALLOWED[key]))}")
    if key == "InstanceIds":
        _require_named(call, values)


def _require_named(call: Call, node_ids: Sequence[str]) -> None:
    malformed = [node_id for node_id in node_ids if not node_id.startswith(("mi-", "i-"))]
    if malformed:
        raise InvalidInstanceId(f"{malformed[0]!r} is not the id of a managed node.")
    require(call, list(dict.fromkeys(node_ids)))
