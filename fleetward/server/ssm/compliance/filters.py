"""Filters of the three lists: as conditions on the rows of states, and as tests on single items."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, not_, or_

from fleetward.server.schema import UtcDateTime
from fleetward.server.ssm import nodes, tags
from fleetward.server.ssm.compliance.table import states
from fleetward.server.ssm.errors import InvalidFilter
from fleetward.server.ssm.nodes.filters import Condition, begins

Filter = Mapping[str, Any]

COLUMNS: Mapping[str, ColumnElement[Any]] = {
    "ComplianceType": states.c.compliance_type,
    "ExecutionId": states.c.execution_id,
    "ExecutionTime": states.c.execution_time,
    "ExecutionType": states.c.execution_type,
    "OverallSeverity": states.c.severity,
    "ResourceId": states.c.node_id,
    "Status": states.c.status,
}
"""Filter keys of summaries."""
PATCH_GROUP_KEYS = ("Patch Group", "PatchGroup")
"""The tags that make a patch group; EC2 allows no blank where tags are readable inside the instance."""
MEMBERS = ("Id", "Title", "Severity", "Status")
"""Filter keys of items that are members of theirs; keys of none of these lists are looked for in Details."""

_ON_COLUMN: Mapping[str, Callable[[ColumnElement[Any], Any], Condition]] = {
    "EQUAL": operator.eq,
    "NOT_EQUAL": operator.eq,
    "BEGIN_WITH": begins,
    "LESS_THAN": operator.lt,
    "GREATER_THAN": operator.gt,
}
_ON_VALUE: Mapping[str, Callable[[Any, Any], bool]] = {
    "EQUAL": operator.eq,
    "NOT_EQUAL": operator.eq,
    "BEGIN_WITH": lambda actual, value: str(actual).startswith(value),
    "LESS_THAN": operator.lt,
    "GREATER_THAN": operator.gt,
}


def on_states(filters: Sequence[Filter]) -> list[Condition]:
    """Conditions on rows of states; all must hold. Raises InvalidFilter for keys that summaries do not have."""
    return [_on_state(*_parts(each)) for each in filters]


def of_items(filters: Sequence[Filter]) -> tuple[list[Condition], Callable[[Mapping[str, Any]], bool]]:
    """What filters of items mean: conditions on the states that can hold such items, and the test of an item.

    The test takes an item in AWS's shape (ComplianceItem). Raises InvalidFilter for values that are no time.
    """
    conditions, tests = [], []
    for key, kind, values in map(_parts, filters):
        if key in ("ComplianceType", "ResourceId"):
            conditions.append(_on_state(key, kind, values))
        else:
            tests.append(_test(key, kind, values))
        if key == "Status" and kind == "EQUAL" and values == ["NON_COMPLIANT"]:
            conditions.append(states.c.status == "NON_COMPLIANT")  # none is on others; most are others
    return conditions, lambda item: all(test(item) for test in tests)


def _parts(given: Filter) -> tuple[str, str, list[str]]:
    key, values = given.get("Key"), given.get("Values")
    if not key or not values:
        raise InvalidFilter("A filter needs a Key and Values.")
    return key, given.get("Type", "EQUAL"), list(values)


def _on_state(key: str, kind: str, values: Sequence[str]) -> Condition:
    if key == "PatchGroup":
        found = or_(*(states.c.node_id.in_(tags.having(nodes.RESOURCE_TYPE, tag, values)) for tag in PATCH_GROUP_KEYS))
        if kind not in ("EQUAL", "NOT_EQUAL"):
            raise InvalidFilter("PatchGroup can be compared by EQUAL and NOT_EQUAL alone.")
        return not_(found) if kind == "NOT_EQUAL" else found
    column = COLUMNS.get(key)
    if column is None:
        allowed = ", ".join((*COLUMNS, "PatchGroup"))
        raise InvalidFilter(f"The filter key {key!r} is not one of: {allowed}.")
    asked = [_time(key, kind, value) for value in values] if isinstance(column.type, UtcDateTime) else values
    found = or_(*(_ON_COLUMN[kind](column, value) for value in asked))
    return not_(found) if kind == "NOT_EQUAL" else found


def _test(key: str, kind: str, values: Sequence[str]) -> Callable[[Mapping[str, Any]], bool]:
    asked = [_time(key, kind, value) for value in values] if key == "ExecutionTime" else values
    compare = _ON_VALUE[kind]

    def test(item: Mapping[str, Any]) -> bool:
        if key.startswith("Execution"):
            actual = item["ExecutionSummary"].get(key, "")
        else:
            actual = item.get(key, "") if key in MEMBERS else item.get("Details", {}).get(key, "")
        return any(compare(actual, value) for value in asked) is not (kind == "NOT_EQUAL")

    return test


def _time(key: str, kind: str, text: str) -> datetime:
    try:
        if kind == "BEGIN_WITH":
            raise ValueError
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError
    except ValueError as fault:
        raise InvalidFilter(f"{key} is compared with times like 2030-01-31T12:00:00Z, not {text!r}.") from fault
    return at
