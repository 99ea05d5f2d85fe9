"""Calendars: the periods of events, against an independent library; what cannot be followed; limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import recurring_ical_events
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from fleetward.server.ssm.documents import calendars
from fleetward.server.ssm.documents.calendars import Timeline
from fleetward.server.ssm.errors import InvalidDocumentContent
from tests.calendars import calendar, event

NOW = datetime(2030, 6, 1, tzinfo=UTC)


def read(text: str) -> Timeline:
    return Timeline(*calendars.timeline(text, NOW.timestamp()))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def closed(text: str, *moments: str) -> list[bool]:
    """Whether an open calendar is closed at these times."""
    known = read(text)
    return [not known.is_open(at(each)) for each in moments]


def test_an_event_turns_the_state_from_its_start_until_its_end() -> None:
    one = event(":20300610T080000Z", "DTEND:20300610T100000Z")
    known = read(calendar(one))
    assert known.is_open(at("2030-06-10T07:59:59"))
    assert known.next_turn(at("2030-06-01")) == at("2030-06-10T08:00")
    assert not known.is_open(at("2030-06-10T08:00"))
    assert known.next_turn(at("2030-06-10T08:00")) == at("2030-06-10T10:00")
    assert known.is_open(at("2030-06-10T10:00"))
    assert known.next_turn(at("2030-06-10T10:00")) is None
    opposite = read(calendar(one, kind="DEFAULT_CLOSED"))
    assert [opposite.is_open(at(f"2030-06-10T{hour}")) for hour in ("07:00", "09:00", "11:00")] == [False, True, False]


def test_events_that_touch_or_overlap_are_one_period() -> None:
    known = read(
        calendar(
            event(":20300610T080000Z", "DURATION:PT2H"),
            event(":20300610T100000Z", "DURATION:PT1H", uid="two"),
            event(":20300610T083000Z", "DURATION:PT10M", uid="three"),
        )
    )
    assert [datetime.fromtimestamp(each, UTC).hour for each in known.times] == [8, 11]


def test_a_recurring_event_keeps_to_the_wall_clock_of_its_zone() -> None:
    nightly = event(";TZID=Europe/Berlin:20300101T220000", "DURATION:PT1H", "RRULE:FREQ=DAILY")
    assert closed(calendar(nightly), "2030-07-01T20:30", "2030-07-01T21:30") == [True, False]
    assert closed(calendar(nightly), "2030-12-01T20:30", "2030-12-01T21:30") == [False, True]


def test_days_and_floating_times_are_those_of_the_calendars_zone() -> None:
    day = event(";VALUE=DATE:20300610")
    hour = event(":20300620T120000", "DURATION:PT1H", uid="two")
    tokyo = calendar(day, hour, zone="Asia/Tokyo")
    assert closed(tokyo, "2030-06-09T15:00", "2030-06-10T14:59", "2030-06-10T15:00") == [True, True, False]
    assert closed(tokyo, "2030-06-20T03:30", "2030-06-20T12:30") == [True, False]
    assert closed(calendar(day, hour), "2030-06-10T23:59", "2030-06-20T12:30") == [True, True]


def test_single_instances_are_left_out_moved_and_added() -> None:
    series = event(
        ":20300601T080000Z",
        "DURATION:PT1H",
        "RRULE:FREQ=DAILY;COUNT=5",
        "EXDATE:20300602T080000Z",
        "RDATE:20300620T080000Z",
    )
    moved = event(":20300603T180000Z", "DURATION:PT1H", "RECURRENCE-ID:20300603T080000Z")
    gone = event(":20300604T080000Z", "DURATION:PT1H", "RECURRENCE-ID:20300604T080000Z", "STATUS:CANCELLED")
    never = event(":20300615T080000Z", "DURATION:PT1H", "STATUS:CANCELLED", uid="two")
    text = calendar(series, moved, gone, never)
    days = [f"2030-06-{day:02}T08:30" for day in (1, 2, 3, 4, 5, 6, 15, 20)]
    assert closed(text, *days) == [True, False, False, False, True, False, False, True]
    assert closed(text, "2030-06-03T18:30") == [True]


RULES = st.builds(
    lambda freq, interval, days, end: f"RRULE:FREQ={freq};INTERVAL={interval}{days}{end}",
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY"]),
    st.integers(1, 4),
    st.sampled_from(["", ";BYDAY=MO,TH", ";BYMONTH=1,7"]),
    st.sampled_from(["", ";COUNT=20", ";UNTIL=20300701T000000Z"]),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Europe/Berlin", "America/New_York"]), st.integers(0, 23), st.integers(1, 30), RULES
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=30, deadline=None)
def test_periods_are_those_that_another_library_finds(chosen: list[tuple[str, int, int, str]]) -> None:
    text = calendar(
        *(
            event(f";TZID={zone}:20300506T{hour:02}0000", f"DURATION:PT{hours}H", rule, uid=str(number))
            for number, (zone, hour, hours, rule) in enumerate(chosen)
        )
    )
    begins, ends = at("2030-05-01"), at("2030-08-01")
    found = recurring_ical_events.of(Calendar.from_ical(text), components=["VEVENT"]).between(begins, ends)
    periods = [(each.start.astimezone(UTC), each.end.astimezone(UTC)) for each in found]
    known = read(text)
    moment = begins
    while moment < ends:
        inside = any(start <= moment < end for start, end in periods)
        assert known.is_open(moment) is not inside, moment
        moment += timedelta(minutes=37)


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n",
        calendar(kind="SOMETIMES"),
        calendar() + calendar(),
        calendar("BEGIN:VEVENT"),
        calendar("BEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT"),
        calendar(event(":yesterday")),
        calendar(event(":20300610T080000Z", "DTEND:20300610T070000Z")),
        calendar(event(":20300610T080000Z", "DURATION:PT1H", "RRULE:FREQ=SOMETIMES")),
        calendar(event(":20300610T080000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY", "RRULE:FREQ=WEEKLY")),
        calendar(event(":20300610T080000Z", "DURATION:PT1H", "RRULE:FREQ=SECONDLY")),
        calendar(event(":20300610T080000Z", "DURATION:PT1S", "RRULE:FREQ=HOURLY")),
        calendar(event(":20300610T080000", "DURATION:PT1H"), zone="Middle-earth/Shire"),
        calendar(event(";TZID=Middle-earth/Shire:20300610T080000", "DURATION:PT1H")),
        calendar(
            event(":20300610T080000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY"),
            event(":20300611T090000Z", "DURATION:PT1H", "RECURRENCE-ID;RANGE=THISANDFUTURE:20300611T080000Z"),
        ),
    ],
)
def test_what_cannot_be_followed_is_refused(text: str) -> None:
    with pytest.raises(InvalidDocumentContent):
        read(text)
