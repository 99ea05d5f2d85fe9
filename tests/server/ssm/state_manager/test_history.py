"""Executions and their targets as the API shows them."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import ValidationException
from fleetward.server.ssm.errors import AssociationDoesNotExist, AssociationExecutionDoesNotExist

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def executions(office: Any, association_id: str, **members: Any) -> list[dict[str, Any]]:
    """DescribeAssociationExecutions."""
    found = office.world.call("DescribeAssociationExecutions", {"AssociationId": association_id, **members})
    return list(found["AssociationExecutions"])


def targets(office: Any, execution: dict[str, Any], **members: Any) -> list[dict[str, Any]]:
    """DescribeAssociationExecutionTargets."""
    named = {name: execution[name] for name in ("AssociationId", "ExecutionId")}
    found = office.world.call("DescribeAssociationExecutionTargets", {**named, **members})
    return list(found["AssociationExecutionTargets"])


def test_an_execution_and_its_targets_follow_what_nodes_tell(office: Any) -> None:
    nodes = office.nodes(3)
    association_id = office.create(nodes)
    (execution,) = executions(office, association_id)
    assert (execution["Status"], execution["DetailedStatus"]) == ("Pending", "Pending")
    assert execution["ResourceCountByStatus"] == "{Pending=3}"
    office.tell(nodes[0], association_id, "InProgress")
    assert executions(office, association_id)[0]["DetailedStatus"] == "InProgress"
    office.apply(nodes[1])
    office.apply(nodes[2], "Failed")
    office.tell(nodes[0], association_id, "Skipped")
    (execution,) = executions(office, association_id)
    assert (execution["Status"], execution["ResourceCountByStatus"]) == ("Failed", "{Failed=1, Success=2}")
    shown = targets(office, execution)
    assert [each["ResourceId"] for each in shown] == nodes
    assert [each["Status"] for each in shown] == ["Success", "Success", "Failed"]
    (command,) = office.world.call("ListCommands", {})["Commands"]
    assert {each["OutputSource"]["OutputSourceId"] for each in shown} == {command["CommandId"]}
    assert command["Comment"] == f"{association_id}:{execution['ExecutionId']}"


def test_filters_and_pages_of_executions_and_targets(office: Any) -> None:
    nodes = office.nodes(3)
    association_id = office.create(nodes)
    for _ in range(2):
        office.later(minutes=1)
        office.world.call("StartAssociationsOnce", {"AssociationIds": [association_id]})
        office.work()
    pages = office.world.pages(
        "DescribeAssociationExecutions", {"AssociationId": association_id, "MaxResults": 2}, "AssociationExecutions"
    )
    assert [len(page) for page in pages] == [2, 1]
    every = [each for page in pages for each in page]
    assert [each["CreatedTime"] for each in every] == sorted((each["CreatedTime"] for each in every), reverse=True)
    one = {"Key": "ExecutionId", "Value": every[1]["ExecutionId"], "Type": "EQUAL"}
    assert executions(office, association_id, Filters=[one]) == [every[1]]
    early = {"Key": "CreatedTime", "Value": every[1]["CreatedTime"].isoformat(), "Type": "LESS_THAN"}
    assert executions(office, association_id, Filters=[early]) == [every[2]]
    with pytest.raises(ValidationException):
        executions(office, association_id, Filters=[{**one, "Type": "LESS_THAN"}])
    named = {name: every[0][name] for name in ("AssociationId", "ExecutionId")}
    pages = office.world.pages(
        "DescribeAssociationExecutionTargets", {**named, "MaxResults": 2}, "AssociationExecutionTargets"
    )
    assert [[each["ResourceId"] for each in page] for page in pages] == [nodes[:2], nodes[2:]]
    office.apply(nodes[1])
    found = targets(office, every[0], Filters=[{"Key": "Status", "Value": "Success"}])
    assert [each["ResourceId"] for each in found] == [nodes[1]]
    found = targets(office, every[0], Filters=[{"Key": "ResourceId", "Value": nodes[2]}])
    assert [each["ResourceId"] for each in found] == [nodes[2]]


def test_what_is_not_there_is_refused(office: Any) -> None:
    (node,) = office.nodes(1)
    with pytest.raises(AssociationDoesNotExist):
        executions(office, UNKNOWN)
    with pytest.raises(AssociationExecutionDoesNotExist):
        targets(office, {"AssociationId": office.create([node]), "ExecutionId": UNKNOWN})
