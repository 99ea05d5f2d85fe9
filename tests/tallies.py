"""Numbers that tests want seen at the end of the run: `record_property("tally", "moto kms: 80 pass")`."""

from __future__ import annotations

_tallies: set[str] = set()


def pytest_runtest_logreport(report):  # type: ignore[no-untyped-def]
    """Remember them, wherever the test ran."""
    _tallies.update(str(value) for name, value in report.user_properties if name == "tally")


def pytest_terminal_summary(terminalreporter):  # type: ignore[no-untyped-def]
    """Print them."""
    if _tallies:
        terminalreporter.section("tallies")
        for tally in sorted(_tallies):
            terminalreporter.line(tally)
