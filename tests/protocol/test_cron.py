"""Cron: its fields against a plain enumeration of minutes, documented examples, and what is refused."""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.cron import CronFault, parse

NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def due(text: str, moment: str, count: int = 3) -> list[str]:
    return [f"{each:%Y-%m-%d %H:%M}" for each in islice(parse(text).after(datetime.fromisoformat(moment)), count)]


# -- an independent account: does one minute match the fields? --------------------------------------------------------


def in_list(value: int, text: str, lowest: int, highest: int) -> bool:
    """Whether a list of plain values, ranges and steps names a value."""
    for item in text.split(","):
        body, _, step = item.partition("/")
        start, _, end = body.partition("-")
        if body == "*":
            first, last = lowest, highest
        elif end:
            first, last = int(start), int(end)
        else:
            first, last = int(start), (highest if step else int(start))
        if value in [each for each in range(first, last + 1) if (each - first) % int(step or 1) == 0]:
            return True
    return False


def is_weekday(moment: datetime) -> bool:
    return moment.weekday() < 5


def in_day_of_month(moment: datetime, text: str) -> bool:
    last = calendar.monthrange(moment.year, moment.month)[1]
    if text == "L":
        return moment.day == last
    if text.startswith("L-"):
        return moment.day == last - int(text[2:])
    if text.endswith("W"):
        day = last if text == "LW" else int(text[:-1])
        if day > last or not is_weekday(moment):
            return False
        candidates = [moment.replace(day=each) for each in range(1, last + 1)]
        distances = {each.day: abs(each.day - day) for each in candidates if is_weekday(each)}
        return distances[moment.day] == min(distances.values())
    return in_list(moment.day, text, 1, 31)


def in_day_of_week(moment: datetime, text: str) -> bool:
    weekday = moment.isoweekday() % 7 + 1
    for number, name in enumerate(NAMES, 1):
        text = text.replace(name, str(number))
    last = calendar.monthrange(moment.year, moment.month)[1]
    if "#" in text:
        wanted, index = text.split("#")
        return weekday == int(wanted) and (moment.day - 1) // 7 + 1 == int(index)
    if text.endswith("L"):
        return weekday == int(text[:-1]) and moment.day + 7 > last
    return in_list(weekday, text, 1, 7)


def matches(moment: datetime, text: str) -> bool:
    minutes, hours, of_month, months, of_week, years = text.split()
    return (
        in_list(moment.minute, minutes, 0, 59)
        and in_list(moment.hour, hours, 0, 23)
        and in_list(moment.month, months, 1, 12)
        and in_list(moment.year, years, 1970, 2199)
        and (in_day_of_week(moment, of_week) if of_month == "?" else in_day_of_month(moment, of_month))
    )


def lists(lowest: int, highest: int) -> st.SearchStrategy[str]:
    """Fields of plain values, ranges and steps."""
    value = st.integers(lowest, highest)
    ranges = st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.tuples(st.one_of(st.just("*"), value.map(str), ranges), st.integers(1, highest)).map(
        "/".join(["{0[0]}", "{0[1]}"]).format
    )
    return st.lists(st.one_of(value.map(str), ranges, steps, st.just("*")), min_size=1, max_size=3).map(",".join)


of_month = st.one_of(
    lists(1, 28),
    st.just("L"),
    st.just("LW"),
    st.integers(1, 20).map("L-{}".format),
    st.integers(1, 31).map("{}W".format),
)
of_week = st.one_of(
    lists(1, 7),
    st.tuples(st.sampled_from(NAMES), st.integers(1, 4)).map("{0[0]}#{0[1]}".format),
    st.integers(1, 7).map("{}L".format),
    st.sampled_from(["MON-FRI", "SUN", "TUE,THU"]),
)
days = st.one_of(st.tuples(of_month, lists(1, 12), st.just("?")), st.tuples(st.just("?"), lists(1, 12), of_week))
crons = st.tuples(lists(0, 59), lists(0, 23), days, st.just("*")).map(lambda f: " ".join([f[0], f[1], *f[2], f[3]]))


@given(crons, st.datetimes(datetime(2023, 1, 1), datetime(2030, 1, 1)))
def test_the_next_moment_is_the_first_minute_that_matches(text: str, start: datetime) -> None:
    start = start.replace(second=0, microsecond=0)
    found = next(parse(text).after(start))
    assert matches(found, text)
    # Every day in between is looked at; of the minutes those of the first and the last day, which alone can hide one.
    for day in range((found.date() - start.date()).days + 1):
        date = start.replace(hour=0, minute=0) + timedelta(days=day)
        hours, minutes = text.split()[:2]
        probe = [
            date + timedelta(hours=hour, minutes=minute)
            for hour in range(24)
            if in_list(hour, hours, 0, 23)
            for minute in range(60)
            if in_list(minute, minutes, 0, 59)
        ]
        assert not any(start < each < found and matches(each, text) for each in (probe if day == 0 else probe[:1]))


