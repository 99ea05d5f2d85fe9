"""Targets: which nodes a command, an association or a maintenance window means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, and_, false, func, or_, select, true

from fleetward.server import resource_groups
from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.ssm import tags
from fleetward.server.ssm.nodes.filters import SOURCE_TYPE, Condition, on_tag
from fleetward.server.ssm.nodes.table import HERE, RESOURCE_TYPE, SHOWN, WITH_PING, nodes, scope
from fleetward.server.ssm.tags import TagSet

INSTANCE_IDS = "instanceids"  # whose case does not count
GROUP, GROUP_TYPES = "resource-groups:Name", "resource-groups:ResourceTypeFilters"
GROUP_KEYS = GROUP_VALUES = 5
"""Tag keys, and values of each, of a group that can be targeted."""

Target = Mapping[str, Any]
"""`{"Key": "InstanceIds" | "tag:<key>" | "tag-key" | GROUP | GROUP_TYPES, "Values": […]}`, as requests carry it."""


def select_nodes(call: Call, targets: Sequence[Target], after: str = "", limit: int = 1000) -> Sequence[Row[Any]]:
    """The next nodes (columns SHOWN) that the targets mean, in order of id, at most `limit` of those beyond `after`.

    All targets must fit (AND), by any of their values (OR); `InstanceIds` with the value `*` means every node. Unknown
    ids mean nothing. No targets at all mean no node. Raises ValidationException for keys that cannot be targeted.
    """
    statement = (
        select(*SHOWN)
        .select_from(WITH_PING)
        .where(*_conditions(call, targets), nodes.c.node_id > after)
        .order_by(nodes.c.node_id)
        .limit(limit)
    )
    return call.db.all(statement, **scope(call))


def check_targets(call: Call, targets: Sequence[Target]) -> None:
    """Raises ValidationException where `fault` finds something wrong."""
    if wrong := fault(call, targets):
        raise ValidationException(wrong)


def count(call: Call, targets: Sequence[Target]) -> int:
    """How many nodes the targets mean now."""
    number: int = call.db.value(
        select(func.count()).select_from(nodes).where(*_conditions(call, targets)), **scope(call)
    )
    return number


def is_target(call: Call, targets: Sequence[Target], node_id: str) -> bool:
    """Whether the targets mean this node now."""
    statement = select(nodes.c.node_id).where(*_conditions(call, targets), nodes.c.node_id == node_id)
    return call.db.first(statement, **scope(call)) is not None


def tag_sets(call: Call, targets: Sequence[Target]) -> list[TagSet]:
    """The distinct sets of tags among the nodes that the targets mean, so that IAM decides once for each."""
    return tags.distinct_sets(call, RESOURCE_TYPE, _ids(call, targets))


def fault(call: Call, targets: Sequence[Target]) -> str:
    """What is wrong with targets, fit for an error's message; empty when they can be selected by.

    A group that vanishes later means no node; whoever accepts targets says first that there is none (SEM 4.1).
    """
    for target in targets:
        if wrong := _fault_of(target.get("Key", ""), target.get("Values", ())):
            return wrong
    groups = [target["Values"] for target in targets if target["Key"] == GROUP]
    if not groups:
        of_types = any(target["Key"] == GROUP_TYPES for target in targets)
        return f"{GROUP_TYPES} is about a group: give {GROUP} too." if of_types else ""
    if len(groups) > 1 or len(groups[0]) != 1:
        return f"{GROUP} takes the name of one group."
    return _fault_of_group(call, groups[0][0])


def _fault_of_group(call: Call, name: str) -> str:
    query = resource_groups.query_of(call, name)
    if query is None:
        return "" if resource_groups.exists(call, name) else f"There is no resource group named {name!r}."
    if len(query.tags) <= GROUP_KEYS and all(len(values) <= GROUP_VALUES for _, values in query.tags):
        return ""
    return f"The group {name!r} asks for more than {GROUP_KEYS} tag keys, or more than {GROUP_VALUES} values of one."


def _ids(call: Call, targets: Sequence[Target]) -> Select[Any]:
    return select(nodes.c.node_id).where(*_conditions(call, targets))


def _conditions(call: Call, targets: Sequence[Target]) -> list[Condition]:
    if not targets:
        return [false()]
    return [*HERE, *(_condition(call, target.get("Key", ""), target.get("Values", ())) for target in targets)]


def _condition(call: Call, key: str, values: Sequence[str]) -> Condition:
    if wrong := _fault_of(key, values):
        raise ValidationException(wrong)
    if key.lower() == INSTANCE_IDS:
        return true() if "*" in values else nodes.c.node_id.in_(values)
    if key == GROUP:
        return or_(*(_in_group(call, name) for name in values))
    if key == GROUP_TYPES:
        return true() if SOURCE_TYPE in values else false()
    condition = on_tag(key, "Equal", values)
    assert condition is not None
    return condition


def _fault_of(key: str, values: Sequence[str]) -> str:
    """What is wrong with one target by itself."""
    if not values:
        return f"The target key {key!r} needs at least one value."
    if key.lower() == INSTANCE_IDS or key in (GROUP, GROUP_TYPES) or on_tag(key, "Equal", values) is not None:
        return ""
    return f"The target key {key!r} is not one of InstanceIds, tag:<key>, tag-key, {GROUP}, {GROUP_TYPES}."


def _in_group(call: Call, name: str) -> Condition:
    """Nodes of one group; none when there is no such group, or when it is about other types of resources."""
    selects = resource_groups.selecting(call, name, RESOURCE_TYPE)
    return and_(*(nodes.c.node_id.in_(each) for each in selects)) if selects else false()
