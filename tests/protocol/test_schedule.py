"""Schedules: rates, single moments, zones whose clocks are put forward and back, offsets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol import schedule
from fleetward.protocol.schedule import Schedule, ScheduleFault

MADE = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo")


def parse(expression: str, zone: str = "UTC", offset_days: int = 0) -> Schedule:
    return schedule.parse(expression, since=MADE, zone=zone, offset_days=offset_days)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(made: Schedule, moment: datetime, count: int) -> list[str]:
    found = []
    for _ in range(count):
        following = made.next_after(moment)
        assert following is not None
        moment = following
        found.append(f"{moment:%m-%d %H:%M}")
    return found


def test_a_rate_is_due_at_its_beginning_and_every_so_often() -> None:
    made = parse("rate(30 minutes)")
    assert made.next_after(MADE - timedelta(hours=1)) == MADE
    assert due(made, MADE, 2) == ["12-01 12:30", "12-01 13:00"]
    assert made.previous_at_or_before(MADE + timedelta(minutes=59)) == MADE + timedelta(minutes=30)
    assert made.previous_at_or_before(MADE - timedelta(seconds=1)) is None
    assert made.period(MADE) == made.shortest_gap() == timedelta(minutes=30)


@pytest.mark.parametrize(("text", "expected"), [("1 hour", 1), ("2 hours", 2), ("1 day", 24), ("3 days", 72)])
def test_units_of_rates(text: str, expected: int) -> None:
    assert parse(f"rate({text})").shortest_gap() == timedelta(hours=expected)


def test_a_single_moment_is_due_once() -> None:
    made = parse("at(2026-12-24T18:00:00)", "Europe/Berlin")
    assert made.next_after(MADE) == at("2026-12-24 17:00")
    assert made.next_after(at("2026-12-24 17:00")) is None
    assert made.previous_at_or_before(at("2026-12-24 17:00")) == at("2026-12-24 17:00")
    assert made.previous_at_or_before(MADE) is None
    assert made.period(MADE) is None


def test_a_clock_that_is_put_forward_leaves_nothing_out() -> None:
    made = parse("cron(30 2 * * ? *)", "Europe/Berlin")  # 02:30 does not exist on 2027-03-28
    assert due(made, at("2027-03-26 12:00"), 3) == ["03-27 01:30", "03-28 01:30", "03-29 00:30"]


def test_a_clock_that_is_put_back_repeats_only_what_is_due_every_hour() -> None:
    daily = parse("cron(30 2 * * ? *)", "Europe/Berlin")  # 02:30 comes twice on 2026-10-25
    assert due(daily, at("2026-10-24 12:00"), 2) == ["10-25 00:30", "10-26 01:30"]
    hourly = parse("cron(30 * * * ? *)", "Europe/Berlin")
    assert due(hourly, at("2026-10-25 00:00"), 3) == ["10-25 00:30", "10-25 01:30", "10-25 02:30"]


def test_an_offset_moves_the_day_and_a_period_that_has_begun_is_left_out() -> None:
    made = parse("cron(0 0 ? * THU#2 *)", offset_days=3)  # the second Thursday is 2026-12-10
    assert due(made, MADE, 2) == ["12-13 00:00", "01-17 00:00"]
    assert made.first_after(at("2026-12-11")) == at("2027-01-17")
    assert made.first_after(at("2026-12-09")) == at("2026-12-13")
    assert made.previous_at_or_before(at("2026-12-14")) == at("2026-12-13")


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["0/30 * * * ? *", "15 2 * * ? *", "30 1,2,3 ? * SUN *", "0 0 L * ? *", "45 23 1W * ? *"]),
    st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1)),
    st.integers(0, 1),
)
def test_moments_follow_each_other_and_nothing_lies_between(
    zone: str, text: str, moment: datetime, offset: int
) -> None:
    made = parse(f"cron({text})", zone, offset if "L" in text else 0)
    start = moment.replace(tzinfo=UTC)
    first = made.next_after(start)
    assert first is not None
    assert first > start
    assert made.previous_at_or_before(first) == first
    before = made.previous_at_or_before(start)
    assert before is not None
    assert before <= start
    assert made.next_after(before) == first
    middle = start + (first - start) / 2
    assert made.next_after(middle) == first


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "30 minutes",
        "rate()",
        "rate(0 minutes)",
        "rate(1 minutes)",
        "rate(2 minute)",
        "rate(1.5 hours)",
        "rate(1 week)",
        "rate(999999999 days)",
        "at(tomorrow)",
        "at(2026-13-01T00:00:00)",
        "at(2026-12-01)",
        "at(0001-01-01T00:00:00)",
        "cron(0 0 * * *)",
        "cron(0 0 * * * *)",
        "cron(" + "0," * 200 + "0 0 * * ? *)",
        "every day",
    ],
)
def test_what_is_no_schedule_is_refused(expression: str) -> None:
    with pytest.raises(ScheduleFault):
        parse(expression, "Asia/Kolkata")


def test_zones_and_offsets_are_checked() -> None:
    for zone in ("Mars/Olympus", "../etc/passwd", "", "x" * 500):
        with pytest.raises(ScheduleFault, match="no time zone"):
            parse("cron(0 0 * * ? *)", zone)
    for expression, days in (("rate(1 day)", 1), ("cron(0 0 ? * MON-FRI *)", 1), ("cron(0 0 L * ? *)", 7)):
        with pytest.raises(ScheduleFault, match="offset"):
            parse(expression, offset_days=days)
