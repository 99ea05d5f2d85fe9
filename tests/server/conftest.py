"""The `world` fixture: operations and entries run as in production, on a real store, with a clock that tests move."""

from __future__ import annotations

import queue
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fleetward.protocol.api import aws_json, validate
from fleetward.protocol.api.model import Operation, load_service
from fleetward.server import errors, jobs
from fleetward.server.backends.bus_local import LocalBus
from fleetward.server.backends.store_postgres import PostgresStore
from fleetward.server.backends.store_sqlite import SqliteStore
from fleetward.server.call import Call, Caller, Context, service_context
from fleetward.server.edge import outside
from fleetward.server.effects import Compute, ComputeApart, Outside
from fleetward.server.iam import evaluate, principals
from fleetward.server.keys import KeyRing
from fleetward.server.schema import metadata
from fleetward.server.service import Entry, Runner, Service, Wait
from fleetward.server.settings import Settings
from fleetward.server.ssm import ssm

ACCOUNT = "123456789012"
OTHER_ACCOUNT = "210987654321"
REGION = "us-east-1"
SHARED_ERRORS = frozenset(name for name, kind in vars(errors).items() if isinstance(kind, type))


class SettableClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self._now = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        """The present."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move on; returns the new present."""
        self._now += by
        return self._now


