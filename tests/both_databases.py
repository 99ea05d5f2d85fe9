"""The fixture `core`: functions of the core as entries on SQLite and on PostgreSQL, on a clock that tests move."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetward.server import jobs, mailbox, presence  # noqa: F401  (their tables)
from fleetward.server.backends.bus_local import LocalBus
from fleetward.server.backends.store_postgres import PostgresStore
from fleetward.server.backends.store_sqlite import SqliteStore
from fleetward.server.call import Call, service_context
from fleetward.server.keys import KeyRing
from fleetward.server.schema import metadata
from fleetward.server.service import BATCH, Entry, Runner, Service
from fleetward.server.settings import Settings

ACCOUNT, REGION = "123456789012", "us-east-1"


class Core:
    """Runs functions in transactions as the server does; collects the wakes and events they cause."""

    def __init__(self, store: SqliteStore | PostgresStore) -> None:
        self.time = datetime(2030, 1, 1, 12, tzinfo=UTC)
        self.wakes: list[str] = []
        self.events: list[Any] = []
        service = Service("core")
        for event in (mailbox.GivenUp, mailbox.Refused):
            service.reaction(event)(lambda _, event: self.events.append(event))
        self.runner = Runner(
            store=store,
            bus=LocalBus(),
            clock=self,
            keys=KeyRing({1: secrets.token_bytes(32)}),
            settings=Settings(),
            services=[service],
        )
        self.runner.bus.publish = self.wakes.extend  # type: ignore[method-assign]  # the bus itself is not the subject
        store.deliver = self._deliver

    def now(self) -> datetime:
        """The present."""
        return self.time

    def advance(self, **units: float) -> None:
        """Move the clock."""
        self.time += timedelta(**units)

    def submit(self, entry: Entry, request: Any, *, account: str = ACCOUNT, region: str = REGION) -> Future[Any]:
        """An entry's output to come."""
        future: Future[Any] = Future()

        def done(outcome: Any) -> None:
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.runner.submit(entry, service_context(account, region), request, done)
        return future

    def do(self, function: Callable[[Call], Any], **tenant: str) -> Any:
        """Run `function(call)` in one transaction."""
        return self.submit(Entry("test", lambda call, _: function(call)), True, **tenant).result(30)

    def read(self, function: Callable[[Call], Any], **tenant: str) -> Any:
        """Run `function(call)`, which only reads, as such: it does not hold the writer."""
        return self.submit(Entry("test", lambda call, _: function(call), reads=True), True, **tenant).result(30)

    def run(self, function: Callable[[Call, Any], Any], request: Any, **tenant: str) -> Any:
        """Run an entry `(call, request)`."""
        return self.submit(Entry("test", function), request, **tenant).result(30)

    def batch(
        self, function: Callable[[Call, Any], Any], requests: Sequence[Any], together: int = BATCH, **tenant: str
    ) -> list[Any]:
        """Run a batch entry with `requests` that arrive one after the other; outputs in their order."""
        entry = Entry("test", function, together=together)
        return [future.result(30) for future in [self.submit(entry, request, **tenant) for request in requests]]

    def _deliver(self, finished: Sequence[Any]) -> None:
        for done, outcome in self.runner.delivered(finished):
            done(outcome)


@pytest.fixture(params=["sqlite", "postgresql"])
def core(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Core]:
    """A core on a fresh store."""
    if request.param == "sqlite":
        store: SqliteStore | PostgresStore = SqliteStore(tmp_path / "store.db", slow_entry_fails=True)
    else:
        store = PostgresStore(request.getfixturevalue("postgres_url"))
    with store.engine.begin() as connection:
        metadata.create_all(connection)
    yield Core(store)
    store.close()
