"""Two equal servers: processes of their own on one PostgreSQL and one NATS, with a node between them."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleetward.server import app, keys
from fleetward.server.certificates import prepare
from tests.identities import allow, new_user
from tests.services import Nats, Postgres
from tests.serving import ServerProcess, eventually

pytestmark = pytest.mark.slow

UNDER_WAY = ("Pending", "InProgress", "Delayed", "Cancelling")
LOG_TIMERS = """
CREATE TABLE timer_log (name text, number serial, taken_until bigint);
CREATE FUNCTION log_timer() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO timer_log (name, taken_until) VALUES (NEW.name, NEW.due_at); RETURN NEW; END $$;
CREATE TRIGGER log_timer AFTER INSERT OR UPDATE ON timer_leases FOR EACH ROW EXECUTE FUNCTION log_timer();
"""


class Forwarder:
    """A TCP port whose connections go to wherever `target` points when they are made."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._ends: list[socket.socket] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Cut the connections that go through it; how many ends they had."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(ends)

    def swallow(self) -> None:
        """Connections that are there stay, and nothing comes through them any more."""
        self._flowing.clear()
        self._flowing = threading.Event()
        self._flowing.set()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._ends += (near, far)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink, self._flowing), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, flowing: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            flowing.wait()
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Pair:
    """Servers `a` and `b`, and a node whose agent reaches one of them through `forwarder`."""

    def __init__(self, folder: Path, postgres: Postgres, database: str, nats: Nats, **settings: Any) -> None:
        self.folder = folder
        self._postgres = postgres
        self._database = database
        ring = folder / "ring" / "keys.json"
        keys.load_ring(ring.parent)
        prepare(folder / "tls", ["127.0.0.1", "localhost", "::1"], ["us-east-1"], app.SystemClock().now())
        options = {
            "database": postgres.url(database),
            "bus": f"nats://{nats.address}?prefix={database}",
            "keys": ring,
            "requests_per_principal": 10_000,
            **settings,
        }
        self.a, self.b = (self._server(name, options) for name in "ab")
        self._threads = ThreadPoolExecutor(2)  # kept: a server ends with the thread that started it
        list(self._threads.map(ServerProcess.start, (self.a, self.b)))
        self._share_root()
        self.forwarder = Forwarder(self.a.port)
        self.state = folder / "node"
        self.node_id = ""
        self._agent: subprocess.Popen[bytes] | None = None

    def _server(self, name: str, options: dict[str, Any]) -> ServerProcess:
        shutil.copytree(self.folder / "tls", self.folder / name / "data" / "tls")
        return ServerProcess(self.folder / name, **options)

    def _share_root(self) -> None:
        """Whichever server was first has written root's key; the other's clients use the same."""
        written = [s.data / "root-credentials.json" for s in (self.a, self.b)]
        (first,) = [file for file in written if file.exists()]
        (other,) = [file for file in written if not file.exists()]
        shutil.copy(first, other)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the shared database."""
        with self._postgres.connect(self._database) as connection:
            return list(connection.execute(statement.encode()))

    def execute(self, statements: str) -> None:
        """Change the shared database."""
        with self._postgres.connect(self._database) as connection:
            connection.execute(statements.encode())

    def start_node(self) -> None:
        """Join a node and start its agent, connected to `a`."""
        activation_id, code = self.a.activation()
        endpoint = f"https://127.0.0.1:{self.forwarder.port}"
        join = ["join", "--endpoint", endpoint, "--ca", str(self.a.ca), "--state", str(self.state)]
        join += ["--activation-id", activation_id, "--activation-code", code]
        done = subprocess.run(
            [sys.executable, "-m", "fleetward.cli", *join], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        self.node_id = done.stdout.strip()
        guard = [setpriv, "--pdeathsig", "KILL"] if (setpriv := shutil.which("setpriv")) else []
        with (self.folder / "agent.log").open("wb") as log:
            self._agent = subprocess.Popen(
                [*guard, sys.executable, "-m", "fleetward.agent", "--state", str(self.state)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(lambda: self.presence(), 15)

    def presence(self) -> tuple[str, int] | None:
        """Which server holds the node's connection, and under which epoch."""
        rows = self.query("SELECT server_id, epoch FROM presence_connections WHERE server_id IS NOT NULL")
        return (rows[0][0], rows[0][1]) if rows else None

    def send(self, server: ServerProcess, *lines: str) -> str:
        """SendCommand to the node through `server`; the command's id."""
        sent = server.client().send_command(
            InstanceIds=[self.node_id], DocumentName="AWS-RunShellScript", Parameters={"commands": list(lines)}
        )
        command_id: str = sent["Command"]["CommandId"]
        return command_id

    def result(self, server: ServerProcess, command_id: str, within: float = 15.0) -> dict[str, Any]:
        """The ended invocation as `server` tells it."""
        ssm = server.client()

        def ended() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = ssm.get_command_invocation(CommandId=command_id, InstanceId=self.node_id)
            except ssm.exceptions.InvocationDoesNotExist:
                return None
            return None if found["Status"] in UNDER_WAY else found

        try:
            told: dict[str, Any] = eventually(ended, within)
        except BaseException:
            for log in ("agent.log", "a/log", "b/log"):
                sys.stderr.write(f"{log}:\n{(self.folder / log).read_text()[-3000:]}\n")
            for table in ("jobs", "mailbox_messages", "presence_connections", "presence_servers"):
                sys.stderr.write(f"{table}: {self.query(f'SELECT * FROM {table}')}\n")
            raise
        return told

    def stop(self) -> None:
        """End everything."""
        if self._agent is not None and self._agent.poll() is None:
            os.killpg(self._agent.pid, signal.SIGKILL)
            self._agent.wait(10)
        self.forwarder.close()
        for server in (self.a, self.b):
            server.kill()
        self._threads.shutdown()


