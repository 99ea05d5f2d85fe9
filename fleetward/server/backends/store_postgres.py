"""PostgreSQL as store: groups of units in one transaction each, one group at a time in the whole database.

    take units -> BEGIN, lock, mark -> savepoint per batch -> COMMIT -> tell the callers
                    |                                        |
                    |  connection lost: nothing happened,    |  connection lost: the mark tells whether the
                    |  run the units again                   |  group was committed; if not, run it again

A transaction-level advisory lock makes groups of all servers follow one another, so entries meet exactly what they
meet on SQLite: no lost updates, no deadlocks, no serialization failures of our own making. While one writer's commit
is on its way another gathers the next group. There is no order between units but that of their commits: two units
written by one thread may run in either order unless the second is written after the first is done.

Deadlocks and serialization failures (other programs, migrations) run the units again, five times at most, first
together, then one by one. So a body may run several times; only what it did last is committed.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.types.string import StrDumper
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from fleetward.server.backends import entry_time
from fleetward.server.backends.store_sqlite import GROUP_LIMIT, Deliver, batches, call_each
from fleetward.server.errors import ServiceUnavailableException
from fleetward.server.ports import Outcome, Unit
from fleetward.server.settings import SettingsFault

TRIES = 5
TRIES_TOGETHER = 2
RECONNECT_PAUSE = 0.1
WRITE_LOCK = 0x466C6565747764
AWAY = "The database is not available; try again later."
AGAIN = frozenset({"40001", "40P01"})
"""SQLSTATEs that ask for another try: serialization failure, deadlock."""

SESSION: tuple[LiteralString, ...] = (
    "SET TIME ZONE 'UTC'",
    # A server that freezes in the middle of a group must not hold the others up for long.
    "SET idle_in_transaction_session_timeout = '10s'",
    "SET statement_timeout = '60s'",
)
MARKS: LiteralString = (
    "CREATE TABLE IF NOT EXISTS store_marks"
    " (writer uuid PRIMARY KEY, mark bigint NOT NULL, changed_at timestamptz NOT NULL DEFAULT now())"
)
"""Each writer's last committed group. Private to this backend: not in the MetaData, not in the migrations."""

FORGET_MARKS: LiteralString = "DELETE FROM store_marks WHERE changed_at < now() - interval '7 days'"
NEXT: LiteralString = "RELEASE SAVEPOINT entry; SAVEPOINT entry"
BACK: LiteralString = "ROLLBACK TO SAVEPOINT entry"
BEGIN_READ: LiteralString = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
SORTS_BY_CODE_POINT: LiteralString = (
    "SELECT 'B' < 'a' AND 'a.b' < 'a/b' AND '-b' < 'a', current_setting('server_encoding')"
)

Finished = list[tuple[Callable[[Outcome], None], Outcome]]


class CommitUncertain(Exception):
    """The connection was lost during a commit and the database could not be asked what became of it."""


class _Again(Exception):
    """Nothing was committed, the units may run once more. The cause is the database's wish; none: connection lost."""


class DatabaseClock:
    """Clock that follows the database's, as of the last group; all servers on one database agree.

    Between groups it runs on this machine's monotonic clock, so steps of the local clock do not matter.
    """

    def __init__(self) -> None:
        self._anchor: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """The database's present."""
        if self._anchor is None:
            raise RuntimeError("the database has not been asked yet")
        told, at = self._anchor
        return told + timedelta(seconds=time.monotonic() - at)

    def set(self, told: datetime) -> None:
        """The database has just said that it is `told`."""
        self._anchor = (told, time.monotonic())


