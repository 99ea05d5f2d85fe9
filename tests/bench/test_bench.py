"""The bench runs: every row, at tiny sizes, gives figures (what they are worth is not asked here)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.figures import at_least, at_most, shown, table


def test_a_figure_says_whether_its_bar_is_met() -> None:
    assert [at_most("a", 2, 2).met, at_most("a", 3, 2).met, at_least("a", 2, 2).met, at_least("a", 1, 2).met] == [
        True,
        False,
        True,
        False,
    ]
    assert shown("a", 1).met is None


def test_the_table_names_every_figure_with_its_bar_and_verdict() -> None:
    text = table([at_most("first", 1234.5, 2000, " ms", "noted"), at_least("second", 0.5, 1)])
    lines = text.splitlines()
    assert lines[1].split() == ["first", "1,234", "ms", "(noted)", "<=", "2,000", "ms", "met"]
    assert lines[2].split() == ["second", "0.5", ">=", "1", "MISSED"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows",
    [
        ["authorization", "writes"],
        ["objects"],
        ["fan_out", "tag_condition"],
        ["session_relay"],
        ["sessions"],
        ["session_cuts"],
        ["session_peers"],
    ],
)
def test_rows_measure_a_real_server(rows: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--tiny", *rows], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "broke" not in done.stdout
