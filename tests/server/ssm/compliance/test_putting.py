"""PutComplianceItems: replace, merge, hashes, limits, and who may put what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException
from fleetward.server.ssm import compliance, ssm
from fleetward.server.ssm.compliance import ComplianceChanged
from fleetward.server.ssm.errors import (
    ComplianceTypeCountLimitExceededException,
    InvalidResourceId,
    InvalidResourceType,
    ItemSizeLimitExceededException,
    TotalSizeLimitExceededException,
)
from tests.server.ssm.compliance.conftest import item

pytest_plugins = ("tests.services",)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch, world: Any) -> Iterator[list[tuple[str, str]]]:
    """The states before and after of every event of the world."""
    seen: list[tuple[str, str]] = []
    world.runner._reactions[ComplianceChanged].append(lambda _, event: seen.append((event.before, event.status)))
    yield seen
    assert ssm.reactions.get(ComplianceChanged, []) == []


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_an_upload_replaces_what_was_there_and_is_listed(world: Any, fleet: Any, uploads: Any) -> None:
    node_id = fleet.admit()
    uploads.put(node_id, [item("b"), item("a", "NON_COMPLIANT", "HIGH", Why="full")])
    uploads.put(node_id, [item("p")], "Patch")
    first, second = uploads.items(ResourceIds=[node_id])[:2]
    assert (first["Id"], first["Status"], first["Severity"], first["Details"]) == (
        "a",
        "NON_COMPLIANT",
        "HIGH",
        {"Why": "full"},
    )
    assert second["ExecutionSummary"] == {"ExecutionTime": uploads.now()}
    uploads.put(node_id, [item("c")])
    assert uploads.ids() == ["c", "p"]
    uploads.put(node_id, [])
    assert uploads.ids() == ["p"]
    empty, _ = uploads.states()
    assert (empty["Status"], empty["CompliantSummary"]["CompliantCount"]) == ("COMPLIANT", 0)


def test_an_upload_whose_hash_is_known_changes_nothing(world: Any, fleet: Any, uploads: Any) -> None:
    node_id = fleet.admit()
    uploads.put(node_id, [item("a")], ItemContentHash="one")
    uploads.put(node_id, [], ItemContentHash="one")
    assert uploads.ids() == ["a"]
    uploads.put(node_id, [item("b")], ItemContentHash="two")
    assert uploads.ids() == ["b"]
    uploads.put(node_id, [item("c")], UploadType="PARTIAL")
    uploads.put(node_id, [item("d")], ItemContentHash="two")
    assert uploads.ids() == ["d"], "what was merged since is not what the hash is of"


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_a_partial_upload_is_merged_and_others_keep_their_execution(world: Any, fleet: Any, uploads: Any) -> None:
    node_id = fleet.admit()
    then = uploads.now()
    execution = {"ExecutionTime": then, "ExecutionId": "first", "ExecutionType": "Command"}
    uploads.put(node_id, [item("a"), item("b")], "Association", ExecutionSummary=execution)
    world.clock.advance(timedelta(hours=1))
    uploads.put(node_id, [item("b", "NON_COMPLIANT", "LOW"), item("c")], "Association", UploadType="PARTIAL")
    listed = {each["Id"]: (each["Status"], each["ExecutionSummary"]) for each in uploads.items()}
    assert listed == {
        "a": ("COMPLIANT", execution),
        "b": ("NON_COMPLIANT", {"ExecutionTime": uploads.now()}),
        "c": ("COMPLIANT", {"ExecutionTime": uploads.now()}),
    }
    (state,) = uploads.states()
    assert (state["Status"], state["OverallSeverity"]) == ("NON_COMPLIANT", "LOW")


def test_a_node_tells_about_itself_and_what_it_tells_of_associations_is_not_kept(fleet: Any, uploads: Any) -> None:
    node_id, other = fleet.admit(), fleet.admit()
    assert uploads.put(node_id, [item("a")], "Association", by=fleet.node(node_id)) == {}
    uploads.put(node_id, [item("p")], "Patch", by=fleet.node(node_id))
    assert uploads.ids() == ["p"]
    with pytest.raises(AccessDeniedException):
        uploads.put(other, [item("p")], "Patch", by=fleet.node(node_id))


def test_policies_decide_on_the_node_and_its_tags(world: Any, fleet: Any, uploads: Any) -> None:
    mine, other = fleet.admit(tags={"team": "mine"}), fleet.admit()
    condition = {"StringEquals": {"aws:ResourceTag/team": "mine"}}
    role = world.as_role(
        {"Effect": "Allow", "Action": "ssm:PutComplianceItems", "Resource": "*", "Condition": condition}
    )
    uploads.put(mine, [item("a")], by=role)
    with pytest.raises(AccessDeniedException):
        uploads.put(other, [item("a")], by=role)


def test_unknown_nodes_and_other_resources_are_refused(fleet: Any, uploads: Any) -> None:
    with pytest.raises(InvalidResourceId):
        uploads.put("mi-00000000000000000", [])
    with pytest.raises(InvalidResourceType):
        uploads.put(fleet.admit(), [], ResourceType="Bucket")


def test_a_node_can_have_ten_custom_types(fleet: Any, uploads: Any) -> None:
    node_id = fleet.admit()
    for number in range(10):
        uploads.put(node_id, [], f"Custom:Type{number}")
    uploads.put(node_id, [item("a")], "Custom:Type0")
    uploads.put(node_id, [item("a")], "Patch")
    with pytest.raises(ComplianceTypeCountLimitExceededException):
        uploads.put(node_id, [], "Custom:Another")


def test_items_are_bounded_alone_and_together(fleet: Any, uploads: Any) -> None:
    node_id = fleet.admit()
    large = {f"Key{number}": "x" * 4000 for number in range(17)}
    with pytest.raises(ItemSizeLimitExceededException):
        uploads.put(node_id, [item("a", **large)])
    large.popitem()
    large.popitem()
    with pytest.raises(TotalSizeLimitExceededException):
        uploads.put(node_id, [item(f"{number}", **large) for number in range(75)])
    uploads.put(node_id, [item(f"{number}") for number in range(2000)])
    with pytest.raises(TotalSizeLimitExceededException):
        uploads.put(node_id, [item("one more")], UploadType="PARTIAL")
    assert len(uploads.states()) == 1


def test_ten_thousand_items_are_taken_within_what_an_entry_may_take(fleet: Any, uploads: Any) -> None:
    node_id = fleet.admit()
    many = [item(f"package-{number:05}.x86_64", Classification="Security", Why="y" * 150) for number in range(10_000)]
    uploads.put(node_id, many, "Patch")
    uploads.put(node_id, [*many[1:], item("z", "NON_COMPLIANT", "CRITICAL")], "Patch")
    (state,) = uploads.states()
    assert state["CompliantSummary"]["CompliantCount"] == 9_999
    assert uploads.ids({"Key": "Status", "Values": ["NON_COMPLIANT"]}) == ["z"]


def test_an_event_tells_when_a_state_turns(fleet: Any, uploads: Any, turns: list[tuple[str, str]]) -> None:
    node_id = fleet.admit()
    for status in ("NON_COMPLIANT", "NON_COMPLIANT", "COMPLIANT"):
        uploads.put(node_id, [item("a", status)])
    assert turns == [("", "NON_COMPLIANT"), ("NON_COMPLIANT", "COMPLIANT")]


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_other_capabilities_replace_and_forget(world: Any, fleet: Any, uploads: Any) -> None:
    node_id = fleet.admit()
    execution = {"ExecutionTime": uploads.now()}
    fleet.do(compliance.replace, node_id, compliance.ASSOCIATION, execution, [item("a"), item("b")])
    fleet.do(compliance.replace, node_id, compliance.PATCH, execution, [item("p")])
    assert uploads.ids() == ["a", "b", "p"]
    fleet.do(compliance.forget, node_id, compliance.ASSOCIATION)
    assert uploads.ids() == ["p"]
    fleet.do(compliance.forget, node_id)
    assert uploads.states() == []


def test_a_node_that_leaves_loses_its_items(world: Any, fleet: Any, uploads: Any) -> None:
    gone, stays = fleet.admit(), fleet.admit()
    for node_id in (gone, stays):
        uploads.put(node_id, [item("a")])
    world.call("DeregisterManagedInstance", {"InstanceId": gone})
    assert [each["ResourceId"] for each in uploads.items()] == [stays]
    assert uploads.types() == {"Custom:Disks": (1, 0)}
