"""What is due begins: once, the latest only, and whoever looks."""

from __future__ import annotations

from typing import Any

from fleetward.server.ssm.state_manager import schedules


def runs(office: Any, association_id: str) -> int:
    """How many executions there are."""
    found = office.world.call("DescribeAssociationExecutions", {"AssociationId": association_id})
    return len(found["AssociationExecutions"])


def test_a_schedule_starts_one_run_however_many_look(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], ScheduleExpression="rate(30 minutes)")
    office.later(minutes=33)
    assert runs(office, association_id) == 2
    for _ in range(3):
        assert office.world.do(schedules.begin_due) is False
    assert runs(office, association_id) == 2
    office.later(minutes=30)
    assert runs(office, association_id) == 3


def test_of_what_was_missed_the_latest_runs(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], ScheduleExpression="rate(30 minutes)")
    office.apply(node)
    office.later(days=3)
    assert runs(office, association_id) == 2
    assert office.apply(node) == [association_id]


def test_a_single_moment_starts_a_single_run(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], ScheduleExpression="at(2030-01-01T13:00:00)")
    office.apply(node)
    office.later(minutes=59, seconds=59)
    assert runs(office, association_id) == 1
    office.later(seconds=1)
    assert runs(office, association_id) == 2
    office.later(days=300)
    assert runs(office, association_id) == 2


def test_many_that_are_due_are_all_begun(office: Any) -> None:
    (node,) = office.nodes(1)
    made = [office.create([node], ScheduleExpression="rate(1 hour)") for _ in range(schedules.CHUNK + 3)]
    office.later(hours=1, minutes=6)
    assert {runs(office, association_id) for association_id in made} == {2}


def test_a_single_moment_can_be_waited_for(office: Any) -> None:
    (node,) = office.nodes(1)
    schedule = "at(2030-01-01T13:00:00)"
    association_id = office.create([node], ScheduleExpression=schedule, ApplyOnlyAtCronInterval=True)
    assert office.apply(node) == []
    office.later(hours=1)
    assert office.apply(node) == [association_id]
