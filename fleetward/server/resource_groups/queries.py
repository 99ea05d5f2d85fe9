"""Queries of groups: which types of resources and which tags they ask for, read and checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from fleetward.server.resource_groups.errors import BadRequestException

TAG_FILTERS = "TAG_FILTERS_1_0"
ALL_TYPES = "AWS::AllSupported"
TYPES: Mapping[str, str] = {
    "AWS::SSM::Association": "Association",
    "AWS::SSM::Document": "Document",
    "AWS::SSM::MaintenanceWindow": "MaintenanceWindow",
    "AWS::SSM::ManagedInstance": "ManagedInstance",
    "AWS::SSM::Parameter": "Parameter",
    "AWS::SSM::PatchBaseline": "PatchBaseline",
}
"""Types as groups call them, and as tags do. What is no type of ours is asked for in vain, as in AWS."""
MOST_KEYS = 50
MOST_VALUES = 20


@dataclass(frozen=True, slots=True)
class Query:
    """A tag query: resources of these types (None: any) with every tag, each with one of its values (none: any)."""

    types: tuple[str, ...] | None
    tags: tuple[tuple[str, tuple[str, ...]], ...]

    def kinds(self) -> list[str]:
        """The types asked for, as tags call them."""
        return [kind for name, kind in TYPES.items() if self.types is None or name in self.types]


def read(given: Mapping[str, Any]) -> Query:
    """A ResourceQuery of a request; raises BadRequestException, which says what is wrong."""
    if given["Type"] != TAG_FILTERS:
        raise BadRequestException(f"Queries of the type {given['Type']} are not offered here; use {TAG_FILTERS}.")
    try:
        content = orjson.loads(given["Query"])
    except ValueError as fault:
        raise BadRequestException(f"Query is not JSON: {fault}.") from fault
    if not isinstance(content, dict) or set(content) - {"ResourceTypeFilters", "TagFilters"}:
        raise BadRequestException("Query must be an object of ResourceTypeFilters and TagFilters.")
    types = _texts(content.get("ResourceTypeFilters"), "ResourceTypeFilters", MOST_KEYS)
    if not types:
        raise BadRequestException(f"ResourceTypeFilters must name types, or {ALL_TYPES}.")
    return Query(None if ALL_TYPES in types else tuple(types), _tags(content.get("TagFilters")))


def _tags(given: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_KEYS:
        raise BadRequestException(f"TagFilters must be a list of 1 to {MOST_KEYS} filters.")
    found: dict[str, tuple[str, ...]] = {}
    for each in given:
        if not isinstance(each, dict) or set(each) - {"Key", "Values"}:
            raise BadRequestException("A filter of TagFilters must have Key and Values alone.")
        key = each.get("Key")
        if not isinstance(key, str) or not 1 <= len(key) <= 128:
            raise BadRequestException("The Key of a tag filter must be a text of 1 to 128 characters.")
        if key in found:
            raise BadRequestException(f"TagFilters has the key {key!r} twice; give its Values together.")
        found[key] = tuple(_texts(each.get("Values", []), f"Values of {key!r}", MOST_VALUES))
    return tuple(found.items())


def _texts(given: Any, name: str, most: int) -> Sequence[str]:
    if not isinstance(given, list) or len(given) > most or not all(isinstance(each, str) for each in given):
        raise BadRequestException(f"{name} must be a list of up to {most} texts.")
    return given
