"""What an association must be, and when it is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.ssm.errors import (
    InvalidDocument,
    InvalidOutputLocation,
    InvalidParameters,
    InvalidSchedule,
    InvalidTarget,
    InvalidTargetMaps,
)
from fleetward.server.ssm.state_manager import definition
from fleetward.server.ssm.state_manager.definition import LONGEST_SPREAD, checksum, due_after

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ALL = [{"Key": "InstanceIds", "Values": ["*"]}]


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"ScheduleExpression": "rate(29 minutes)"}, InvalidSchedule),
        ({"ScheduleExpression": "rate(31 days)"}, InvalidSchedule),
        ({"ScheduleExpression": "cron(* * * * ? *)"}, InvalidSchedule),
        ({"ScheduleExpression": "every day"}, InvalidSchedule),
        ({"ScheduleExpression": "rate(1 day)", "ApplyOnlyAtCronInterval": True}, InvalidSchedule),
        ({"ScheduleExpression": "cron(0 0 ? * THU#2 *)", "ScheduleOffset": 3}, InvalidSchedule),
        ({"ApplyOnlyAtCronInterval": True}, InvalidSchedule),
        ({"Targets": [{"Key": "colour", "Values": ["red"]}]}, InvalidTarget),
        ({"Targets": [{"Key": "InstanceIds", "Values": ["*", "mi-1"]}]}, InvalidTarget),
        ({"Targets": [{"Key": "tag:a", "Values": []}]}, InvalidTarget),
        ({"Targets": []}, InvalidTarget),
        ({"Parameters": {"nothing": ["like it"]}}, InvalidParameters),
        ({"Parameters": {}}, InvalidParameters),
        ({"OutputLocation": {"S3Location": {"OutputS3KeyPrefix": "there"}}}, InvalidOutputLocation),
        ({"Name": "Nobody-MadeThis"}, InvalidDocument),
        ({"Name": "AWS-StartSSHSession"}, InvalidDocument),
        ({"TargetMaps": [{"a": ["b"]}]}, InvalidTargetMaps),
        ({"CalendarNames": ["Holidays"]}, InvalidDocument),
    ],
)
def test_what_cannot_be_run_is_refused(office: Any, members: dict[str, Any], error: type[Exception]) -> None:
    request = {"Name": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, "Targets": ALL, **members}
    with pytest.raises(error):
        office.world.call("CreateAssociation", request)
    assert office.world.call("ListAssociations", {})["Associations"] == []


def test_the_checksum_changes_with_what_a_node_must_do_alone() -> None:
    asked = {"Name": "Mine", "Parameters": {"a": ["1"]}, "MaxErrors": "5"}
    one = checksum("id", asked, "1")
    assert checksum("id", {**asked, "MaxErrors": "6", "AssociationName": "x"}, "1") == one
    others = [
        checksum("id", {**asked, "Parameters": {"a": ["2"]}}, "1"),
        checksum("id", asked, "2"),
        checksum("id", {**asked, "ScheduleExpression": "rate(1 day)"}, "1"),
    ]
    assert one not in others
    assert len(set(others)) == len(others)


@given(
    st.sampled_from(["rate(30 minutes)", "rate(7 days)", "cron(0/30 * * * ? *)", "cron(15 13 ? * TUE#3 *)"]),
    st.uuids().map(str),
    st.integers(0, 10**7),
)
def test_what_is_due_comes_after_now_and_is_spread_by_a_quarter_of_an_hour_at_most(
    expression: str, association_id: str, seconds: int
) -> None:
    asked, now = {"ScheduleExpression": expression}, NOON + timedelta(seconds=seconds)
    due = due_after(asked, association_id, NOON, now)
    schedule = definition.schedule_of(asked, NOON)
    assert due is not None
    assert schedule is not None
    named = schedule.previous_at_or_before(due)
    assert named is not None
    assert due > now
    assert due - named <= LONGEST_SPREAD
    following = due_after(asked, association_id, NOON, due)
    assert following is not None
    assert following - due >= timedelta(minutes=30)


def test_a_chosen_second_is_kept_to() -> None:
    asked = {"ScheduleExpression": "at(2030-01-02T03:04:05)"}
    assert due_after(asked, "id", NOON, NOON) == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert due_after(asked, "id", NOON, NOON + timedelta(days=1)) is None


def test_a_period_whose_day_has_passed_is_left_out_though_its_offset_is_ahead() -> None:
    asked = {
        "ScheduleExpression": "cron(0 0 ? * TUE#1 *)",
        "ScheduleOffset": 3,
        "ApplyOnlyAtCronInterval": True,
    }
    due = due_after(asked, "id", NOON, NOON)
    assert due is not None
    assert (due.month, due.day) == (2, 8)
