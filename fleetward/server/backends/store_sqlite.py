"""SQLite as store: one writer thread with group commit, a few readers.

The writer takes all units that wait, runs each batch of equal bodies in one savepoint, commits once and only then
tells each caller. So a commit's cost is shared by everything that arrived during the commit before it.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from fleetward.server.backends import entry_time
from fleetward.server.ports import Outcome, Unit

GROUP_LIMIT = 512
READS_TOGETHER = 8
LOCKED_SECONDS = 30
"""How long another program may hold the file before it counts as locked."""
BUSY_PAUSE = 0.02
Deliver = Callable[[Sequence[tuple[Callable[[Outcome], None], Outcome]]], None]


def call_each(finished: Sequence[tuple[Callable[[Outcome], None], Outcome]]) -> None:
    """Tell every caller in the present thread."""
    for done, outcome in finished:
        done(outcome)


class SqliteStore:
    """Store in one SQLite file.

    `deliver` gets the outcomes of a whole group commit at once, in the writer's thread. With `threads=False` units
    run in the calling thread as they come: the simulation's way.
    """

    dialect = "sqlite"

    def __init__(
        self,
        file: Path | str,
        *,
        readers: int = 2,
        threads: bool = True,
        slow_entry_fails: bool = False,
        durable: bool = True,
    ) -> None:
        self.deliver: Deliver = call_each
        self._file = str(file)
        self._slow_entry_fails = slow_entry_fails
        self._durable = durable
        self._writer = self._connect()
        if slow_entry_fails:
            entry_time.watch(self.engine)
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._readers: list[Connection] = []
        self._writes: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._threaded = threads
        if threads:
            self._start(readers)

    @property
    def engine(self) -> Engine:
        """The writer's engine, for migrations before anything else runs."""
        return self._writer.engine

    def write(self, unit: Unit) -> None:
        """Queue `unit` for the next group commit."""
        if self._threaded:
            self._writes.put(unit)
        else:
            self.deliver(self._commit([unit]))

    def read(self, unit: Unit) -> None:
        """Queue `unit` for a reading connection."""
        if self._threaded:
            self._reads.put(unit)
        else:
            self.deliver(_read(self._writer, [unit]))

    def close(self) -> None:
        """Finish what is queued, then close."""
        if self._closed:
            return
        self._closed = True
        self._writes.put(None)
        for _ in self._readers:
            self._reads.put(None)
        for thread in self._threads:
            thread.join()
        for connection in (*self._readers, self._writer):
            connection.close()
            connection.engine.dispose()

    def _connect(self) -> Connection:
        engine = create_engine(
            f"sqlite:///{self._file}",
            poolclass=StaticPool,
            hide_parameters=True,
            connect_args={"check_same_thread": False, "cached_statements": 512, "timeout": LOCKED_SECONDS},
        )
        event.listen(engine, "connect", _configure)
        if not self._durable:
            event.listen(engine, "connect", _leave_to_the_system)
        return engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def _start(self, readers: int) -> None:
        self._threads.append(threading.Thread(target=self._write_loop, name="store-writer", daemon=True))
        for number in range(readers):
            connection = self._connect()
            self._readers.append(connection)
            self._threads.append(
                threading.Thread(target=self._read_loop, args=(connection,), name=f"store-reader-{number}", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def _write_loop(self) -> None:
        while (unit := self._writes.get()) is not None:
            group, last = [unit], False
            while len(group) < GROUP_LIMIT * 8:
                try:
                    following = self._writes.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    last = True
                    break
                group.append(following)
            self.deliver(self._commit(group))
            if last:
                return

    def _read_loop(self, connection: Connection) -> None:
        while (unit := self._reads.get()) is not None:
            group = [unit]
            while len(group) < READS_TOGETHER:  # waking the loop costs more than a small read
                try:
                    following = self._reads.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    self._reads.put(None)
                    break
                group.append(following)
            self.deliver(_read(connection, group))

    def _commit(self, group: Sequence[Unit]) -> list[tuple[Callable[[Outcome], None], Outcome]]:
        raw = driver(self._writer)
        finished: list[tuple[Callable[[Outcome], None], Outcome]] = []
        try:
            raw.execute("BEGIN IMMEDIATE")
            for batch in batches(group):
                outcomes = self._run(raw, batch)
                finished += zip((unit.done for unit in batch), outcomes, strict=True)
            raw.execute("COMMIT")
        except BaseException as fault:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            return [(unit.done, fault) for unit in group]
        return finished

    def _run(self, raw: sqlite3.Connection, batch: Sequence[Unit]) -> Sequence[Outcome]:
        raw.execute("SAVEPOINT entry")
        started = entry_time.now()
        try:
            outcomes = batch[0].body(self._writer, [unit.argument for unit in batch])
            if self._slow_entry_fails:
                entry_time.judge(started, batch[0].body, len(batch))
        except Exception as fault:
            raw.execute("ROLLBACK TO entry")
            raw.execute("RELEASE entry")
            if len(batch) == 1 or isinstance(fault, entry_time.SlowEntry):
                return [fault] * len(batch)
            return [self._run(raw, [unit])[0] for unit in batch]
        raw.execute("RELEASE entry")
        return outcomes


def batches(group: Sequence[Unit]) -> list[list[Unit]]:
    """Units of one body side by side, as many as may run together; first come, first served between bodies."""
    gathered: list[list[Unit]] = []
    open_batches: dict[int, list[Unit]] = {}
    for unit in group:
        batch = open_batches.get(id(unit.body)) if unit.together > 1 else None
        if batch is None or len(batch) >= unit.together:
            batch = []
            gathered.append(batch)
            if unit.together > 1:
                open_batches[id(unit.body)] = batch
        batch.append(unit)
    return gathered


def driver(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, for savepoints (SQLAlchemy's cost ten times as much)."""
    raw: Any = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _read(connection: Connection, group: Sequence[Unit]) -> list[tuple[Callable[[Outcome], None], Outcome]]:
    """Run reads on one snapshot, taken after the last was asked for: each sees all that was committed before it."""
    raw = driver(connection)
    raw.execute("BEGIN")
    try:
        return [(unit.done, _outcome(connection, unit)) for unit in group]
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")


def _outcome(connection: Connection, unit: Unit) -> Outcome:
    try:
        return unit.body(connection, [unit.argument])[0]
    except Exception as fault:
        return fault


def _leave_to_the_system(raw: sqlite3.Connection, _: object) -> None:
    """A commit does not wait for the disk: a killed process loses nothing, a power cut may lose all."""
    raw.execute("PRAGMA synchronous=OFF")


def _configure(raw: sqlite3.Connection, _: object) -> None:
    raw.isolation_level = None
    _write_ahead(raw)
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={LOCKED_SECONDS * 1000}",
        "cache_size=-65536",
        "mmap_size=268435456",
        "wal_autocheckpoint=4000",
        "temp_store=MEMORY",
        "case_sensitive_like=ON",  # as PostgreSQL does, and so that a prefix is looked up by index
    ):
        raw.execute(f"PRAGMA {pragma}")


def _write_ahead(raw: sqlite3.Connection) -> None:
    """Log ahead. Who opens a file first changes it to that, which SQLite refuses at once to two who do so together."""
    until = time.monotonic() + LOCKED_SECONDS
    while True:
        try:
            raw.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(BUSY_PAUSE)
