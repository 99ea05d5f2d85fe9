"""Rows of inventory: one thing that a node has, as text by attribute, and why they could not be gathered."""

from __future__ import annotations

import re
from datetime import UTC, datetime

LONGEST_VALUE_CHARS = 4096

Row = dict[str, str]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "x86": "i386", "i686": "i386", "aarch64": "arm64"}


class GatherFault(Exception):
    """A type could not be gathered; one sentence says why."""


def row(required: dict[str, object], optional: dict[str, object] | None = None) -> Row:
    """A row of attributes; optional ones that are empty are left out, all are one line of at most 4,096 characters."""
    filled = {name: text(value) for name, value in required.items()}
    return filled | {name: shown for name, value in (optional or {}).items() if (shown := text(value))}


def text(value: object) -> str:
    """A value as inventory carries it: one line of text without control characters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _CONTROL.sub(" ", "" if value is None else str(value)).strip()[:LONGEST_VALUE_CHARS]


def iso(seconds: float) -> str:
    """A time in seconds since 1970 as 2026-11-22T20:07:05Z; empty when there is no such time."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return ""


def architecture(name: str) -> str:
    """One name for each architecture, whatever the package manager calls it."""
    return _ARCHITECTURES.get(name, name)
