"""Filters of DescribeParameters and GetParametersByPath: read from requests, turned into conditions on rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, and_, or_

from fleetward.server.ssm import tags
from fleetward.server.ssm.errors import InvalidFilterKey, InvalidFilterOption, InvalidFilterValue
from fleetward.server.ssm.parameter_store import names
from fleetward.server.ssm.parameter_store.table import RESOURCE_TYPE

COLUMNS = {"Name": "name", "Type": "type", "KeyId": "key_id", "Tier": "tier", "DataType": "data_type"}
EQUALS, BEGINS, CONTAINS, RECURSIVE, ONE_LEVEL = "Equals", "BeginsWith", "Contains", "Recursive", "OneLevel"
OPTIONS = {
    "Name": (EQUALS, BEGINS, CONTAINS),
    "Path": (RECURSIVE, ONE_LEVEL),
    "Label": (EQUALS,),
    "Tier": (EQUALS,),
    "DataType": (EQUALS,),
}
BY_PATH = ("Type", "KeyId", "Label", "Tier", "DataType")


class Filter(NamedTuple):
    """One filter: any of the values, by the option."""

    key: str
    option: str
    values: Sequence[str]


def of_path(given: Iterable[Mapping[str, Any]]) -> list[Filter]:
    """The ParameterFilters of GetParametersByPath; raises the InvalidFilter… errors."""
    found = _read(given)
    for each in found:
        if each.key not in BY_PATH:
            raise InvalidFilterKey(f"GetParametersByPath filters by {', '.join(BY_PATH)}, not by {each.key}.")
    return found


def of_listing(given: Iterable[Mapping[str, Any]]) -> list[Filter]:
    """The ParameterFilters of DescribeParameters; raises the InvalidFilter… errors."""
    found = _read(given)
    if any(each.key == "Label" for each in found):
        raise InvalidFilterKey("DescribeParameters does not filter by Label.")
    return found


def of_old_listing(given: Iterable[Mapping[str, Any]]) -> list[Filter]:
    """The older Filters of DescribeParameters: names by their beginning, the rest exactly."""
    return [Filter(each["Key"], BEGINS if each["Key"] == "Name" else EQUALS, each["Values"]) for each in given]


def condition(asked: Filter, source: Table) -> ColumnElement[bool]:
    """What a filter asks of a row of `source`."""
    if asked.key.startswith("tag:"):
        tagged = tags.having(RESOURCE_TYPE, asked.key.removeprefix("tag:"), asked.values or None)
        return source.c.name.in_(tagged)
    if asked.key == "Path":
        return or_(*(and_(*below(source, path, recursive=asked.option == RECURSIVE)) for path in asked.values))
    column = source.c[COLUMNS[asked.key]]
    if asked.option == BEGINS:
        return or_(*(column.startswith(value, autoescape=True) for value in asked.values))
    if asked.option == CONTAINS:
        return or_(*(column.contains(value, autoescape=True) for value in asked.values))
    return column.in_(asked.values)


def below(source: Table, path: str, *, recursive: bool) -> Sequence[ColumnElement[bool]]:
    """Rows whose names lie in a path, or anywhere below it."""
    name = source.c.name
    if path == names.ROOT:
        return [] if recursive else [~name.like("/%/%")]
    low, high = names.bounds(path)
    inside = [name > low, name < high]
    if recursive:
        return inside
    if "folder" in source.c:
        return [*inside, source.c.folder == path]
    return [*inside, ~name.like(_escaped(low) + "%/%", escape="\\")]


def _escaped(text: str) -> str:
    return text.replace("_", "\\_")


def _read(given: Iterable[Mapping[str, Any]]) -> list[Filter]:
    found: list[Filter] = []
    for each in given:
        key, values = each["Key"], list(each.get("Values", ()))
        default = ONE_LEVEL if key == "Path" else EQUALS
        option = each.get("Option", default)
        allowed = (EQUALS,) if key.startswith("tag:") else OPTIONS.get(key, (EQUALS, BEGINS))
        if option not in allowed:
            raise InvalidFilterOption(f"The filter {key} has the options {', '.join(allowed)}, not {option}.")
        if any(one.key == key for one in found):
            raise InvalidFilterKey(f"The filter {key} is given twice.")
        if not values and not key.startswith("tag:"):
            raise InvalidFilterValue(f"The filter {key} needs at least one value.")
        found.append(Filter(key, option, [names.path(value) for value in values] if key == "Path" else values))
    return found
