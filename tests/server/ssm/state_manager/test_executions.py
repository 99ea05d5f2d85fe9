"""One run of an association: what begins it, and how it ends."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.ssm.errors import InvalidDocument
from fleetward.server.ssm.state_manager import executions
from tests.calendars import calendar, event
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


def closed_for_an_hour(office: Any, in_hours: int) -> None:
    """A calendar `Quiet` that is closed for an hour, from so many hours after now on."""
    start = office.world.clock.now() + timedelta(hours=in_hours)
    times = (f":{start:%Y%m%dT%H%M%SZ}", f"DTEND:{start + timedelta(hours=1):%Y%m%dT%H%M%SZ}")
    request = {"Name": "Quiet", "DocumentType": "ChangeCalendar", "DocumentFormat": "TEXT"}
    office.world.call("CreateDocument", {**request, "Content": calendar(event(*times))})


def statuses(office: Any, association_id: str) -> list[str]:
    found = office.world.call("DescribeAssociationExecutions", {"AssociationId": association_id})
    return [each["DetailedStatus"] for each in reversed(found["AssociationExecutions"])]


def test_what_is_due_while_a_calendar_is_closed_is_skipped_and_runs_at_the_next_interval(office: Any) -> None:
    (node,) = office.nodes(1)
    closed_for_an_hour(office, 1)
    association_id = office.create([node], ScheduleExpression="rate(1 hour)", CalendarNames=["Quiet"])
    assert office.apply(node) == [association_id]
    office.later(minutes=75)
    assert office.apply(node) == []
    assert statuses(office, association_id) == ["Success", "Skipped"]
    office.later(hours=1)
    assert office.apply(node) == [association_id]
    assert statuses(office, association_id) == ["Success", "Skipped", "Success"]


def test_a_node_that_comes_while_a_calendar_is_closed_runs_when_it_opens(office: Any) -> None:
    closed_for_an_hour(office, 0)
    association_id = office.create(Targets=[{"Key": "InstanceIds", "Values": ["*"]}], CalendarNames=["Quiet"])
    (node,) = office.nodes(1)
    assert office.apply(node) == []
    office.later(minutes=59)
    assert office.apply(node) == []
    office.later(minutes=2)
    assert office.apply(node) == [association_id]


def test_a_calendar_must_be_one_and_a_run_without_it_fails(office: Any) -> None:
    (node,) = office.nodes(1)
    for name in ("Nothing", "AWS-RunShellScript"):
        with pytest.raises(InvalidDocument):
            office.create([node], CalendarNames=[name])
    closed_for_an_hour(office, 5)
    association_id = office.create([node], ScheduleExpression="rate(1 hour)", CalendarNames=["Quiet"])
    office.apply(node)
    office.world.call("DeleteDocument", {"Name": "Quiet"})
    office.later(minutes=75)
    assert office.apply(node) == []
    assert statuses(office, association_id) == ["Success", "InvalidDocument"]
