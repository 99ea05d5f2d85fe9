"""PostgresStore: the published checks on a real PostgreSQL, and its word when connections or servers die."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from fleetward.server.backends.store_postgres import CommitUncertain, PostgresStore
from fleetward.server.errors import ServiceUnavailableException
from fleetward.server.settings import SettingsFault
from fleetward.testing.store_checks import StoreChecks, add, create, increment, list_names, run, submit
from tests.services import Postgres

WAITS_FOR_ROW = (
    "SELECT 1 FROM pg_stat_activity"
    " WHERE datname = %s AND wait_event_type = 'Lock' AND query LIKE 'UPDATE store_check%%'"
)


class TestPostgresStore(StoreChecks):
    @pytest.fixture
    def store(self, postgres_url: str) -> Iterator[PostgresStore]:
        store = PostgresStore(postgres_url)
        yield store
        store.close()


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres_url)
    run(store, create)
    yield store
    store.close()


def test_two_stores_lose_no_update(store: PostgresStore, postgres_url: str) -> None:
    other = PostgresStore(postgres_url)
    run(store, add, "counter")
    units = [submit((store, other)[number % 2], increment, "counter") for number in range(300)]
    assert sorted(unit.result(30) for unit in units) == list(range(1, 301))
    other.close()


def test_cut_connections_lose_and_repeat_nothing(
    store: PostgresStore, postgres_server: Postgres, postgres_url: str
) -> None:
    run(store, add, "counter")
    database = postgres_url.split("/")[3].split("?")[0]
    units = []
    with postgres_server.connect() as tests_own:
        for number in range(400):
            units.append(submit(store, increment, "counter"))
            if number % 100 == 50:  # four times: a unit is tried five times at most
                tests_own.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
                )
    assert sorted(unit.result(30) for unit in units) == list(range(1, 401))


def test_units_wait_for_a_database_that_restarts(store: PostgresStore, postgres_server: Postgres) -> None:
    run(store, add, "before")
    postgres_server.program.stop()
    writing, reading = submit(store, add, "meanwhile"), submit(store, list_names, reads=True)
    assert not writing.done()
    postgres_server.start()
    assert writing.result(30) == "meanwhile"
    assert reading.result(30)[0] == "before"
    assert run(store, list_names, reads=True) == ["before", "meanwhile"]


def test_units_fail_clearly_when_the_database_stays_away(postgres_url: str, postgres_server: Postgres) -> None:
    store = PostgresStore(postgres_url, patience=timedelta(milliseconds=200))
    run(store, create)
    postgres_server.program.stop()
    try:
        assert isinstance(submit(store, add, "a").exception(30), ServiceUnavailableException)
        assert isinstance(submit(store, list_names, reads=True).exception(30), ServiceUnavailableException)
    finally:
        postgres_server.start()
    assert run(store, add, "b") == "b"
    assert run(store, list_names, reads=True) == ["b"]
    store.close()


def test_deadlock_with_a_stranger_is_tried_again(
    store: PostgresStore, postgres_server: Postgres, postgres_url: str
) -> None:
    run(store, add, "x")
    run(store, add, "y")
    database = postgres_url.split("/")[3].split("?")[0]
    holds_x, tries = threading.Event(), []

    def x_then_y(connection, _):
        tries.append(None)
        increment(connection, ["x"])
        holds_x.set()
        while len(tries) == 1 and not tests_own.execute(WAITS_FOR_ROW, [database]).fetchall():
            pass
        return increment(connection, ["y"])

    def y_then_x() -> None:
        with postgres_server.connect(database) as stranger:
            stranger.execute("BEGIN")
            stranger.execute("SET LOCAL deadlock_timeout = '30s'")  # so that it is not the one to be ended
            stranger.execute("UPDATE store_check_rows SET number = 100 WHERE name = 'y'")
            holds_y.set()
            assert holds_x.wait(30)
            stranger.execute("UPDATE store_check_rows SET number = 100 WHERE name = 'x'")
            stranger.execute("COMMIT")

    holds_y = threading.Event()
    with postgres_server.connect() as tests_own:
        other = threading.Thread(target=y_then_x)
        other.start()
        assert holds_y.wait(30)
        assert run(store, x_then_y) == 101
        other.join()
    assert len(tries) == 2
    assert run(store, increment, "x") == 102


def test_unit_that_always_collides_is_given_up_after_five_tries(store: PostgresStore) -> None:
    tries = []

    def collide(connection, _):
        tries.append(None)
        raise psycopg.errors.SerializationFailure("as a stranger's transaction would cause")

    assert isinstance(submit(store, collide).exception(30), psycopg.errors.SerializationFailure)
    assert len(tries) == 5
    assert run(store, add, "after") == "after"


class Cutter:
    """A connection's relay that cuts it once, when a commit's answer comes back from the database."""

    def __init__(self, target: Path) -> None:
        self.target = str(target / ".s.PGSQL.5432")
        self.armed = threading.Event()
        self.gone = threading.Event()
        self.cuts = 0
        self.refuse = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
            committing = threading.Event()
            threading.Thread(target=self._copy, args=(client, server, committing, True), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, committing, False), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, committing: threading.Event, asks: bool) -> None:
        try:
            while data := source.recv(65536):
                if asks and self.armed.is_set() and data.startswith(b"Q") and data[5:] == b"COMMIT\0":
                    committing.set()
                if not asks and committing.is_set():
                    self.armed.clear()
                    self.cuts += 1
                    self.refuse = self.gone.is_set()
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def cutter(postgres_server: Postgres) -> Iterator[Cutter]:
    cutter = Cutter(postgres_server.folder)
    yield cutter
    cutter.close()


def through(cutter: Cutter, postgres_server: Postgres, url: str) -> str:
    database = url.split("/")[3].split("?")[0]
    return f"postgresql://{postgres_server.name}@127.0.0.1:{cutter.port}/{database}?sslmode=disable&gssencmode=disable"


def test_commit_whose_answer_is_lost_is_looked_up(cutter: Cutter, postgres_server: Postgres, postgres_url: str) -> None:
    store = PostgresStore(through(cutter, postgres_server, postgres_url))
    run(store, create)
    run(store, add, "counter")
    for expected in range(1, 6):
        cutter.armed.set()
        assert run(store, increment, "counter") == expected
        assert cutter.cuts == expected
    store.close()


def test_commit_nobody_can_tell_about_is_called_uncertain(
    cutter: Cutter, postgres_server: Postgres, postgres_url: str
) -> None:
    store = PostgresStore(through(cutter, postgres_server, postgres_url), patience=timedelta(milliseconds=200))
    run(store, create)
    cutter.gone.set()
    cutter.armed.set()
    assert isinstance(submit(store, add, "a").exception(30), CommitUncertain)
    cutter.refuse = False
    assert run(store, list_names, reads=True) == ["a"]
    store.close()


def test_database_that_sorts_by_language_is_refused(postgres_server: Postgres) -> None:
    name = postgres_server.new_database("TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    with pytest.raises(SettingsFault, match="LC_COLLATE 'C'"):
        PostgresStore(postgres_server.url(name))
    postgres_server.drop_database(name)


def test_clock_is_the_databases(store: PostgresStore, postgres_server: Postgres) -> None:
    run(store, add, "a")
    with postgres_server.connect() as tests_own:
        row = tests_own.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    assert isinstance(row[0], datetime)
    assert abs(store.clock.now() - row[0]) < timedelta(seconds=1)
    assert store.clock.now().utcoffset() == timedelta(0)
    assert store.clock.now().tzinfo == UTC


def test_frozen_server_is_cut_off(store: PostgresStore, postgres_server: Postgres, postgres_url: str) -> None:
    """Its transaction is ended by the database, so its lock cannot stop the others for ever."""
    database = postgres_url.split("/")[3].split("?")[0]
    seen: list[str] = []

    def ask(connection, _):
        seen.append(connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one())
        return [None]

    run(store, ask)
    assert seen == ["10s"]
    other = postgres_server.connect(database)
    other.execute("SET idle_in_transaction_session_timeout = '50ms'")
    other.execute("BEGIN")
    other.execute("LOCK TABLE store_marks IN ACCESS EXCLUSIVE MODE")
    assert run(store, add, "a") == "a"
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        other.execute("SELECT 1")
    other.close()
