"""Texts of change calendars for tests."""

from __future__ import annotations


def event(start: str, *lines: str, uid: str = "one") -> str:
    """A VEVENT; `start` is the whole value of DTSTART with its parameters: `:20300101T000000Z`."""
    return "\r\n".join(
        ["BEGIN:VEVENT", f"UID:{uid}", "DTSTAMP:20300101T000000Z", f"DTSTART{start}", *lines, "END:VEVENT"]
    )


def calendar(*events: str, kind: str = "DEFAULT_OPEN", zone: str = "") -> str:
    """A whole calendar."""
    more = [f"X-WR-TIMEZONE:{zone}"] if zone else []
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Test//EN", f"X-CALENDAR-TYPE:{kind}", *more]
    return "\r\n".join([*head, *events, "END:VCALENDAR", ""])
