"""Calendars: the periods in which a change calendar is the other way round, worked out once when it is stored. Pure.

The text is iCalendar (RFC 5545): each event is a period of the state that is not the calendar's own. Reading it and
following its rules can take long, whatever a text of 64 KiB says, so it is done in a process of its own with a limit
(`effects.ComputeApart`); what is kept with the version is a list of times, in which a state is found by bisection.

Ours: events of a calendar are followed for ten years from the day on which it is stored.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from fleetward.server.ssm.errors import InvalidDocumentContent

KINDS = {"DEFAULT_OPEN": True, "DEFAULT_CLOSED": False}
PAST, FUTURE = timedelta(days=366), timedelta(days=3653)
"""What is worked out, before and after the present."""
MOST_PERIODS = 10_000
MOST_OCCURRENCES = 200_000
SECONDS = 10.0
"""What working out may take."""


class Timeline(NamedTuple):
    """The states of a calendar over a time: at each of `times` (seconds since 1970) it turns, first from its own."""

    open_by_itself: bool
    begins: int
    ends: int
    times: Sequence[int]

    def covers(self, at: datetime) -> bool:
        """Whether the state at this time is known."""
        return self.begins <= at.timestamp() < self.ends

    def is_open(self, at: datetime) -> bool:
        """The state at a time that is covered."""
        turned = bisect_right(self.times, at.timestamp()) % 2 == 1
        return self.open_by_itself is not turned

    def next_turn(self, at: datetime) -> datetime | None:
        """When the state turns next after this time; None: not as far as it is known."""
        index = bisect_right(self.times, at.timestamp())
        return datetime.fromtimestamp(self.times[index], UTC) if index < len(self.times) else None


class Event(NamedTuple):
    """One event: when it starts first, how long it lasts, by the wall clock of its zone; and when it recurs."""

    start: datetime
    duration: timedelta
    zone: tzinfo
    rule: Any
    extra: Sequence[datetime]
    without: frozenset[datetime]
    identity: str


def timeline(text: str, now: float) -> list[Any]:
    """The Timeline of a text as a list that JSON can hold; raises InvalidDocumentContent, which says what is wrong."""
    from icalendar.error import BrokenCalendarProperty

    calendar = _parsed(text)
    kind = str(calendar.get("X-CALENDAR-TYPE", ""))
    if kind not in KINDS:
        raise InvalidDocumentContent(f"The calendar needs the line X-CALENDAR-TYPE:{' or '.join(KINDS)}.")
    begins = datetime.fromtimestamp(int(now), UTC) - PAST
    ends = begins + PAST + FUTURE
    try:
        periods = _merged(_periods(calendar, begins, ends))
    except (BrokenCalendarProperty, OverflowError) as fault:
        raise InvalidDocumentContent(f"An event cannot be read: {str(fault)[:200]}") from None
    if len(periods) > MOST_PERIODS:
        raise InvalidDocumentContent(f"The calendar turns more than {MOST_PERIODS} times in ten years.")
    times = [second for period in periods for second in period]
    return [KINDS[kind], int(begins.timestamp()), int(ends.timestamp()), times]


def _parsed(text: str) -> Any:
    from icalendar import Calendar

    try:
        found = Calendar.from_ical(text, multiple=True)
    except Exception as fault:  # of many kinds, by what the text leads the library to
        raise InvalidDocumentContent(f"The text cannot be read as iCalendar: {str(fault)[:200]}") from None
    if len(found) != 1 or found[0].name != "VCALENDAR":
        raise InvalidDocumentContent("The text must hold one calendar, from BEGIN:VCALENDAR to END:VCALENDAR.")
    return found[0]


def _periods(calendar: Any, begins: datetime, ends: datetime) -> Iterator[tuple[int, int]]:
    usual = _zone_named(str(calendar.get("X-WR-TIMEZONE", "UTC")))
    series, replaced = [], {}
    for component in calendar.walk("VEVENT"):
        if str(component.get("STATUS", "")).upper() == "CANCELLED" and "RECURRENCE-ID" not in component:
            continue
        event = _event(component, usual)
        if "RECURRENCE-ID" in component:
            replaced[event.identity, _instance(component, event)] = (component, event)
        else:
            series.append(event)
    for event in series:
        for start in _starts(event, begins, ends):
            if (event.identity, start) not in replaced:
                yield from _within(event, start, begins, ends)
    for component, event in replaced.values():
        if str(component.get("STATUS", "")).upper() != "CANCELLED":
            yield from _within(event, event.start, begins, ends)


def _event(component: Any, usual: tzinfo) -> Event:
    if "DTSTART" not in component:
        raise _wrong(component, "it has no DTSTART")
    first = component["DTSTART"].dt
    zone = _zone(component, first, usual)
    start = _wall(first, zone)
    return Event(
        start=start,
        duration=_duration(component, first, start, zone),
        zone=zone,
        rule=_rule(component, start, zone),
        extra=[_wall(each, zone) for each in _dates(component, "RDATE")],
        without=frozenset(_wall(each, zone) for each in _dates(component, "EXDATE")),
        identity=str(component.get("UID", "")),
    )


def _duration(component: Any, first: Any, start: datetime, zone: tzinfo) -> timedelta:
    if "DTEND" in component:
        duration = _wall(component["DTEND"].dt, zone) - start
    elif "DURATION" in component:
        duration = component["DURATION"].dt
    else:
        duration = timedelta() if isinstance(first, datetime) else timedelta(days=1)
    if duration < timedelta():
        raise _wrong(component, "it ends before it starts")
    return duration


def _rule(component: Any, start: datetime, zone: tzinfo) -> Any:
    """The rule that dateutil follows, in wall-clock times; None where the event happens once."""
    from dateutil.rrule import rrulestr

    if "RRULE" not in component:
        return None
    given = component["RRULE"]
    if isinstance(given, list):
        raise _wrong(component, "it has more than one RRULE")
    parts = {name: value for name, value in given.items() if name != "UNTIL"}
    try:
        text = type(given)(parts).to_ical().decode()
        rule = rrulestr(text, dtstart=start)
    except (TypeError, ValueError) as fault:
        raise _wrong(component, f"its RRULE cannot be followed ({str(fault)[:100]})") from None
    until = given.get("UNTIL")
    if not until:
        return rule
    last = until[0]
    if isinstance(last, datetime):
        return rule.replace(until=_wall(last, zone))
    return rule.replace(until=datetime.combine(last, time.max))


def _starts(event: Event, begins: datetime, ends: datetime) -> Iterator[datetime]:
    """When the event starts, by the wall clock, as far as that can reach into the time asked for."""
    last = _wall(ends, event.zone)
    first = _wall(begins, event.zone) - event.duration - timedelta(days=1)
    found = {each for each in (event.start, *event.extra) if first <= each <= last}
    for number, start in enumerate(event.rule or ()):
        if start > last:
            break
        if number > MOST_OCCURRENCES:
            raise InvalidDocumentContent(f"An event happens more than {MOST_OCCURRENCES} times; say it by longer ones.")
        if start >= first:
            found.add(start)
    yield from found - event.without


def _within(event: Event, start: datetime, begins: datetime, ends: datetime) -> Iterator[tuple[int, int]]:
    first = max(start.replace(tzinfo=event.zone).timestamp(), begins.timestamp())
    last = min((start + event.duration).replace(tzinfo=event.zone).timestamp(), ends.timestamp())
    if first < last:
        yield int(first), int(last)


def _merged(periods: Iterable[tuple[int, int]]) -> list[list[int]]:
    merged: list[list[int]] = []
    for start, end in sorted(periods):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged


def _instance(component: Any, event: Event) -> datetime:
    given = component["RECURRENCE-ID"]
    if given.params.get("RANGE"):
        raise _wrong(component, "a RANGE of instances cannot be replaced; replace them one by one")
    return _wall(given.dt, event.zone)


def _dates(component: Any, name: str) -> Iterator[Any]:
    given = component.get(name, [])
    for each in given if isinstance(given, list) else [given]:
        for value in each.dts:
            if isinstance(value.dt, tuple):
                raise _wrong(component, f"periods in {name} cannot be followed")
            yield value.dt


def _zone(component: Any, first: Any, usual: tzinfo) -> tzinfo:
    if isinstance(first, datetime) and first.tzinfo is not None:
        return first.tzinfo
    named: Mapping[str, str] = component["DTSTART"].params
    return _zone_named(str(named["TZID"])) if "TZID" in named else usual


def _zone_named(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as fault:
        raise InvalidDocumentContent(f"There is no time zone named {name[:100]!r}.") from fault


def _wall(value: Any, zone: tzinfo) -> datetime:
    """A date, a floating time or an aware one as the wall clock of the zone shows it."""
    if not isinstance(value, datetime):
        if not isinstance(value, date):
            raise InvalidDocumentContent("An event needs dates or times where it has something else.")
        return datetime.combine(value, time())
    return value if value.tzinfo is None else value.astimezone(zone).replace(tzinfo=None)


def _wrong(component: Any, reason: str) -> InvalidDocumentContent:
    return InvalidDocumentContent(
        f"The event {str(component.get('SUMMARY', component.get('UID', '')))[:100]!r}: {reason}."
    )
