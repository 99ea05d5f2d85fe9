"""Filters of inventory: keys, operators and values as conditions on the rows of a type, compared as text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetward.server.ssm.errors import InvalidFilter

EXISTS = "Exists"
TYPE_NAME = "TypeName"

OPERATORS: Mapping[str, Callable[[str, Sequence[str]], bool]] = {
    "Equal": lambda actual, values: actual in values,
    "NotEqual": lambda actual, values: actual not in values,
    "BeginWith": lambda actual, values: actual.startswith(tuple(values)),
    "LessThan": lambda actual, values: any(actual < value for value in values),
    "GreaterThan": lambda actual, values: any(actual > value for value in values),
    EXISTS: lambda actual, values: bool(actual),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter of one type; several of a type must fit the same row."""

    type_name: str
    attribute: str
    operator: str
    values: tuple[str, ...]

    def fits(self, row: Mapping[str, str]) -> bool:
        """Whether a row is one of those looked for; what it does not have is an empty text."""
        return OPERATORS[self.operator](row.get(self.attribute) or "", self.values)


@dataclass(frozen=True, slots=True)
class HasType:
    """The filter of groups that asks which nodes told of any of these types."""

    types: tuple[str, ...]


def parse(given: Sequence[Mapping[str, Any]], *, groups: bool = False) -> list[Condition | HasType]:
    """The filters of a request. Raises InvalidFilter; Exists is for groups alone."""
    found: list[Condition | HasType] = []
    for each in given:
        key, operator, values = each["Key"], each.get("Type", "Equal"), tuple(each["Values"])
        if operator == EXISTS and not groups:
            raise InvalidFilter("Exists can be asked in the groups of an aggregator alone.")
        if key == TYPE_NAME:
            if operator != EXISTS:
                raise InvalidFilter(f"{TYPE_NAME} can be asked for with Exists alone.")
            found.append(HasType(values))
            continue
        type_name, attribute = split(key)
        found.append(Condition(type_name, attribute, operator, values))
    return found


def split(key: str) -> tuple[str, str]:
    """`AWS:Application.Name` as type and attribute; raises InvalidFilter."""
    type_name, dot, attribute = key.rpartition(".")
    if not dot or not attribute or not type_name.startswith(("AWS:", "Custom:")):
        raise InvalidFilter(f"A filter's key is <type>.<attribute>, as AWS:Application.Name; not {key!r}.")
    return type_name, attribute


def of_entries(type_name: str, given: Sequence[Mapping[str, Any]]) -> list[Condition]:
    """The filters of ListInventoryEntries, whose keys may leave the type out."""
    found = []
    for each in given:
        key, operator = each["Key"], each.get("Type", "Equal")
        if operator == EXISTS:
            raise InvalidFilter("Exists can be asked in the groups of an aggregator alone.")
        prefix = f"{type_name}."
        found.append(Condition(type_name, key.removeprefix(prefix), operator, tuple(each["Values"])))
    return found
