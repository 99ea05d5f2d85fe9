"""Targets: which nodes a command, an association or a maintenance window means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, false, func, select, true

from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.ssm import tags
from fleetward.server.ssm.nodes.filters import Condition, on_tag
from fleetward.server.ssm.nodes.table import HERE, RESOURCE_TYPE, SHOWN, WITH_PING, nodes, scope
from fleetward.server.ssm.tags import TagSet

INSTANCE_IDS = "instanceids"  # whose case does not count
Target = Mapping[str, Any]
"""`{"Key": "InstanceIds" | "tag:<key>" | "tag-key", "Values": […]}`, as requests carry it."""


def select_nodes(call: Call, targets: Sequence[Target], after: str = "", limit: int = 1000) -> Sequence[Row[Any]]:
    """The next nodes (columns SHOWN) that the targets mean, in order of id, at most `limit` of those beyond `after`.

    All targets must fit (AND), by any of their values (OR); `InstanceIds` with the value `*` means every node. Unknown
    ids mean nothing. No targets at all mean no node. Raises ValidationException for keys that cannot be targeted.
    """
    statement = (
        select(*SHOWN)
        .select_from(WITH_PING)
        .where(*_conditions(targets), nodes.c.node_id > after)
        .order_by(nodes.c.node_id)
        .limit(limit)
    )
    return call.db.all(statement, **scope(call))


def check_targets(targets: Sequence[Target]) -> None:
    """Raises ValidationException for keys that cannot be targeted, and for those without values."""
    _conditions(targets)


def count(call: Call, targets: Sequence[Target]) -> int:
    """How many nodes the targets mean now."""
    number: int = call.db.value(select(func.count()).select_from(nodes).where(*_conditions(targets)), **scope(call))
    return number


def tag_sets(call: Call, targets: Sequence[Target]) -> list[TagSet]:
    """The distinct sets of tags among the nodes that the targets mean, so that IAM decides once for each."""
    return tags.distinct_sets(call, RESOURCE_TYPE, _ids(targets))


def _ids(targets: Sequence[Target]) -> Select[Any]:
    return select(nodes.c.node_id).where(*_conditions(targets))


def _conditions(targets: Sequence[Target]) -> list[Condition]:
    if not targets:
        return [false()]
    return [*HERE, *(_condition(target.get("Key", ""), target.get("Values", ())) for target in targets)]


def _condition(key: str, values: Sequence[str]) -> Condition:
    if not values:
        raise ValidationException(f"The target key {key!r} needs at least one value.")
    if key.lower() == INSTANCE_IDS:
        return true() if "*" in values else nodes.c.node_id.in_(values)
    if key.startswith("resource-groups:"):
        raise ValidationException(f"Resource groups cannot be targeted here yet ({key}); target InstanceIds or tags.")
    condition = on_tag(key, "Equal", values)
    if condition is None:
        raise ValidationException(f"The target key {key!r} is not one of InstanceIds, tag:<key>, tag-key.")
    return condition
