"""Cron: the fields between the brackets of `cron(…)`, and the minutes that they name. No zones, no clock.

    cron( [seconds] minutes hours day-of-month month day-of-week year )        1 = SUN … 7 = SAT

Source: Systems Manager user guide, "Reference: Cron and rate expressions". `L`, `W` and `#` may stand in lists, beside
plain days. Ours: a range may run over its end, as `FRI-MON` and `22-2` do.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIRST_YEAR, LAST_YEAR = 1970, 2199
LONGEST = 256
"""Characters of an expression, as the API has it."""
SATURDAY = 7
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)

DayRule = Callable[[int, int], Sequence[int]]
"""Days of one month that an item of a field names: (year, month) -> days."""


class CronFault(ValueError):
    """The fields are not what AWS's cron allows; says which and why."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: what it is called, and which numbers and names it takes."""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        """One value of the field."""
        if text in self.names:
            return self.names.index(text) + self.lowest
        if not _NUMBER.fullmatch(text) or not self.lowest <= int(text) <= self.highest:
            raise self.fault(text)
        return int(text)

    def values(self, item: str) -> tuple[int, ...]:
        """The values of one item: a value, a range, a step or everything."""
        body, slash, step_text = item.partition("/")
        span = self.highest - self.lowest + 1
        step = 1
        if slash:
            if not _NUMBER.fullmatch(step_text) or not 1 <= int(step_text) <= span:
                raise self.fault(item)
            step = int(step_text)
        if body == "*":
            return tuple(range(self.lowest, self.highest + 1, step))
        first, dash, last = body.partition("-")
        start = self.number(first)
        if not dash:
            return tuple(range(start, self.highest + 1, step)) if slash else (start,)
        end = self.number(last)
        if start > end and self is YEARS:
            raise self.fault(item)
        length = (end - start) % span + 1
        return tuple((start - self.lowest + count) % span + self.lowest for count in range(0, length, step))

    def all_of(self, text: str) -> tuple[int, ...]:
        """The values of the whole field, in order."""
        return tuple(sorted({value for item in text.split(",") for value in self.values(item)}))

    def fault(self, text: str) -> CronFault:
        """What is wrong with a piece of this field."""
        return CronFault(f"{text!r} is not valid for {self.name}, which takes {self.lowest} to {self.highest}")


SECONDS = Field("seconds", 0, 59)
MINUTES = Field("minutes", 0, 59)
HOURS = Field("hours", 0, 23)
DAYS = Field("the day of the month", 1, 31)
MONTH = Field("the month", 1, 12, MONTHS)
WEEKDAY = Field("the day of the week", 1, 7, WEEKDAYS)
YEARS = Field("the year", FIRST_YEAR, LAST_YEAR)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression. Moments are naive: of whatever zone the asker has in mind."""

    second: int
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[DayRule, ...]
    months: tuple[int, ...]
    years: tuple[int, ...]
    names_one_day: bool
    """Whether it is due on a day that is named, not on several or on every day of a week or month."""

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The moments later than this one, in order."""
        for year, month in self._months_from(moment):
            for day in self._days_of(year, month):
                if datetime(year, month, day, 23, 59, 59) <= moment:
                    continue
                for due in self._of_day(year, month, day):
                    if due > moment:
                        yield due

    def before(self, moment: datetime) -> Iterator[datetime]:
        """The moments not later than this one, the latest first."""
        for year, month in self._months_back_from(moment):
            for day in reversed(self._days_of(year, month)):
                if datetime(year, month, day) > moment:
                    continue
                for due in reversed(list(self._of_day(year, month, day))):
                    if due <= moment:
                        yield due

    def shortest_gap(self) -> timedelta:
        """The least time between two moments, were it due on two days that follow each other."""
        times = [hour * 60 + minute for hour in self.hours for minute in self.minutes]
        gaps = [later - earlier for earlier, later in zip(times, [*times[1:], times[0] + 24 * 60], strict=True)]
        return timedelta(minutes=min(gaps))

    def _of_day(self, year: int, month: int, day: int) -> Iterator[datetime]:
        for hour in self.hours:
            for minute in self.minutes:
                yield datetime(year, month, day, hour, minute, self.second)

    def _days_of(self, year: int, month: int) -> list[int]:
        return sorted({day for rule in self.days for day in rule(year, month)})

    def _months_from(self, moment: datetime) -> Iterator[tuple[int, int]]:
        for year in self.years[bisect_left(self.years, moment.year) :]:
            for month in self.months:
                if (year, month) >= (moment.year, moment.month):
                    yield year, month

    def _months_back_from(self, moment: datetime) -> Iterator[tuple[int, int]]:
        for year in reversed(self.years[: bisect_right(self.years, moment.year)]):
            for month in reversed(self.months):
                if (year, month) <= (moment.year, moment.month):
                    yield year, month


