"""The three lists: order and pages; the counts of the fleet against a naive account."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.ssm.compliance import items as sets
from fleetward.server.ssm.compliance import listing
from fleetward.server.ssm.errors import InvalidResourceId, InvalidResourceType
from tests.server.ssm.compliance.conftest import item, where

pytest_plugins = ("tests.services",)


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("size", [1, 3, 50])
def test_pages_of_items_miss_and_repeat_nothing(
    world: Any, fleet: Any, uploads: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(sets, "CHUNK", 2)
    monkeypatch.setattr(listing, "CHUNKS_AT_ONCE", 2)
    wanted = []
    for node_id in sorted(fleet.admit() for _ in range(2)):
        for kind in ("Custom:Aa", "Patch"):
            names = [f"{number}" for number in range(5)]
            uploads.put(node_id, [item(name, severity="LOW" if name < "2" else "HIGH") for name in names], kind)
            wanted += [(node_id, kind, name) for name in names]

    def listed(*filters: dict[str, Any]) -> list[tuple[str, str, str]]:
        found = uploads.items(*filters, MaxResults=size)
        return [(each["ResourceId"], each["ComplianceType"], each["Id"]) for each in found]

    assert listed() == wanted
    assert listed(where("Severity", "LOW")) == [each for each in wanted if each[2] < "2"]


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_summaries_count_nodes_by_their_worst_severity(world: Any, fleet: Any, uploads: Any) -> None:
    states = [
        ("COMPLIANT", "HIGH"),
        ("NON_COMPLIANT", "HIGH"),
        ("NON_COMPLIANT", "CRITICAL"),
        ("NON_COMPLIANT", "HIGH"),
    ]
    nodes = sorted(fleet.admit(tags={"Patch Group": "web"} if number else {}) for number in range(4))
    for node_id, (status, severity) in zip(nodes, states, strict=True):
        uploads.put(node_id, [item("a", status, severity), item("b", status, "LOW")], "Patch")
        uploads.put(node_id, [item("a")], "Custom:Disks")
    first, second = world.call("ListComplianceSummaries")["ComplianceSummaryItems"]
    assert first["ComplianceType"] == "Custom:Disks"
    assert first["CompliantSummary"]["SeveritySummary"]["UnspecifiedCount"] == 4
    assert second["CompliantSummary"]["CompliantCount"] == 1
    assert second["NonCompliantSummary"] == {
        "NonCompliantCount": 3,
        "SeveritySummary": {
            "CriticalCount": 1,
            "HighCount": 2,
            "MediumCount": 0,
            "LowCount": 0,
            "InformationalCount": 0,
            "UnspecifiedCount": 0,
        },
    }
    assert uploads.types(MaxResults=1) == {"Custom:Disks": (4, 0), "Patch": (1, 3)}
    assert uploads.types(where("Status", "NON_COMPLIANT")) == {"Patch": (0, 3)}
    patched = [where("ComplianceType", "Patch"), where("PatchGroup", "web")]
    tagged = {each["ResourceId"] for each in uploads.states(*patched)}
    untagged = [each["ResourceId"] for each in uploads.states(where("PatchGroup", "web", kind="NOT_EQUAL"))]
    assert len(tagged) == 3
    assert set(untagged) == set(nodes) - tagged
    assert [each["ResourceId"] for each in uploads.states(MaxResults=3)] == [each for each in nodes for _ in "ab"]


def test_items_of_what_is_no_single_known_node_are_refused(fleet: Any, uploads: Any) -> None:
    with pytest.raises(InvalidResourceId):
        uploads.items(ResourceIds=["mi-00000000000000000"])
    with pytest.raises(InvalidResourceId):
        uploads.items(ResourceIds=[fleet.admit(), fleet.admit()])
    with pytest.raises(InvalidResourceType):
        uploads.items(ResourceTypes=["Bucket"])
