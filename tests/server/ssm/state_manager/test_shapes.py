"""Associations as the API shows them."""

from __future__ import annotations

from typing import Any


def test_a_single_target_of_a_single_id_fills_the_legacy_member(office: Any) -> None:
    one, other = office.nodes(2)
    assert office.describe(office.create([one]))["InstanceId"] == one
    assert "InstanceId" not in office.describe(office.create([one, other]))
    every = office.create(Targets=[{"Key": "InstanceIds", "Values": ["*"]}])
    assert "InstanceId" not in office.describe(every)


def test_times_are_shown_once_they_are_there(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], ScheduleExpression="cron(0 0 ? * * *)", ApplyOnlyAtCronInterval=True)
    assert "LastExecutionDate" not in office.describe(association_id)
    office.later(hours=12, minutes=15)
    found = office.describe(association_id)
    assert found["LastExecutionDate"] == office.world.clock.now()
    assert "LastSuccessfulExecutionDate" not in found
