"""Checks that every Store must pass. Subclass `StoreChecks` in a test module and give it a fixture `store`.

class TestMyStore(StoreChecks):
    @pytest.fixture
    def store(self):
        store = MyStore(...)        # empty; a new one for each test
        yield store
        store.close()
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from fleetward.server.ports import Body, Store, Unit
from fleetward.server.schema import Json, UtcDateTime

WITHIN = 30.0
"""Seconds that any step of a check may take."""

tables = MetaData()
rows = Table(
    "store_check_rows",
    tables,
    Column("name", String(200), primary_key=True),
    Column("number", Integer, nullable=False, default=0),
    Column("at", UtcDateTime),
    Column("document", Json),
)

ADD = insert(rows)
NAMES = select(rows.c.name).order_by(rows.c.name)
COUNT = select(func.count()).select_from(rows)
NUMBER = select(rows.c.number).where(rows.c.name == bindparam("of_name"))
SET_NUMBER = update(rows).where(rows.c.name == bindparam("of_name")).values(number=bindparam("to_number"))
SET_BELOW = update(rows).where(rows.c.number < bindparam("limit_number")).values(number=bindparam("to_number"))
REMOVE = delete(rows).where(rows.c.name == bindparam("of_name"))
AMONG = select(func.count()).select_from(rows).where(rows.c.name.in_(bindparam("names", expanding=True)))


class Boom(Exception):
    """What a check's unit raises on purpose."""


def submit(store: Store, body: Body, argument: Any = None, *, together: int = 1, reads: bool = False) -> Future[Any]:
    """A unit's outcome to come."""
    future: Future[Any] = Future()

    def done(outcome: Any) -> None:
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    unit = Unit(body, argument, done, together)
    (store.read if reads else store.write)(unit)
    return future


def run(store: Store, body: Body, argument: Any = None, *, reads: bool = False) -> Any:
    """A unit's outcome."""
    return submit(store, body, argument, reads=reads).result(WITHIN)


def create(connection: Connection, _: Sequence[Any]) -> list[None]:
    """Make the checks' table."""
    tables.create_all(connection)
    return [None]


def add(connection: Connection, names: Sequence[Any]) -> list[str]:
    """One row per name; its output is the name."""
    connection.execute(ADD, [{"name": name, "number": 0} for name in names])
    return list(names)


def add_then_fail(connection: Connection, names: Sequence[Any]) -> list[str]:
    """Like `add`, and raises afterwards where a name begins with `bad`."""
    added = add(connection, names)
    if any(name.startswith("bad") for name in names):
        raise Boom
    return added


def increment(connection: Connection, names: Sequence[Any]) -> list[int]:
    """Read a number, add one, write it: lost when two units run at once without care."""
    outputs = []
    for name in names:
        number = connection.execute(NUMBER, {"of_name": name}).scalar_one() + 1
        connection.execute(SET_NUMBER, {"of_name": name, "to_number": number})
        outputs.append(number)
    return outputs


def add_if_missing(connection: Connection, names: Sequence[Any]) -> list[bool]:
    """Look, then insert."""
    outputs = []
    for name in names:
        missing = connection.execute(NUMBER, {"of_name": name}).first() is None
        if missing:
            add(connection, [name])
        outputs.append(missing)
    return outputs


def list_names(connection: Connection, _: Sequence[Any]) -> list[list[str]]:
    """Every name, in order."""
    return [list(connection.execute(NAMES).scalars())]


