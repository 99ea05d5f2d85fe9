"""Schedules: `cron(…)`, `rate(…)` and `at(…)`, and when they are due, in any time zone.

A cron is due by the clock on the wall. Where that clock is put forward, a moment that it leaves out is due when it
would have been; where it is put back, a moment that comes twice is due the first time, unless every hour is named.
Source: Systems Manager user guide, "Reference: Cron and rate expressions".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleetward.protocol import cron
from fleetward.protocol.cron import Cron, CronFault

SHIFT = timedelta(hours=3)
"""More than any zone has put its clock forward or back at once since 1970, but for changes of the date line."""
FURTHEST_OFFSET = 6
"""Days that a schedule may be due after the day that its cron names."""
_EXPRESSION = re.compile(r"(cron|rate|at)\((.*)\)", re.ASCII | re.DOTALL)
_RATE = re.compile(r"([1-9][0-9]{0,5}) +(minute|hour|day)(s?)", re.ASCII)
_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


class ScheduleFault(ValueError):
    """The expression, its zone or its offset is not valid; says why."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due. All moments that go in and come out are aware."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first moment later than this one; None for never again."""
        raise NotImplementedError

    def previous_at_or_before(self, moment: datetime) -> datetime | None:
        """The last moment that is not later than this one; None when there was none."""
        raise NotImplementedError

    def first_after(self, made: datetime) -> datetime | None:
        """The first moment of something made then: a period whose day has passed is left out, though its offset is
        still ahead."""
        return self.next_after(made)

    def period(self, moment: datetime) -> timedelta | None:
        """The time between the next two moments after this one; None when there are not two."""
        first = self.next_after(moment)
        second = self.next_after(first) if first is not None else None
        return second - first if first is not None and second is not None else None

    def shortest_gap(self) -> timedelta | None:
        """The least time between two moments; None for a schedule of one."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class CronSchedule(Schedule):
    """Due by the calendar of a zone, and some days later where an offset is given."""

    cron: Cron
    zone: ZoneInfo
    offset: timedelta = timedelta(0)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first moment later than this one."""
        local = self._local(moment) - self.offset
        found: datetime | None = None
        for named in self.cron.after(local - self._slack):
            if found is not None and named > local + self._slack:
                break
            for due in self._instants(named + self.offset):
                if due > moment and (found is None or due < found):
                    found, local = due, named
        return found

    def previous_at_or_before(self, moment: datetime) -> datetime | None:
        """The last moment that is not later than this one."""
        local = self._local(moment) - self.offset
        found: datetime | None = None
        for named in self.cron.before(local + self._slack):
            if found is not None and named < local - self._slack:
                break
            for due in self._instants(named + self.offset):
                if due <= moment and (found is None or due > found):
                    found, local = due, named
        return found

    def first_after(self, made: datetime) -> datetime | None:
        """The first moment whose day, without the offset, is after `made`."""
        without = CronSchedule(self.cron, self.zone).next_after(made)
        return None if without is None else next(self._instants(self._local(without) + self.offset))

    def shortest_gap(self) -> timedelta | None:
        """The least time between two moments of days that follow each other."""
        return self.cron.shortest_gap()

    @property
    def _slack(self) -> timedelta:
        return timedelta(0) if self.zone.key == "UTC" else SHIFT

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None)

    def _instants(self, named: datetime) -> Iterator[datetime]:
        """The moments at which the clock on the wall shows this."""
        first = named.replace(tzinfo=self.zone).astimezone(UTC)
        yield first
        if len(self.cron.hours) == len(range(cron.HOURS.lowest, cron.HOURS.highest + 1)):
            second = named.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
            if second > first:
                yield second


@dataclass(frozen=True, slots=True)
class RateSchedule(Schedule):
    """Due every so often from a moment on, which is the first."""

    every: timedelta
    since: datetime

    def next_after(self, moment: datetime) -> datetime | None:
        """The first moment later than this one."""
        if moment < self.since:
            return self.since
        return self.since + ((moment - self.since) // self.every + 1) * self.every

    def previous_at_or_before(self, moment: datetime) -> datetime | None:
        """The last moment that is not later than this one."""
        return None if moment < self.since else self.since + (moment - self.since) // self.every * self.every

    def shortest_gap(self) -> timedelta | None:
        """The rate itself."""
        return self.every


@dataclass(frozen=True, slots=True)
class OnceSchedule(Schedule):
    """Due at one moment."""

    due_at: datetime

    def next_after(self, moment: datetime) -> datetime | None:
        """The moment, while it is ahead."""
        return self.due_at if moment < self.due_at else None

    def previous_at_or_before(self, moment: datetime) -> datetime | None:
        """The moment, once it has come."""
        return self.due_at if self.due_at <= moment else None

    def shortest_gap(self) -> timedelta | None:
        """There are not two moments."""
        return None


def parse(expression: str, *, since: datetime, zone: str = "UTC", offset_days: int = 0) -> Schedule:
    """An expression as the API has it. A rate is due at `since` first; `zone` is an IANA name. Raises ScheduleFault."""
    found = _EXPRESSION.fullmatch(expression.strip())
    if found is None or len(expression) > cron.LONGEST:
        raise ScheduleFault(f"{expression[:100]!r} is no schedule: write cron(…), rate(…) or at(…).")
    kind, text = found.groups()
    if not 0 <= offset_days <= FURTHEST_OFFSET or (offset_days and kind != "cron"):
        raise ScheduleFault(f"An offset takes a cron expression and 1 to {FURTHEST_OFFSET} days.")
    if kind == "rate":
        return RateSchedule(_rate(text), since)
    if kind == "at":
        return OnceSchedule(_at(text, _zone(zone)))
    return _cron(text, _zone(zone), offset_days)


def _cron(text: str, zone: ZoneInfo, offset_days: int) -> Schedule:
    try:
        parsed = cron.parse(text)
    except CronFault as fault:
        raise ScheduleFault(f"cron({text[:100]}) is not valid: {fault}.") from fault
    if offset_days and not parsed.names_one_day:
        raise ScheduleFault("An offset takes a cron expression that names a single day, such as THU#2.")
    return CronSchedule(parsed, zone, timedelta(days=offset_days))


def _rate(text: str) -> timedelta:
    found = _RATE.fullmatch(text.strip())
    if found is None or (found[1] == "1") == bool(found[3]):
        raise ScheduleFault(
            f"rate({text[:100]}) is not valid: write a number and minutes, hours or days, as in rate(30 minutes) "
            "or rate(1 day)."
        )
    return int(found[1]) * _UNITS[found[2]]


def _at(text: str, zone: ZoneInfo) -> datetime:
    try:
        if not _AT.fullmatch(text.strip()):
            raise ValueError(text)
        return datetime.fromisoformat(text.strip()).replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise ScheduleFault(f"at({text[:100]}) is not valid: write at(yyyy-mm-ddThh:mm:ss).") from fault


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as fault:
        raise ScheduleFault(f"{name[:100]!r} is no time zone: write an IANA name such as Europe/Berlin.") from fault
