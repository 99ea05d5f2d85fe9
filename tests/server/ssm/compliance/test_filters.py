"""Filters of compliance: which items and states they find, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.ssm.errors import InvalidFilter
from tests.server.ssm.compliance.conftest import item, where


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([where("Status", "NON_COMPLIANT")], ["b"]),
        ([where("Status", "NON_COMPLIANT", kind="NOT_EQUAL")], ["a", "c"]),
        ([where("Severity", "HIGH", "LOW")], ["b", "c"]),
        ([where("Title", "A", kind="GREATER_THAN")], ["b", "c"]),
        ([where("Id", "b", kind="BEGIN_WITH"), where("Severity", "HIGH")], ["b"]),
        ([where("State", "Missing")], ["b"]),
        ([where("ComplianceType", "Custom:", kind="BEGIN_WITH")], ["a", "b"]),
        ([where("ComplianceType", "Custom:Disks", kind="NOT_EQUAL")], ["c"]),
        ([where("ExecutionId", "first")], ["a", "b"]),
        ([where("ExecutionTime", "2001-01-01T00:00:00Z", kind="LESS_THAN")], []),
    ],
)
def test_filters_of_items(fleet: Any, uploads: Any, filters: list[dict[str, Any]], ids: list[str]) -> None:
    node_id = fleet.admit()
    execution = {"ExecutionTime": uploads.now(), "ExecutionId": "first"}
    two = [item("a"), item("b", "NON_COMPLIANT", "HIGH", State="Missing")]
    uploads.put(node_id, two, ExecutionSummary=execution)
    uploads.put(node_id, [item("c", severity="LOW")], "Patch")
    assert uploads.ids(*filters) == ids


@pytest.mark.parametrize(
    ("kind", "found"),
    [("EQUAL", [0]), ("NOT_EQUAL", [1]), ("LESS_THAN", []), ("GREATER_THAN", [1])],
)
def test_states_are_filtered_by_time(world: Any, fleet: Any, uploads: Any, kind: str, found: list[int]) -> None:
    node_id = fleet.admit()
    first = uploads.now()
    uploads.put(node_id, [], "Custom:Type0")
    uploads.put(node_id, [], "Custom:Type1", ExecutionSummary={"ExecutionTime": first + timedelta(seconds=1)})
    states = uploads.states(where("ExecutionTime", first.isoformat(), kind=kind))
    assert [each["ComplianceType"] for each in states] == [f"Custom:Type{number}" for number in found]


def test_what_cannot_be_asked_is_refused(world: Any, fleet: Any, uploads: Any) -> None:
    for filters in (where("Color", "red"), {"Key": "Status"}, where("ExecutionTime", "yesterday")):
        with pytest.raises(InvalidFilter):
            uploads.states(filters)
    with pytest.raises(InvalidFilter):
        uploads.items(where("ExecutionTime", "2030-01-01T00:00:00"))
    with pytest.raises(InvalidFilter):
        uploads.types(where("PatchGroup", "a", kind="LESS_THAN"))
