"""SqliteStore: the published checks, and what only it promises."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetward.server.backends.entry_time import SlowEntry
from fleetward.server.backends.store_sqlite import SqliteStore, batches
from fleetward.server.ports import Unit
from fleetward.testing.store_checks import StoreChecks, add, create, list_names, run, submit


class TestSqliteStore(StoreChecks):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqliteStore]:
        store = SqliteStore(tmp_path / "store.db")
        yield store
        store.close()


def test_without_threads_units_run_in_the_caller(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", threads=False)
    unit = submit(store, create)
    assert unit.done()
    assert submit(store, add, "a").result(0) == "a"
    assert submit(store, list_names, reads=True).result(0) == ["a"]
    store.close()


def test_rows_survive_reopening(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    run(store, create)
    run(store, add, "a")
    store.close()
    again = SqliteStore(tmp_path / "store.db")
    assert run(again, list_names, reads=True) == ["a"]
    again.close()


def test_slow_entry_fails_and_is_undone_when_asked(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", slow_entry_fails=True)
    run(store, create)

    def slow(connection, names):
        add(connection, names)
        end = time.thread_time() + 0.06
        while time.thread_time() < end:
            pass
        return names

    with pytest.raises(SlowEntry):
        run(store, slow, "slow")
    assert run(store, list_names, reads=True) == []
    store.close()


def test_a_slow_batch_fails_as_a_whole_and_is_not_tried_one_by_one(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", threads=False, slow_entry_fails=True)
    sizes = []

    def slow(connection, names):
        sizes.append(len(names))
        end = time.thread_time() + 0.02 * len(names)
        while time.thread_time() < end:
            pass
        return names

    finished = store._commit([Unit(slow, name, lambda outcome: None, 10) for name in "abcd"])
    assert sizes == [4]
    assert all(isinstance(outcome, SlowEntry) for _, outcome in finished)
    store.close()


def test_waiting_units_are_delivered_by_one_commit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    groups: list[int] = []
    tell = store.deliver

    def deliver(finished):
        groups.append(len(finished))
        tell(finished)

    run(store, create)
    store.deliver = deliver
    units = [submit(store, add, f"n{number}") for number in range(500)]
    for unit in units:
        unit.result(30)
    assert sum(groups) == 500
    assert len(groups) < 400
    store.close()


def test_batches_keep_bodies_apart_and_their_limit() -> None:
    def one(_, arguments):
        return arguments

    def other(_, arguments):
        return arguments

    units = [
        Unit(one, 0, print, 2),
        Unit(other, 1, print),
        Unit(one, 2, print, 2),
        Unit(other, 3, print),
        Unit(one, 4, print, 2),
    ]
    assert [[unit.argument for unit in batch] for batch in batches(units)] == [[0, 2], [1], [3], [4]]