@given(crons, st.datetimes(datetime(2023, 1, 1), datetime(2030, 1, 1)))
def test_looking_back_finds_what_looking_ahead_found(text: str, start: datetime) -> None:
    cron = parse(text)
    first, second = islice(cron.after(start), 2)
    assert next(cron.before(second)) == second
    assert next(cron.before(second - timedelta(seconds=1))) == first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0/30 * * * ? *", ["2026-12-01 12:30", "2026-12-01 13:00", "2026-12-01 13:30"]),
        ("0 0/4 * * ? *", ["2026-12-01 16:00", "2026-12-01 20:00", "2026-12-02 00:00"]),
        ("15 13 ? * * *", ["2026-12-01 13:15", "2026-12-02 13:15", "2026-12-03 13:15"]),
        ("30 23 ? * TUE#3 *", ["2026-12-15 23:30", "2027-01-19 23:30", "2027-02-16 23:30"]),
        ("0 0 ? * 3L *", ["2026-12-29 00:00", "2027-01-26 00:00", "2027-02-23 00:00"]),
        ("0 */30 * * * ? *", ["2026-12-01 12:30", "2026-12-01 13:00", "2026-12-01 13:30"]),
        ("0 2 L * ? *", ["2026-12-31 02:00", "2027-01-31 02:00", "2027-02-28 02:00"]),
        ("15 10 ? * MON-FRI *", ["2026-12-02 10:15", "2026-12-03 10:15", "2026-12-04 10:15"]),
        ("15 10 ? * 6L *", ["2026-12-25 10:15", "2027-01-29 10:15", "2027-02-26 10:15"]),
        ("0 6 ? * SUN *", ["2026-12-06 06:00", "2026-12-13 06:00", "2026-12-20 06:00"]),
        ("0 0 2 ? * SUN *", ["2026-12-06 02:00", "2026-12-13 02:00", "2026-12-20 02:00"]),
        ("0 0 29 2 ? *", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("0 0 ? FEB TUE#5 *", ["2028-02-29 00:00", "2056-02-29 00:00", "2084-02-29 00:00"]),
        ("0 0 1,LW * ? *", ["2026-12-31 00:00", "2027-01-01 00:00", "2027-01-29 00:00"]),
        ("0 0 ? * L *", ["2026-12-05 00:00", "2026-12-12 00:00", "2026-12-19 00:00"]),
        ("0 0 ? * FRI-MON *", ["2026-12-04 00:00", "2026-12-05 00:00", "2026-12-06 00:00"]),
        ("0 22-1 * * ? *", ["2026-12-01 22:00", "2026-12-01 23:00", "2026-12-02 00:00"]),
        ("0 0 1W * ? *", ["2027-01-01 00:00", "2027-02-01 00:00", "2027-03-01 00:00"]),
        ("0 0 ? * mon *", ["2026-12-07 00:00", "2026-12-14 00:00", "2026-12-21 00:00"]),
    ],
)
def test_examples(text: str, expected: list[str]) -> None:
    assert due(text, "2026-12-01 12:00") == expected


def test_the_years_end() -> None:
    assert due("0 0 1 1 ? 2027,2029", "2026-12-01") == ["2027-01-01 00:00", "2029-01-01 00:00"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * * *",
        "0 0 * * * *",
        "0 0 ? * ? *",
        "60 0 * * ? *",
        "0 24 * * ? *",
        "0 0 0 * ? *",
        "0 0 32 * ? *",
        "0 0 31 2 ? *",
        "0 0 * 13 ? *",
        "0 0 * FOO ? *",
        "0 0 ? * 8 *",
        "0 0 ? * 0 *",
        "0 0 ? * 2#6 *",
        "0 0 ? * 2#0 *",
        "0 0 ? * 2#1,3#1 *",
        "0 0 * * ? 1969",
        "0 0 * * ? 2200",
        "0 0 * * ? 2030-2029",
        "*/0 0 * * ? *",
        "*/ 0 * * ? *",
        "5/99 0 * * ? *",
        "-5 0 * * ? *",
        "5- 0 * * ? *",
        ", 0 * * ? *",
        "0 0 L-31 2 ? *",
        "0 0 W * ? *",
        "? 0 * * ? *",
        "* 0 0 * * ? *",
        "١ 0 * * ? *",
        "0 0 * * ? * * *",
    ],
)
def test_what_is_not_cron_is_refused(text: str) -> None:
    with pytest.raises(CronFault):
        parse(text)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("0/30 * * * ? *", 30),
        ("0 0/4 * * ? *", 240),
        ("0 0,23 * * ? *", 60),
        ("7 3 * * ? *", 1440),
        ("0,10 1 * * ? *", 10),
    ],
)
def test_the_shortest_gap(text: str, minutes: int) -> None:
    assert parse(text).shortest_gap() == timedelta(minutes=minutes)