class StoreChecks:
    """What the server relies on. Each check gets an empty store."""

    def test_write_is_seen_by_the_next_read(self, store: Store) -> None:
        """A unit is done after its commit."""
        run(store, create)
        for number in range(20):
            run(store, add, f"n{number:02}")
            assert run(store, list_names, reads=True)[-1] == f"n{number:02}"

    def test_failed_unit_leaves_nothing_and_tells_its_exception(self, store: Store) -> None:
        """What a unit did before it failed is undone."""
        run(store, create)
        failed = submit(store, add_then_fail, "bad")
        assert isinstance(failed.exception(WITHIN), Boom)
        assert run(store, list_names, reads=True) == []

    def test_broken_constraint_fails_its_unit_alone(self, store: Store) -> None:
        """An integrity error neither stops nor undoes the units beside it."""
        run(store, create)
        run(store, add, "taken")
        units = [submit(store, add, name) for name in ("a", "taken", "b", "taken", "c")]
        wait(units, WITHIN)
        faults = [unit.exception() for unit in units]
        assert [isinstance(fault, IntegrityError) for fault in faults] == [False, True, False, True, False]
        assert run(store, list_names, reads=True) == ["a", "b", "c", "taken"]

    def test_unit_may_not_go_on_after_a_database_error(self, store: Store) -> None:
        """A swallowed error never makes half a unit permanent unless the whole of it is."""
        run(store, create)
        run(store, add, "taken")

        def swallow(connection: Connection, names: Sequence[Any]) -> list[str]:
            add(connection, names)
            try:
                add(connection, ["taken"])
            except IntegrityError:
                pass
            return list(names)

        unit = submit(store, swallow, "half")
        succeeded = unit.exception(WITHIN) is None
        assert ("half" in run(store, list_names, reads=True)) == succeeded
        assert run(store, add, "after") == "after"

    def test_units_of_one_body_share_runs_up_to_their_limit(self, store: Store) -> None:
        """Batches never exceed `together`, each member gets its own outcome."""
        run(store, create)
        sizes: list[int] = []

        def body(connection: Connection, names: Sequence[Any]) -> list[str]:
            sizes.append(len(names))
            return add(connection, names)

        names = [f"n{number:03}" for number in range(300)]
        units = [submit(store, body, name, together=50) for name in names]
        assert [unit.result(WITHIN) for unit in units] == names
        assert max(sizes) <= 50
        assert sum(sizes) == 300
        assert run(store, list_names, reads=True) == names

    def test_units_alone_never_share_a_run(self, store: Store) -> None:
        """`together=1` means one argument."""
        sizes: list[int] = []

        def body(_: Connection, arguments: Sequence[Any]) -> list[None]:
            sizes.append(len(arguments))
            return [None]

        wait([submit(store, body, number) for number in range(50)], WITHIN)
        assert set(sizes) == {1}

    def test_failed_batch_runs_its_members_one_by_one(self, store: Store) -> None:
        """One bad member spoils nobody else's outcome."""
        run(store, create)
        names = [f"{'bad' if number % 7 == 3 else 'good'}{number:02}" for number in range(40)]
        units = [submit(store, add_then_fail, name, together=40) for name in names]
        wait(units, WITHIN)
        for name, unit in zip(names, units, strict=True):
            assert isinstance(unit.exception(), Boom) == name.startswith("bad")
        assert run(store, list_names, reads=True) == sorted(name for name in names if name.startswith("good"))

    def test_read_then_write_loses_no_update(self, store: Store) -> None:
        """Units run as if one after the other."""
        run(store, create)
        run(store, add, "counter")
        outputs = self._from_threads(store, increment, ["counter"] * 200)
        assert sorted(outputs) == list(range(1, 201))

    def test_look_then_insert_inserts_once(self, store: Store) -> None:
        """Two units that both look first never both insert."""
        run(store, create)
        names = [f"n{number % 25}" for number in range(200)]
        outputs = self._from_threads(store, add_if_missing, names)
        assert outputs.count(True) == 25

    def test_opposite_orders_do_not_block_each_other(self, store: Store) -> None:
        """Units that change the same rows in different order all end."""
        run(store, create)
        run(store, add, "x")
        run(store, add, "y")

        def both(connection: Connection, orders: Sequence[Any]) -> list[list[int]]:
            return [increment(connection, order) for order in orders]

        orders = [["x", "y"] if number % 2 else ["y", "x"] for number in range(100)]
        self._from_threads(store, both, orders)
        assert run(store, increment, "x") == run(store, increment, "y") == 101

    def test_read_sees_one_moment(self, store: Store) -> None:
        """A read's statements see the same rows, whatever is committed meanwhile."""
        run(store, create)
        between, go_on = threading.Event(), threading.Event()

        def twice(connection: Connection, _: Sequence[Any]) -> list[tuple[int, int]]:
            first = connection.execute(COUNT).scalar_one()
            between.set()
            assert go_on.wait(WITHIN)
            return [(first, connection.execute(COUNT).scalar_one())]

        reading = submit(store, twice, reads=True)
        assert between.wait(WITHIN)
        run(store, add, "later")
        go_on.set()
        assert reading.result(WITHIN) == (0, 0)

    def test_failed_read_tells_its_exception(self, store: Store) -> None:
        """And the connection is good for the next read."""
        run(store, create)

        def fail(connection: Connection, _: Sequence[Any]) -> list[None]:
            connection.execute(select(Table("store_check_missing", MetaData(), Column("x", Integer))))
            return [None]

        for _ in range(5):
            assert submit(store, fail, reads=True).exception(WITHIN) is not None
            assert run(store, list_names, reads=True) == []

    def test_times_and_documents_come_back_as_they_went(self, store: Store) -> None:
        """The column types of `schema`, to the microsecond."""
        run(store, create)
        at = datetime(2031, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
        document = {"text": "ünïcode \u0000 \U0001f600", "list": [1, 2.5, None, True], "empty": {}}

        def body(connection: Connection, _: Sequence[Any]) -> list[Any]:
            connection.execute(ADD, [{"name": "typed", "number": 1, "at": at, "document": document}])
            connection.execute(ADD, [{"name": "unset", "number": 2, "at": None, "document": None}])
            later = connection.execute(select(rows.c.name).where(rows.c.at > at - timedelta(microseconds=1))).scalars()
            return [(*connection.execute(select(rows.c.at, rows.c.document).order_by(rows.c.name)), list(later))]

        assert run(store, body) == ((at, document), (None, None), ["typed"])

    def test_text_sorts_by_code_point_and_matches_by_case(self, store: Store) -> None:
        """Order of text and LIKE are the same everywhere, so that lists page alike."""
        run(store, create)
        names = ["Zeta", "a.b", "a/b", "alpha", "Alpha", "_x", "-x", "é", "z", "9", "10", "al%ha"]
        self._from_threads(store, add, names)
        assert run(store, list_names, reads=True) == sorted(names)

        def like(connection: Connection, prefixes: Sequence[Any]) -> list[list[str]]:
            (prefix,) = prefixes
            return [list(connection.execute(NAMES.where(rows.c.name.startswith(prefix, autoescape=True))).scalars())]

        assert run(store, like, "al", reads=True) == ["al%ha", "alpha"]
        assert run(store, like, "al%", reads=True) == ["al%ha"]

    def test_text_with_zero_bytes_is_stored(self, store: Store) -> None:
        """What a node prints never fails a unit; the rest of the text is kept."""
        run(store, create)
        run(store, add, "before\0after")
        (name,) = run(store, list_names, reads=True)
        assert name.startswith("before")
        assert name.endswith("after")

    def test_many_rows_are_one_execute_and_are_counted(self, store: Store) -> None:
        """`rowcount` of an execute with many rows is how many rows changed in all."""
        run(store, create)

        def body(connection: Connection, _: Sequence[Any]) -> list[Any]:
            names = [f"n{number:04}" for number in range(2500)]
            connection.execute(ADD, [{"name": name, "number": 0} for name in names])
            changed = connection.execute(
                SET_NUMBER, [{"of_name": name, "to_number": 7} for name in [*names[:1200], "absent", "missing"]]
            ).rowcount
            below = connection.execute(SET_BELOW, {"limit_number": 7, "to_number": 3}).rowcount
            removed = connection.execute(REMOVE, [{"of_name": name} for name in [*names[:10], "absent"]]).rowcount
            return [(changed, below, removed, connection.execute(COUNT).scalar_one())]

        assert run(store, body) == (1200, 1300, 10, 2490)

    def test_thousands_of_values_in_one_condition(self, store: Store) -> None:
        """An expanding IN takes 10,000 values."""
        run(store, create)
        run(store, add, "n00042")
        wanted = [f"n{number:05}" for number in range(10_000)]

        def body(connection: Connection, _: Sequence[Any]) -> list[int]:
            return [connection.execute(AMONG, {"names": wanted}).scalar_one()]

        assert run(store, body, reads=True) == 1

    def test_callbacks_may_write_again(self, store: Store) -> None:
        """`done` may submit more work; it runs in a thread of the store's choosing."""
        run(store, create)
        second: Future[Any] = Future()
        store.write(Unit(add, "first", lambda _: store.write(Unit(add, "second", second.set_result))))
        assert second.result(WITHIN) == "second"
        assert run(store, list_names, reads=True) == ["first", "second"]

    def test_close_finishes_what_was_queued(self, store: Store) -> None:
        """Nothing accepted before is dropped."""
        run(store, create)
        units = [submit(store, add, f"n{number:03}") for number in range(100)]
        store.close()
        assert [unit.result(0) for unit in units] == [f"n{number:03}" for number in range(100)]
        store.close()

    def _from_threads(self, store: Store, body: Body, arguments: Sequence[Any]) -> list[Any]:
        """Submit from four threads at once; outputs in order of arguments."""
        units: list[Future[Any]] = [Future()] * len(arguments)

        def some(first: int) -> None:
            for index in range(first, len(arguments), 4):
                units[index] = submit(store, body, arguments[index])

        threads = [threading.Thread(target=some, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [unit.result(WITHIN) for unit in units]