@pytest.fixture
def pair(postgres_server: Postgres, nats_server: Nats) -> Iterator[Pair]:
    """Two servers and a node of theirs."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fleetward-two-", dir=memory if memory.is_dir() else None))
    database = postgres_server.new_database()
    made = Pair(folder, postgres_server, database, nats_server)
    try:
        made.start_node()
        yield made
    finally:
        made.stop()
        postgres_server.drop_database(database)
        shutil.rmtree(folder, ignore_errors=True)


def _distances(rows: Sequence[tuple[Any, ...]]) -> dict[str, list[int]]:
    """Microseconds between one run of each timer and the next."""
    taken: dict[str, list[int]] = {}
    for name, until in rows:
        taken.setdefault(name, []).append(until)
    return {name: [later - before for before, later in itertools.pairwise(times)] for name, times in taken.items()}


def test_a_command_given_to_one_server_is_run_by_a_node_of_the_other(pair: Pair) -> None:
    pair.execute(LOG_TIMERS)
    started = time.monotonic()

    # They started together on an empty database: one of them made its tables, one root's key.
    assert len(pair.query("SELECT 1 FROM presence_servers")) == 2
    assert pair.query("SELECT count(*) FROM alembic_version") == [(1,)]
    assert pair.query("SELECT count(*) FROM iam_access_keys") == [(1,)]
    for server in (pair.a, pair.b):
        assert server.client("sts").get_caller_identity()["Arn"].endswith(":root")

    command_id = pair.send(pair.b, "echo from the other side")
    told = [pair.result(server, command_id) for server in (pair.b, pair.a)]
    for each in told:
        assert each["Status"] == "Success"
        assert each["StandardOutputContent"] == "from the other side\n"
    assert told[0]["ExecutionEndDateTime"] == told[1]["ExecutionEndDateTime"]
    for server in (pair.a, pair.b):
        assert server.client().get_connection_status(Target=pair.node_id)["Status"] == "connected"

    # A cancel crosses the servers as well.
    long = pair.send(pair.b, "sleep 60")
    eventually(lambda: _status(pair.a, long) == "InProgress")
    pair.b.client().cancel_command(CommandId=long)
    assert pair.result(pair.a, long)["Status"] == "Cancelled"

    # Both servers' clocks are the database's, so a timer is started by one of them at its time.
    every = {timer.name: timer.every.total_seconds() * 1e6 for timer in app.TIMERS}
    eventually(lambda: len(pair.query("SELECT 1 FROM timer_log WHERE name = 'audit.seal'")) >= 3, 15)
    rows = pair.query("SELECT name, taken_until FROM timer_log ORDER BY number")
    for name, distances in _distances(rows).items():
        assert all(distance >= every.get(name, 0) for distance in distances), (name, distances)
    seals = sum(1 for row in rows if row[0] == "audit.seal")
    assert seals <= (time.monotonic() - started) / (every["audit.seal"] / 1e6) + 1
    sealed = sorted(row[0] for row in pair.query("SELECT sequence FROM audit_records WHERE sequence IS NOT NULL"))
    assert sealed
    assert sealed == list(range(sealed[0], sealed[0] + len(sealed)))


def _status(server: ServerProcess, command_id: str) -> str:
    listed = server.client().list_command_invocations(CommandId=command_id)["CommandInvocations"]
    return str(listed[0]["Status"]) if listed else ""


def test_kill_of_the_server_that_holds_the_node_loses_no_command_and_repeats_none(pair: Pair) -> None:
    before = pair.presence()
    assert before is not None
    runs, go = pair.folder / "runs", pair.folder / "go"
    command_id = pair.send(
        pair.a, f"echo run >> {runs}", f"while [ ! -e {go} ]; do sleep 0.05; done", "echo through it all"
    )
    eventually(runs.exists)
    waiting = pair.send(pair.a, f"echo second >> {runs}")

    pair.forwarder.target = pair.b.port
    pair.a.kill()
    go.touch()

    told = pair.result(pair.b, command_id, 25)
    assert (told["Status"], told["StandardOutputContent"]) == ("Success", "through it all\n")
    assert pair.result(pair.b, waiting, 25)["Status"] == "Success"
    after = pair.presence()
    assert after is not None
    assert after[0] != before[0]
    assert after[1] > before[1]
    assert pair.b.client().get_connection_status(Target=pair.node_id)["Status"] == "connected"
    assert sorted(runs.read_text().split()) == ["run", "second"]
    (command,) = pair.b.client().list_commands(CommandId=command_id)["Commands"]
    assert (command["Status"], command["TargetCount"], command["CompletedCount"]) == ("Success", 1, 1)

    # The server that was killed comes back to the same fleet.
    pair.a.start()
    third = pair.send(pair.a, f"echo third >> {runs}")
    assert pair.result(pair.a, third)["Status"] == "Success"
    assert sorted(runs.read_text().split()) == ["run", "second", "third"]


def test_without_the_bus_commands_still_arrive_by_polling(pair: Pair, nats_server: Nats) -> None:
    nats_server.kill()
    try:
        command_id = pair.send(pair.b, "echo without the bus")
        told = pair.result(pair.b, command_id, 10)
        assert (told["Status"], told["StandardOutputContent"]) == ("Success", "without the bus\n")
        assert pair.result(pair.a, command_id)["Status"] == "Success"
        for server in (pair.a, pair.b):
            assert server.raw("GET", "/readyz").status == 200
    finally:
        nats_server.start()
    command_id = pair.send(pair.b, "echo with it again")
    assert pair.result(pair.a, command_id)["Status"] == "Success"


def test_a_key_deleted_on_one_server_ends_on_the_other_within_a_second_also_when_no_wake_comes(
    pair: Pair, nats_server: Nats
) -> None:
    """Policies, boundaries and keys count everywhere at once by the wake, and within a second without one."""
    name, keys = new_user(pair.a, allow("ssm:ListNodes"))
    iam = pair.a.client("iam")

    def code() -> str:
        return pair.b.call("ListNodes", {}, keys).code

    assert code() == ""
    iam.put_user_permissions_boundary(UserName=name, PermissionsBoundary="arn:aws:iam::aws:policy/AmazonS3FullAccess")
    eventually(lambda: code() == "AccessDeniedException", within=1.0)
    iam.delete_user_permissions_boundary(UserName=name)
    eventually(lambda: code() == "", within=1.0)
    nats_server.kill()
    try:
        iam.delete_access_key(UserName=name, AccessKeyId=keys.access_key_id)
        eventually(lambda: code() == "UnrecognizedClientException", within=1.2)
    finally:
        nats_server.start()
