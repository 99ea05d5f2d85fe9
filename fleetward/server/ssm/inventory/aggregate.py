"""Aggregates: how many nodes have each value of an attribute, nested ones, and how many fit a group's filters.

The cost grows with the distinct items of the types asked for, whatever the number of nodes that have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyroaring import BitMap

from fleetward.server.ssm.errors import InvalidAggregatorException, InvalidInventoryGroupException
from fleetward.server.ssm.inventory import custom, filters, query
from fleetward.server.ssm.inventory.query import Fleet
from fleetward.server.ssm.inventory.types import INFORMATION, Type

DEEPEST = 5
MOST_ROWS = 200_000
LOWERED = frozenset((f"{INFORMATION}.PlatformName", f"{INFORMATION}.PlatformType"))
"""Their values are counted in lower case, as AWS shows them."""


class Counted(NamedTuple):
    """One row of an aggregate, under the name that its entity has."""

    name: str
    version: str
    values: tuple[tuple[str, str], ...]
    nodes: int


class Level(NamedTuple):
    """One expression of a chain of nested aggregators."""

    kind: Type
    attribute: str


def counted(fleet: Fleet, aggregators: Sequence[Mapping[str, Any]], base: BitMap) -> list[list[Counted]]:
    """The rows of each aggregator, the most frequent first; only nodes of `base` count."""
    found = []
    for each in aggregators:
        if "Groups" in each:
            found += [_group(fleet, group, base) for group in each["Groups"]]
        for chain in _chains(fleet, each, 1):
            found.append(_rows(fleet, chain, base))
    return found


def _chains(fleet: Fleet, aggregator: Mapping[str, Any], depth: int) -> list[list[Level]]:
    """Every way from an aggregator to its innermost ones."""
    nested = aggregator.get("Aggregators", ())
    if depth > DEEPEST:
        raise InvalidAggregatorException(f"Aggregators can be nested {DEEPEST} deep at most.")
    if "Expression" not in aggregator:
        if "Groups" not in aggregator or nested:
            raise InvalidAggregatorException("An aggregator has an Expression, or Groups and nothing nested.")
        return []
    if "Groups" in aggregator and depth > 1:
        raise InvalidInventoryGroupException("Groups are counted at the outermost aggregators alone.")
    level = _level(fleet, aggregator["Expression"])
    if not nested:
        return [[level]]
    return [[level, *rest] for each in nested for rest in _chains(fleet, each, depth + 1)]


def _level(fleet: Fleet, expression: str) -> Level:
    type_name, _, attribute = expression.rpartition(".")
    kind = custom.find(fleet.call, type_name)
    if attribute not in kind.aggregates:
        allowed = ", ".join(kind.aggregates) or "none"
        raise InvalidAggregatorException(f"{expression!r} cannot be aggregated by; of {type_name}: {allowed}.")
    return Level(kind, attribute)


def _rows(fleet: Fleet, chain: Sequence[Level], base: BitMap) -> list[Counted]:
    """Neighbours of one type are counted by rows that have both values; different types by nodes that have both."""
    combined: dict[tuple[tuple[str, str], ...], BitMap] = {(): base}
    for kind, attributes in _runs(chain):
        grouped = query.groups(fleet, kind, attributes)
        if len(combined) * len(grouped) > MOST_ROWS:
            raise InvalidAggregatorException(f"These aggregators would give more than {MOST_ROWS} rows; filter first.")
        following: dict[tuple[tuple[str, str], ...], BitMap] = {}
        for before, some in combined.items():
            for values, others in grouped.items():
                both = some & others
                if both:
                    key = (*before, *_named(kind, attributes, values))
                    following[key] = following[key] | both if key in following else both
        combined = following
    outer = chain[0].kind
    found = [Counted(outer.name, outer.version, values, len(nodes)) for values, nodes in combined.items()]
    return sorted(found, key=order)


def order(row: Counted) -> tuple[int, tuple[str, ...]]:
    """The most frequent first, then by value."""
    return -row.nodes, tuple(value for _, value in row.values)


def _runs(chain: Sequence[Level]) -> list[tuple[Type, list[str]]]:
    runs: list[tuple[Type, list[str]]] = []
    for kind, attribute in chain:
        if runs and runs[-1][0].name == kind.name:
            runs[-1][1].append(attribute)
        else:
            runs.append((kind, [attribute]))
    return runs


def _named(kind: Type, attributes: Sequence[str], values: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (name, value.lower() if f"{kind.name}.{name}" in LOWERED else value)
        for name, value in zip(attributes, values, strict=True)
    ]


def _group(fleet: Fleet, group: Mapping[str, Any], base: BitMap) -> list[Counted]:
    fitting = len(query.matching(fleet, filters.parse(group["Filters"], groups=True)) & base)
    name = group["Name"]
    return [
        Counted(name, "1.0", (("notMatchingCount", str(len(base) - fitting)),), -1),
        Counted(name, "1.0", (("matchingCount", str(fitting)),), -1),
    ]
