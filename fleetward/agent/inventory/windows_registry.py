"""AWS:WindowsRegistry: values of keys by path and name; at most 250, more is an error for the whole type (SEM 8.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fleetward.agent.inventory.filters import flag, read_filters, texts
from fleetward.agent.inventory.rows import GatherFault, Row, row
from fleetward.agent.platforms import registry

MOST_VALUES = 250
MOST_KEYS = 5000

Subkeys = Callable[[str], list[str]]
Values = Callable[[str], list[tuple[str, Any, str]]]


def gather(asked: str) -> list[Row]:
    """The values that the filters choose."""
    return find(read_filters(asked), registry.subkeys, registry.values)


def find(filters: list[Mapping[str, Any]], subkeys: Subkeys, values: Values) -> list[Row]:
    """The rows of the chosen values; without ValueNames all values of a key."""
    rows: dict[tuple[str, str], Row] = {}
    for each in filters:
        names = {name.lower() for name in texts(each, "ValueNames")}
        for path in _keys(str(each["Path"]).rstrip("\\"), flag(each, "Recursive"), subkeys):
            for name, value, kind in values(path):
                if names and name.lower() not in names:
                    continue
                rows[path.lower(), name.lower()] = row(
                    {"ValueName": name, "ValueType": kind, "KeyPath": path, "Value": shown(value)}
                )
            if len(rows) > MOST_VALUES:
                raise GatherFault(f"the filters choose more than {MOST_VALUES} values")
    return list(rows.values())


def shown(value: Any) -> str:
    """A value as text: bytes in hexadecimal, several texts apart by blanks."""
    if isinstance(value, bytes):
        return value.hex(" ").upper()
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _keys(path: str, is_recursive: bool, subkeys: Subkeys) -> Iterator[str]:
    waiting, seen = [path], 0
    while waiting:
        key = waiting.pop()
        seen += 1
        if seen > MOST_KEYS:
            raise GatherFault(f"{MOST_KEYS} keys were scanned, {key} is too many")
        yield key
        if is_recursive:
            waiting += [f"{key}\\{name}" for name in reversed(subkeys(key))]
