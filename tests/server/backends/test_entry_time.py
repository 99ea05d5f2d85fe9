"""Entry time: what counts as an entry's own doing, and what does not."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, create_engine, literal_column, select

from fleetward.server.backends import entry_time
from fleetward.server.backends.entry_time import SLOW_ENTRY, SlowEntry


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    entry_time.watch(engine)
    yield engine
    engine.dispose()


def counted(work: Callable[[], object]) -> tuple[float, float]:
    """What counted of some work, and all its processor time."""
    since, began = entry_time.now(), time.thread_time()
    work()
    return entry_time.now() - since, time.thread_time() - began


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_own_work_counts_in_full() -> None:
    own, _ = counted(lambda: spin(0.01))
    assert own >= 0.01


def test_collecting_garbage_does_not_count(engine: Engine) -> None:
    kept = [[number] for number in range(300_000)]
    own, whole = counted(gc.collect)
    assert len(kept) == 300_000
    assert own < whole / 4


def test_compiling_a_statement_does_not_count(engine: Engine) -> None:
    wide = select(*[(literal_column(f"{number}") + number).label(f"c{number}") for number in range(500)])
    own, whole = counted(lambda: wide.compile(engine))
    assert own < whole / 4


def test_an_engine_that_is_watched_twice_is_watched_once(engine: Engine) -> None:
    compiler = engine.dialect.statement_compiler
    entry_time.watch(engine)
    assert engine.dialect.statement_compiler is compiler
    assert sum(callback.__module__ == entry_time.__name__ for callback in gc.callbacks) == 1


def test_excused_work_within_excused_work_is_subtracted_once() -> None:
    since = entry_time.now()
    with entry_time.excused(), entry_time.excused():
        spin(0.01)
    spin(0.005)
    assert 0.005 <= entry_time.now() - since < 0.015


def test_an_entry_over_the_limit_is_named() -> None:
    entry_time.judge(entry_time.now(), spin, 1)
    with pytest.raises(SlowEntry, match=r"spin held the writer for .* with 3 members"):
        entry_time.judge(entry_time.now() - SLOW_ENTRY - 0.001, spin, 3)
