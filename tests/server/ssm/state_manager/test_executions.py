"""One run of an association: what begins it, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetward.server.ssm.state_manager import executions
from tests.calls import SHELL


def document(office: Any) -> str:
    """A document of one's own."""
    office.world.call("CreateDocument", {"Name": "Mine", "Content": json.dumps(SHELL), "DocumentType": "Command"})
    return "Mine"


def test_an_execution_without_nodes_succeeds(office: Any) -> None:
    association_id = office.create(Targets=[{"Key": "tag:nobody", "Values": ["has"]}])
    (execution,) = office.world.call("DescribeAssociationExecutions", {"AssociationId": association_id})[
        "AssociationExecutions"
    ]
    assert (execution["Status"], execution["ResourceCountByStatus"]) == ("Success", "{}")


def test_a_run_of_a_deleted_document_fails_and_says_so(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], Name=document(office), Parameters={})
    office.apply(node)
    office.world.call("DeleteDocument", {"Name": "Mine"})
    office.world.call("StartAssociationsOnce", {"AssociationIds": [association_id]})
    office.work()
    found = office.world.call("DescribeAssociationExecutions", {"AssociationId": association_id})
    ends = {(each["Status"], each["DetailedStatus"]) for each in found["AssociationExecutions"]}
    assert ends == {("Success", "Success"), ("Failed", "InvalidDocument")}
    assert office.listed(node) == []


@pytest.mark.parametrize("hours", [1, 3])
def test_a_run_ends_with_its_duration(office: Any, hours: int) -> None:
    (node,) = office.nodes(1)
    association_id = office.create(
        [node], ScheduleExpression="cron(0 0 ? * * *)", ApplyOnlyAtCronInterval=True, Duration=hours
    )
    office.later(hours=12, minutes=15)
    assert len(office.listed(node)) == 1
    office.later(hours=hours)
    assert office.listed(node) == []
    assert office.overview(association_id)[2] == {"TimedOut": 1}


def test_old_executions_are_forgotten(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node])
    office.apply(node)
    office.later(days=31)
    office.world.do(executions.forget)
    found = office.world.call("DescribeAssociationExecutions", {"AssociationId": association_id})
    assert found["AssociationExecutions"] == []
    assert office.overview(association_id)[0] == "Success"
