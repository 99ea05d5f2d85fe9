"""Calendars: associations run while all of their change calendars are open."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.ssm.errors import InvalidDocument
from tests.calendars import calendar, event

ALL = [{"Key": "InstanceIds", "Values": ["*"]}]


def closed_for_an_hour(office: Any, in_hours: int) -> None:
    """A calendar `Quiet` that is closed for an hour, from so many hours after now on."""
    start = office.world.clock.now() + timedelta(hours=in_hours)
    times = (f":{start:%Y%m%dT%H%M%SZ}", f"DTEND:{start + timedelta(hours=1):%Y%m%dT%H%M%SZ}")
    request = {"Name": "Quiet", "DocumentType": "ChangeCalendar", "DocumentFormat": "TEXT"}
    office.world.call("CreateDocument", {**request, "Content": calendar(event(*times))})


def executions(office: Any, association_id: str) -> list[str]:
    found = office.world.call("DescribeAssociationExecutions", {"AssociationId": association_id})
    return [each["DetailedStatus"] for each in reversed(found["AssociationExecutions"])]


def test_what_is_due_while_a_calendar_is_closed_is_skipped_and_runs_at_the_next_interval(office: Any) -> None:
    (node,) = office.nodes(1)
    closed_for_an_hour(office, 1)
    association_id = office.create([node], ScheduleExpression="rate(1 hour)", CalendarNames=["Quiet"])
    assert office.apply(node) == [association_id]
    office.later(minutes=75)
    assert office.apply(node) == []
    assert executions(office, association_id) == ["Success", "Skipped"]
    office.later(hours=1)
    assert office.apply(node) == [association_id]
    assert executions(office, association_id) == ["Success", "Skipped", "Success"]


def test_a_node_that_comes_while_a_calendar_is_closed_runs_when_it_opens(office: Any) -> None:
    closed_for_an_hour(office, 0)
    association_id = office.create(Targets=ALL, CalendarNames=["Quiet"])
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
    assert executions(office, association_id) == ["Success", "InvalidDocument"]