class World:
    """One server's core without its edge. Tests call operations by name, as a caller, and get results or exceptions.

    `wakes` collects the topics published so far. Requests are checked against the service model before they run
    (violations raise the service's fault), results and error names after.
    """

    account = ACCOUNT
    other_account = OTHER_ACCOUNT
    region = REGION

    def __init__(self, store: SqliteStore | PostgresStore, services: Sequence[Service], settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.clock = SettableClock()
        self.services = {service.name: service for service in services}
        self.wakes: list[str] = []
        bus = LocalBus()
        self.runner = Runner(
            store=store,
            bus=bus,
            clock=self.clock,
            keys=KeyRing({1: secrets.token_bytes(32)}),
            settings=settings,
            services=services,
        )
        store.deliver = self._deliver

    def call(
        self,
        operation: str,
        request: Mapping[str, Any] | None = None,
        caller: str | Context = "root",
        *,
        account: str = ACCOUNT,
        region: str = REGION,
    ) -> Any:
        """Run `CreateDocument` or, of a service other than ssm, `sts:GetCallerIdentity`; returns the result or raises.

        `caller` is "root", a node id `mi-…`, or a Context made by `as_node`, `as_role` or `as_root`.
        """
        service_name, _, name = operation.rpartition(":")
        model = load_service(service_name or "ssm").operation(name)
        given = dict(request or {})
        violations = validate.check(model.input, given) if model.input is not None else []
        service = self.services[service_name or "ssm"]
        if violations:
            raise service.fault(validate.faults_message(violations))
        entry = service.operations[name]
        try:
            result = self.submit(entry, self._context(caller, account, region), given)
        except errors.AwsError as fault:
            if fault.code not in model.errors | SHARED_ERRORS:
                raise AssertionError(f"the model does not let {name} raise {fault.code}") from fault
            raise
        if not isinstance(result, Wait):
            self._check(model, result)
        return result

    def entry(
        self, function: Callable[..., Any], *, context: Context | None = None, reads: bool = False
    ) -> Callable[..., Any]:
        """`function(call)` or `function(call, request)` as something that runs in one transaction, as the server."""
        entry = Entry(f"test {getattr(function, '__name__', 'entry')}", function, reads=reads, audit=False)

        def run(request: Any = None) -> Any:
            return self.submit(entry, context or service_context(ACCOUNT, REGION), request)

        return run

    def do(self, function: Callable[[Call], Any], *, context: Context | None = None) -> Any:
        """Run `function(call)` at once in one transaction and return what it returns."""
        return self.entry(function, context=context)()

    def work(self, owner: str, service: Service = ssm) -> None:
        """Run a service's jobs that are due, and those they start."""
        while leased := self.entry(jobs.lease)((owner, 100)):
            for job in leased:
                entry = service.jobs[job.kind]
                step = replace(entry, function=jobs.advance(entry.function))
                self.submit(step, service_context(job.account, job.region), (owner, job))

    def submit(self, entry: Entry, context: Context, request: Any) -> Any:
        """Run an entry on the store and return its output or raise its exception."""
        outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.runner.submit(entry, context, request, outcomes.put)
        outcome = outcomes.get(timeout=60)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, Outside) and all(isinstance(each, Compute | ComputeApart) for each in outcome.effects):
            computed = [outside.computed(effect.function, effect.arguments) for effect in outcome.effects]  # type: ignore[union-attr]
            return self.submit(entry, replace(context, outcomes=(*context.outcomes, *computed)), request)
        return outcome

    def as_root(self, account: str = ACCOUNT, region: str = REGION) -> Context:
        """The account's root, who may do everything in it."""
        caller = Caller(kind="root", arn=principals.root_arn(account), account=account, user_id=account)
        return Context(account=account, region=region, caller=caller, request_id="test")

    def as_node(self, node_id: str, account: str = ACCOUNT, region: str = REGION) -> Context:
        """A managed node with its temporary keys."""
        arn = principals.node_arn(account, region, node_id)
        caller = Caller(
            kind="node",
            arn=arn,
            account=account,
            policies=principals.node_policies(),
            node_id=node_id,
            context={"ssm:SourceInstanceARN": arn},
        )
        return Context(account=account, region=region, caller=caller, request_id="test")

    def as_role(self, *statements: Mapping[str, Any], account: str = ACCOUNT, region: str = REGION) -> Context:
        """A role whose one policy consists of `statements`."""
        policy = evaluate.compile_policy({"Version": "2012-10-17", "Statement": list(statements)}, name="test")
        caller = Caller(
            kind="role",
            arn=f"arn:aws:sts::{account}:assumed-role/Tester/test",
            account=account,
            user_id="AROATESTTESTTESTTEST:test",
            policies=evaluate.PolicySet(identity=(policy,), boundary=None, session=None),
        )
        return Context(account=account, region=region, caller=caller, request_id="test")

    def with_settings(self, **changes: Any) -> None:
        """Change settings from now on."""
        self.settings = self.runner.settings = replace(self.settings, **changes)

    def pages(
        self, operation: str, request: Mapping[str, Any], member: str, caller: str | Context = "root"
    ) -> list[list[Any]]:
        """All pages of a list operation: the values of `member`, page by page."""
        pages: list[list[Any]] = []
        token: dict[str, str] = {}
        while True:
            result = self.call(operation, {**request, **token}, caller)
            pages.append(list(result[member]))
            if not result.get("NextToken"):
                return pages
            token = {"NextToken": result["NextToken"]}
            assert len(pages) < 10_000, "paging does not end"

    def _context(self, caller: str | Context, account: str, region: str) -> Context:
        if isinstance(caller, Context):
            return caller
        return self.as_root(account, region) if caller == "root" else self.as_node(caller, account, region)

    def _check(self, model: Operation, result: Mapping[str, Any]) -> None:
        assert validate.check_result(model, result) == []
        aws_json.render_result(model, result)

    def _deliver(self, finished: Sequence[tuple[Callable[[Any], None], Any]]) -> None:
        for _, outcome in finished:
            self.wakes += getattr(outcome, "wakes", ())
        for done, outcome in self.runner.delivered(finished):
            done(outcome)


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on a memory file system where the machine has one, so that commits cost no disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="fleetward-", dir=memory))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _sqlite(folder: Path) -> SqliteStore:
    (folder / "t.db").write_bytes(_with_tables(frozenset(metadata.tables)))
    return SqliteStore(folder / "t.db", threads=False, slow_entry_fails=True)


@cache
def _with_tables(_names: frozenset[str]) -> bytes:
    """A database with these tables, which are all that were imported so far, and no rows."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "t.db", threads=False)
        metadata.create_all(store.engine)
        store.close()
        return (Path(folder) / "t.db").read_bytes()


def _postgres(url: str) -> PostgresStore:
    store = PostgresStore(url, writers=1, readers=1)
    metadata.create_all(store.engine)
    return store


@pytest.fixture
def world(memory_folder: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """The core with every capability that the test has imported, on SQLite with production's pragmas.

    On PostgreSQL, for a test that parametrizes `world` indirectly with "postgresql" and has the plugin tests.services.
    """
    on_postgres = getattr(request, "param", "sqlite") == "postgresql"
    store = _postgres(request.getfixturevalue("postgres_url")) if on_postgres else _sqlite(memory_folder)
    yield World(store, [ssm], Settings(data=memory_folder, account=ACCOUNT, region=(REGION,)))
    store.close()