class PostgresStore:
    """Store in one PostgreSQL database (13 or newer, UTF8, collation C), shared by any number of servers.

    `url` is `postgresql://user:password@host/database?…` with libpq's parameters (sslmode, sslrootcert …).
    `patience` is how long units wait for a database that cannot be reached before they fail with
    ServiceUnavailableException. `clock` tells the database's time: leases that several servers compare use it.
    `deliver` gets the outcomes of a whole group commit at once, in a writer's thread.
    """

    dialect = "postgresql"

    def __init__(
        self,
        url: str,
        *,
        writers: int = 4,
        readers: int = 4,
        patience: timedelta = timedelta(seconds=10),
        slow_entry_fails: bool = False,
    ) -> None:
        self.deliver: Deliver = call_each
        self.clock = DatabaseClock()
        self._engine = _engine(url)
        self._patience = patience.total_seconds()
        self._slow_entry_fails = slow_entry_fails
        if slow_entry_fails:
            entry_time.watch(self._engine)
        self._closing = threading.Event()
        self._turn = threading.Lock()
        self._writes: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._prepare()
        self._threads = [
            threading.Thread(target=self._write_loop, name=f"store-writer-{number}", daemon=True)
            for number in range(writers)
        ] + [
            threading.Thread(target=self._read_loop, name=f"store-reader-{number}", daemon=True)
            for number in range(readers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def engine(self) -> Engine:
        """An engine for migrations; every connection is a new one."""
        return self._engine

    def write(self, unit: Unit) -> None:
        """Queue `unit` for a group commit."""
        self._writes.put(unit)

    def read(self, unit: Unit) -> None:
        """Queue `unit` for a reading connection."""
        self._reads.put(unit)

    def close(self) -> None:
        """Finish what is queued (without waiting for a database that is away), then close."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._writes.put(None)
        self._reads.put(None)
        for thread in self._threads:
            thread.join()
        self._engine.dispose()

    def _prepare(self) -> None:
        line = _Line(self._engine, self._closing, self._patience)
        try:
            raw = line.raw()
            ordered, encoding = raw.execute(SORTS_BY_CODE_POINT).fetchone() or (False, "")
            if not ordered or encoding != "UTF8":
                raise SettingsFault(
                    f"the database sorts text by language or is not UTF8 ({encoding}); create it with: "
                    "CREATE DATABASE fleetward TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"
                )
            with raw.transaction():
                raw.execute("SELECT pg_advisory_xact_lock(%s)", [WRITE_LOCK])
                raw.execute(MARKS)
                raw.execute(FORGET_MARKS)
            self.clock.set(_only(raw.execute("SELECT clock_timestamp()")))
        finally:
            line.close()

    def _write_loop(self) -> None:
        line = _WritingLine(self._engine, self._closing, self._patience)
        while (unit := self._writes.get()) is not None:
            with self._turn:
                finished = self._settle(line, self._gather(unit), TRIES)
            self.deliver(finished)
        self._writes.put(None)  # for the next writer
        line.close()

    def _gather(self, first: Unit) -> list[Unit]:
        group = [first]
        while len(group) < GROUP_LIMIT * 8:
            try:
                following = self._writes.get_nowait()
            except queue.Empty:
                break
            if following is None:
                self._writes.put(None)
                break
            group.append(following)
        return group

    def _settle(self, line: _WritingLine, group: Sequence[Unit], tries: int) -> Finished:
        """Commit the group; when the database asks for another try, together first, then one by one."""
        fault: BaseException = ServiceUnavailableException(AWAY)
        together = tries if len(group) == 1 else min(tries, TRIES_TOGETHER)
        for _ in range(together):
            try:
                return self._commit(line, group)
            except _Again as again:
                fault = again.__cause__ or fault
            except Exception as final:
                return [(unit.done, final) for unit in group]
        if together == tries:
            return [(unit.done, fault) for unit in group]
        return [told for unit in group for told in self._settle(line, [unit], tries - together)]

    def _commit(self, line: _WritingLine, group: Sequence[Unit]) -> Finished:
        raw = line.raw()
        finished: Finished = []
        try:
            self.clock.set(line.begin(raw))
            for batch in batches(group):
                outcomes = self._run(line, raw, batch)
                finished += zip((unit.done for unit in batch), outcomes, strict=True)
        except Exception as fault:
            line.undo()
            if isinstance(fault, _Again):
                raise
            if line.lost:
                raise _Again from None
            if _asks_again(fault):
                raise _Again from fault
            raise
        try:
            raw.execute("COMMIT", prepare=False)
        except psycopg.Error as fault:
            line.undo()
            if not line.lost:
                raise _Again from fault
            if not line.was_committed(fault):
                raise _Again from None
        return finished

    def _run(self, line: _WritingLine, raw: psycopg.Connection[Any], batch: Sequence[Unit]) -> Sequence[Outcome]:
        started = entry_time.now()
        try:
            outcomes = batch[0].body(line.connection, [unit.argument for unit in batch])
            if self._slow_entry_fails:
                entry_time.judge(started, batch[0].body, len(batch))
            raw.execute(NEXT, prepare=False)
        except Exception as fault:
            if raw.closed:
                raise _Again from None
            if _asks_again(fault):
                raise _Again from fault
            raw.execute(BACK, prepare=False)
            if len(batch) == 1 or isinstance(fault, entry_time.SlowEntry):
                return [fault] * len(batch)
            return [self._run(line, raw, [unit])[0] for unit in batch]
        return outcomes

    def _read_loop(self) -> None:
        line = _Line(self._engine, self._closing, self._patience)
        while (unit := self._reads.get()) is not None:
            self.deliver([(unit.done, self._read(line, unit))])
        self._reads.put(None)
        line.close()

    def _read(self, line: _Line, unit: Unit) -> Outcome:
        for _ in range(TRIES):
            try:
                line.raw().execute(BEGIN_READ, prepare=False)
                outcome = unit.body(line.connection, [unit.argument])[0]
            except ServiceUnavailableException as away:
                line.undo()
                return away
            except Exception as fault:
                line.undo()
                if not line.lost:
                    return fault
            else:
                line.undo()
                return outcome
        return ServiceUnavailableException(AWAY)


class _Line:
    """One connection, opened when it is first needed and again after it was lost."""

    def __init__(self, engine: Engine, closing: threading.Event, patience: float) -> None:
        self._engine = engine
        self._closing = closing
        self._patience = patience
        self._connection: Connection | None = None
        self._raw: psycopg.Connection[Any] | None = None

    @property
    def connection(self) -> Connection:
        """SQLAlchemy's side of the connection that `raw` opened."""
        assert self._connection is not None
        return self._connection

    @property
    def lost(self) -> bool:
        """Whether the connection is gone; `undo` finds out."""
        return self._raw is None or self._raw.closed

    def raw(self) -> psycopg.Connection[Any]:
        """The driver's connection; waits for the database, at most `patience`."""
        if self._raw is not None and not self._raw.closed:
            return self._raw
        self.close()
        give_up_at = time.monotonic() + self._patience
        while True:
            try:
                return self._open()
            except (DBAPIError, psycopg.Error) as fault:
                self.close()
                if time.monotonic() >= give_up_at or self._closing.wait(RECONNECT_PAUSE):
                    raise ServiceUnavailableException(AWAY) from fault

    def undo(self) -> None:
        """Roll back what is open; a connection that cannot do so is closed."""
        if self._raw is None or self._raw.closed:
            return
        try:
            self._raw.execute("ROLLBACK", prepare=False)
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """Let go of the connection."""
        raw, connection, self._raw, self._connection = self._raw, self._connection, None, None
        if raw is not None:
            raw.close()
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _open(self) -> psycopg.Connection[Any]:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        raw: Any = connection.connection.dbapi_connection
        raw = getattr(raw, "driver_connection", raw)
        assert isinstance(raw, psycopg.Connection)
        self._connection, self._raw = connection, raw
        for statement in SESSION:
            raw.execute(statement)
        return raw


class _WritingLine(_Line):
    """A line whose groups leave a mark, so that a commit whose answer was lost can be looked up."""

    def __init__(self, engine: Engine, closing: threading.Event, patience: float) -> None:
        super().__init__(engine, closing, patience)
        self._writer = uuid.uuid4()
        self._mark = 0

    def begin(self, raw: psycopg.Connection[Any]) -> datetime:
        """Open a group's transaction, in one round trip; returns the database's time once it is this group's turn."""
        self._mark += 1
        statement = sql.SQL(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({lock});"
            " INSERT INTO store_marks (writer, mark) VALUES ({writer}, {mark}) ON CONFLICT (writer)"
            " DO UPDATE SET mark = excluded.mark, changed_at = now();"
            " SAVEPOINT entry; SELECT clock_timestamp()"
        ).format(lock=WRITE_LOCK, writer=str(self._writer), mark=self._mark)
        cursor = raw.execute(statement, prepare=False)
        while cursor.nextset():
            pass
        told: datetime = _only(cursor)
        return told

    def was_committed(self, fault: BaseException) -> bool:
        """Whether the last group got through although its commit was not answered; CommitUncertain if nobody knows.

        The row lock waits for a commit that is still under way on the lost connection.
        """
        try:
            raw = self.raw()
            row = raw.execute("SELECT mark FROM store_marks WHERE writer = %s FOR UPDATE", [self._writer]).fetchone()
        except (ServiceUnavailableException, psycopg.Error) as problem:
            raise CommitUncertain(f"the connection was lost during a commit ({fault})") from problem
        return row is not None and row[0] == self._mark


class _TextDumper(StrDumper):
    """PostgreSQL's text cannot hold NUL, and what nodes print can: it becomes U+FFFD."""

    def dump(self, obj: str) -> Any:
        """The bytes to send."""
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


def _engine(url: str) -> Engine:
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool, use_native_hstore=False
    )
    event.listen(engine, "connect", _configure)
    return engine


def _configure(raw: Any, _: object) -> None:
    raw = getattr(raw, "driver_connection", raw)
    raw.prepared_max = 1000
    raw.adapters.register_dumper(str, _TextDumper)


def _asks_again(fault: BaseException) -> bool:
    cause = fault.orig if isinstance(fault, DBAPIError) else fault
    return isinstance(cause, psycopg.Error) and cause.sqlstate in AGAIN


def _only(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    assert row is not None
    return row[0]
