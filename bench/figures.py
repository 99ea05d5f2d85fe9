"""Figures: what a row measured, beside its bar, and the table of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `met` is None where there is no bar, or nothing to compare with."""

    name: str
    measured: str
    bar: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """How thoroughly to measure: rounds of each ratio, and whether everything is tiny (the bench's own test)."""

    rounds: int = 5
    tiny: bool = False
    seconds: float = 60.0
    """How long idle things are watched."""

    def of(self, number: int, tiny: int) -> int:
        """A number of nodes or calls."""
        return tiny if self.tiny else number


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def at_most(name: str, value: float, bar: float, unit: str = "", note: str = "") -> Figure:
    """A figure that must not exceed its bar."""
    return Figure(name, _text(value, unit, note), f"<= {number(bar)}{unit}", value <= bar)


def at_least(name: str, value: float, bar: float, unit: str = "", note: str = "") -> Figure:
    """A figure that must reach its bar."""
    return Figure(name, _text(value, unit, note), f">= {number(bar)}{unit}", value >= bar)


def shown(name: str, value: float, unit: str = "", note: str = "") -> Figure:
    """A figure without a bar."""
    return Figure(name, _text(value, unit, note))


def number(value: float) -> str:
    """A number as people read it: three significant digits, thousands apart."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned columns."""
    verdicts = {True: "met", False: "MISSED", None: ""}
    rows = [("figure", "measured", "bar", "")]
    rows += [(each.name, each.measured, each.bar, verdicts[each.met]) for each in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _text(value: float, unit: str, note: str) -> str:
    return f"{number(value)}{unit}" + (f" ({note})" if note else "")
