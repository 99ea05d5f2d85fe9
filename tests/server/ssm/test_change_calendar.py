"""GetCalendarState and what associations ask: one calendar and several, names and ARNs, times known and unknown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.ssm import change_calendar
from fleetward.server.ssm.documents import store
from fleetward.server.ssm.errors import InvalidDocument, InvalidDocumentType, UnsupportedCalendarException
from tests.calendars import calendar, event

FIRST = event(":20300610T080000Z", "DTEND:20300610T100000Z")
SECOND = event(":20300610T090000Z", "DTEND:20300610T120000Z")


def create(world: Any, name: str, text: str) -> str:
    """A calendar; its ARN."""
    request = {"Name": name, "Content": text, "DocumentType": "ChangeCalendar", "DocumentFormat": "TEXT"}
    world.call("CreateDocument", request)
    return f"arn:aws:ssm:us-east-1:{world.account}:document/{name}"


@pytest.fixture
def calendars(world: Any) -> Any:
    """A world with two calendars, some months before their events."""
    world.clock.advance(datetime(2030, 6, 1, tzinfo=UTC) - world.clock.now())
    create(world, "First", calendar(FIRST))
    create(world, "Second", calendar(SECOND))
    return world


def state(world: Any, *names: str, at: str = "", caller: Any = "root") -> dict[str, Any]:
    asked = {"AtTime": at} if at else {}
    found: dict[str, Any] = world.call("GetCalendarState", {"CalendarNames": list(names), **asked}, caller)
    return found


def test_a_calendar_tells_its_state_and_when_that_changes(calendars: Any) -> None:
    assert state(calendars, "First") == {
        "State": "OPEN",
        "AtTime": "2030-06-01T00:00:00Z",
        "NextTransitionTime": "2030-06-10T08:00:00Z",
    }
    assert state(calendars, "First", at="2030-06-10T11:30:00+02:00") == {
        "State": "CLOSED",
        "AtTime": "2030-06-10T09:30:00Z",
        "NextTransitionTime": "2030-06-10T10:00:00Z",
    }
    assert state(calendars, "First", at="2030-06-10T10:00:00") == {"State": "OPEN", "AtTime": "2030-06-10T10:00:00Z"}


def test_several_calendars_are_open_when_all_are(calendars: Any) -> None:
    arn = f"arn:aws:ssm:us-east-1:{calendars.account}:document/Second"
    hours = {hour: state(calendars, "First", arn, at=f"2030-06-10T{hour:02}:30:00Z") for hour in (7, 8, 9, 11, 12)}
    assert {hour: each["State"] for hour, each in hours.items()} == {
        7: "OPEN",
        8: "CLOSED",
        9: "CLOSED",
        11: "CLOSED",
        12: "OPEN",
    }
    assert all("NextTransitionTime" not in each for each in hours.values())


def test_associations_ask_whether_all_are_open_and_when_that_changes(calendars: Any) -> None:
    def asked(hour: int) -> tuple[bool, datetime | None]:
        at = datetime(2030, 6, 10, hour, 30, tzinfo=UTC)
        names = ["First", "Second"]
        return calendars.do(
            lambda call: (change_calendar.is_open(call, names, at), change_calendar.next_transition(call, names, at))
        )

    assert asked(7) == (True, datetime(2030, 6, 10, 8, tzinfo=UTC))
    assert asked(8) == (False, datetime(2030, 6, 10, 12, tzinfo=UTC))
    assert asked(12) == (True, None)
    assert calendars.do(lambda call: change_calendar.is_open(call, [], call.now)) is True


def test_another_default_version_is_what_counts(calendars: Any) -> None:
    request = {"Name": "First", "Content": calendar(SECOND), "DocumentVersion": "$LATEST", "DocumentFormat": "TEXT"}
    calendars.call("UpdateDocument", request)
    assert state(calendars, "First")["NextTransitionTime"] == "2030-06-10T08:00:00Z"
    calendars.call("UpdateDocumentDefaultVersion", {"Name": "First", "DocumentVersion": "2"})
    assert state(calendars, "First")["NextTransitionTime"] == "2030-06-10T09:00:00Z"


def test_times_that_are_not_known_are_refused_and_closed_to_associations(calendars: Any) -> None:
    for at in ("2045-01-01T00:00:00Z", "2001-01-01", "soon", "0001-01-01T00:00:00+10:00"):
        with pytest.raises(ValidationException):
            state(calendars, "First", at=at)
    late = calendars.clock.now() + timedelta(days=4000)
    assert calendars.do(lambda call: change_calendar.is_open(call, ["First"], late)) is False


def test_what_is_no_calendar_is_refused(calendars: Any) -> None:
    content = {"schemaVersion": "2.2", "mainSteps": [{"action": "aws:runShellScript", "name": "a",
               "inputs": {"runCommand": ["true"]}}]}  # fmt: skip
    calendars.call("CreateDocument", {"Name": "Script", "Content": json.dumps(content), "DocumentType": "Command"})
    with pytest.raises(InvalidDocumentType):
        state(calendars, "First", "Script")
    with pytest.raises(InvalidDocument):
        state(calendars, "Nothing")
    with pytest.raises(ValidationException):
        state(calendars)
    calendars.do(lambda call: call.db.run(update(store.versions).values(timeline=None)))
    with pytest.raises(UnsupportedCalendarException):
        state(calendars, "First")


def test_policies_decide_on_every_calendar(calendars: Any) -> None:
    arn = f"arn:aws:ssm:us-east-1:{calendars.account}:document/First"
    role = calendars.as_role({"Effect": "Allow", "Action": "ssm:GetCalendarState", "Resource": arn})
    assert state(calendars, "First", caller=role)["State"] == "OPEN"
    with pytest.raises(AccessDeniedException):
        state(calendars, "First", "Second", caller=role)
