"""Apart: values and errors come back from another process, which is ended when it takes too long or too much."""

from __future__ import annotations

from datetime import UTC, datetime

from fleetward.server.edge.apart import computed_apart
from fleetward.server.effects import Failed
from fleetward.server.ssm.documents import calendars
from fleetward.server.ssm.errors import InvalidDocumentContent
from tests.calendars import calendar, event

NOW = datetime(2030, 6, 1, tzinfo=UTC).timestamp()


def test_a_value_and_an_error_are_those_of_the_function() -> None:
    good = calendar(event(":20300610T080000Z", "DURATION:PT1H"))
    assert computed_apart(calendars.timeline, (good, NOW), 10) == calendars.timeline(good, NOW)
    fault = computed_apart(calendars.timeline, ("nonsense", NOW), 10)
    assert isinstance(fault, InvalidDocumentContent)
    assert "iCalendar" in fault.message


def test_what_takes_too_long_or_fails_is_no_value() -> None:
    never = [
        event(":20300610T080000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", uid=str(number))
        for number in range(9)
    ]
    slow = computed_apart(calendars.timeline, (calendar(*never), NOW), 2)
    assert slow == Failed("it takes too long to work out")
    assert computed_apart(calendars.timeline, (calendar(), None), 10) == Failed("it cannot be worked out")
