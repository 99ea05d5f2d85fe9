"""Change Calendar: documents that say when changes may be made, and whether they may now.

The times at which a calendar turns were worked out when its document was stored (`documents.calendars`), so that asking
costs one row, also for those who ask while they write: associations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.ssm import documents, ssm
from fleetward.server.ssm.documents.calendars import Timeline
from fleetward.server.ssm.errors import InvalidDocumentType, UnsupportedCalendarException

MOST_CALENDARS = 100
"""Ours: calendars in one question."""


def timeline(call: Call, name: str) -> Timeline:
    """The states of a calendar given by name or ARN.

    Raises InvalidDocument where there is none, InvalidDocumentType for other documents.
    """
    document = documents.resolve(call, name)
    if document.document_type != "ChangeCalendar":
        raise InvalidDocumentType(f"{name} is of the type {document.document_type}; a ChangeCalendar is needed.")
    if document.timeline is None:
        raise UnsupportedCalendarException(f"The calendar {name} was stored by an older version; update its document.")
    return Timeline(*document.timeline)


def is_open(call: Call, names: Sequence[str], at: datetime) -> bool:
    """Whether all of the calendars are open; none at all is open. Raises as `timeline`.

    Ours: a calendar that was stored more than ten years before `at` is closed: what its events were then, nobody knows.
    """
    found = [timeline(call, name) for name in names]
    return all(each.covers(at) and each.is_open(at) for each in found)


def next_transition(call: Call, names: Sequence[str], at: datetime) -> datetime | None:
    """When what `is_open` says of the calendars changes next after `at`; None: not as far as that is known."""
    found = [timeline(call, name) for name in names]

    def all_open(moment: datetime) -> bool:
        return all(each.is_open(moment) for each in found)

    moment, now_open = at, all_open(at)
    while turns := [turn for each in found if (turn := each.next_turn(moment)) is not None]:
        moment = min(turns)
        if all_open(moment) is not now_open:
            return moment
    return None


def _calendars(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return [documents.resource(call, name) for name in request["CalendarNames"]]


@ssm.operation("GetCalendarState", resources=_calendars, reads=True)
def get_calendar_state(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """OPEN when all calendars are; of a single one also when that changes next."""
    names = request["CalendarNames"]
    if not 1 <= len(names) <= MOST_CALENDARS:
        raise ValidationException(f"CalendarNames takes 1 to {MOST_CALENDARS} names.")
    at = _moment(request["AtTime"]) if "AtTime" in request else call.now
    for name in names:
        _require_covered(name, timeline(call, name), at)
    state = {"State": "OPEN" if is_open(call, names, at) else "CLOSED", "AtTime": _text(at)}
    following = next_transition(call, names, at) if len(names) == 1 else None
    return state if following is None else {**state, "NextTransitionTime": _text(following)}


def _require_covered(name: str, known: Timeline, at: datetime) -> None:
    if not known.covers(at):
        begins, ends = (_text(datetime.fromtimestamp(each, UTC)) for each in (known.begins, known.ends))
        raise ValidationException(
            f"The events of {name} are known from {begins} to {ends}; update its document to know those of later times."
        )


def _moment(text: str) -> datetime:
    """A time in ISO 8601; one without a zone is in UTC."""
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise ValidationException(
            f"AtTime is a time in ISO 8601 such as 2030-01-31T12:00:00Z, not {text[:100]!r}."
        ) from fault


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