@lru_cache(maxsize=4096)
def parse(text: str) -> Cron:
    """Six fields, or seven with seconds in front. Raises CronFault, also for days that no month has."""
    fields = text.upper().split()
    if len(text) > LONGEST or len(fields) not in (6, 7):
        raise CronFault(f"cron takes six fields, or seven with seconds in front, not {len(fields)}")
    second = SECONDS.number(fields.pop(0)) if len(fields) == 7 else 0
    minutes, hours, of_month, months, of_week, years = fields
    if (of_month == "?") == (of_week == "?"):
        raise CronFault("exactly one of the day of the month and the day of the week must be ?")
    by_week = of_month == "?"
    items = (of_week if by_week else of_month).split(",")
    if sum("#" in item for item in items) > 1:
        raise CronFault("at most one # may stand in the day of the week")
    cron = Cron(
        second=second,
        minutes=MINUTES.all_of(minutes),
        hours=HOURS.all_of(hours),
        days=tuple(_of_week(item) if by_week else _of_month(item) for item in items),
        months=MONTH.all_of(months),
        years=YEARS.all_of(years),
        names_one_day=len(items) == 1 and not set("*/-") & set(items[0].removeprefix("L-")),
    )
    if next(cron.after(datetime(FIRST_YEAR, 1, 1) - timedelta(seconds=1)), None) is None:
        raise CronFault("no day is named by these fields")
    return cron


def _of_month(item: str) -> DayRule:
    """An item of the day of the month."""
    if item == "L":
        return lambda year, month: (_length(year, month),)
    if item == "LW":
        return lambda year, month: _nearest_weekday(year, month, _length(year, month))
    if item.startswith("L-"):
        back = DAYS.number(item[2:])
        return lambda year, month: (_length(year, month) - back,) if back < _length(year, month) else ()
    if item.endswith("W"):
        day = DAYS.number(item[:-1])
        return lambda year, month: _nearest_weekday(year, month, day)
    days = DAYS.values(item)
    return lambda year, month: [day for day in days if day <= _length(year, month)]


def _of_week(item: str) -> DayRule:
    """An item of the day of the week."""
    if "#" in item:
        name, _, count = item.partition("#")
        if count not in ("1", "2", "3", "4", "5"):
            raise CronFault(f"{item!r} is not valid: a day of the week comes one to five times in a month")
        weekday, index = WEEKDAY.number(name), int(count) - 1
        return lambda year, month: _on(weekday, year, month)[index : index + 1]
    if item == "L":  # the last day of every week
        return lambda year, month: _on(SATURDAY, year, month)
    if item.endswith("L"):
        weekday = WEEKDAY.number(item[:-1])
        return lambda year, month: _on(weekday, year, month)[-1:]
    weekdays = WEEKDAY.values(item)
    return lambda year, month: [day for weekday in weekdays for day in _on(weekday, year, month)]


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _on(weekday: int, year: int, month: int) -> Sequence[int]:
    """The days of a month that are a weekday, of AWS's numbering."""
    first, length = calendar.monthrange(year, month)  # Monday is 0
    return range((weekday - 2 - first) % 7 + 1, length + 1, 7)


def _nearest_weekday(year: int, month: int, day: int) -> Sequence[int]:
    """Monday to Friday nearest to a day, without leaving the month; nothing where the month has no such day."""
    length = _length(year, month)
    if day > length:
        return ()
    weekday = calendar.weekday(year, month, day)
    if weekday == calendar.SATURDAY:
        return (day - 1,) if day > 1 else (day + 2,)
    if weekday == calendar.SUNDAY:
        return (day + 1,) if day < length else (day - 2,)
    return (day,)
