"""The filters of file and registry inventory: a JSON list of paths with what to look for there (SEM 8.2)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from fleetward.agent.inventory.rows import GatherFault

MOST_FILTERS = 100
_VARIABLE = re.compile(r"%([A-Za-z_][A-Za-z0-9_()]*)%|\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")


def read_filters(asked: str) -> list[Mapping[str, Any]]:
    """The filters in an input's text; GatherFault when it is no list of objects with a Path."""
    try:
        filters = json.loads(asked)
    except (ValueError, RecursionError):
        raise GatherFault("the filter is not JSON") from None
    if not isinstance(filters, list) or not all(isinstance(each, dict) for each in filters):
        raise GatherFault('the filter must be a list such as [{"Path": "/etc", "Pattern": ["*.conf"]}]')
    if len(filters) > MOST_FILTERS:
        raise GatherFault(f"there are {len(filters)} filters, {MOST_FILTERS} are allowed")
    for each in filters:
        if not isinstance(each.get("Path"), str) or not each["Path"]:
            raise GatherFault("a filter has no Path")
    return filters


def texts(found: Mapping[str, Any], name: str) -> list[str]:
    """A member that is a list of texts; empty when it is missing."""
    value = found.get(name)
    if value is None:
        return []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise GatherFault(f"{name} must be a list of texts")
    return value


def flag(found: Mapping[str, Any], name: str) -> bool:
    """A member that is true or false, also as text."""
    value = found.get(name, False)
    return value.lower() == "true" if isinstance(value, str) else value is True


def expand(path: str, environment: Mapping[str, str] = os.environ) -> str:
    """A path with the environment's variables put in, %NAME%, $NAME or ${NAME}; GatherFault for one that is not set."""

    def value_of(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        value = environment.get(name)
        if value is None and os.name == "nt":
            value = environment.get(name.upper())
        if value is None:
            raise GatherFault(f"{path!r} names the variable {name}, which is not set")
        if os.pathsep in value:
            raise GatherFault(f"the variable {name} in {path!r} names several folders")
        return value

    return _VARIABLE.sub(value_of, path)
