"""Processes: the server, the virtual nodes and what they are compared with, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.client import Api
from fleetward.protocol.sigv4 import Credentials

UNTHROTTLED = {"FLEETWARD_REQUESTS_PER_PRINCIPAL": "1e9", "FLEETWARD_REQUESTS_PER_NODE": "1e9"}


@contextlib.contextmanager
def folder() -> Any:
    """A scratch folder on the disk (not on a memory file system: commits must cost what they cost)."""
    with tempfile.TemporaryDirectory(prefix="fleetward-bench-", ignore_cleanup_errors=True) as path:
        yield Path(path)


class Program:
    """A child process that is spoken to by lines."""

    def __init__(self, *arguments: str, log: Path, environment: dict[str, str] | None = None) -> None:
        self._arguments = arguments
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
                limit=1 << 22,
            )

    @property
    def process(self) -> psutil.Process:
        """The process as psutil sees it."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    async def line(self, seconds: float = 60.0) -> str:
        """The next line it prints."""
        assert self._process is not None
        assert self._process.stdout is not None
        raw = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        if not raw:
            raise RuntimeError(f"{self._arguments[:4]} ended: {self._log.read_text()[-2000:]}")
        return raw.decode().strip()

    async def ask(self, question: str, seconds: float = 60.0) -> Any:
        """Send a line; the JSON of the line it answers with."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(question.encode() + b"\n")
        return json.loads(await self.line(seconds))

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, if it lives."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Server:
    """`fleetward server` on a folder, at free ports that it keeps over restarts."""

    def __init__(self, data: Path, *, settings: dict[str, str] | None = None) -> None:
        self.data = data
        self.url = f"https://127.0.0.1:{free_port()}"
        self.http_url = f"http://127.0.0.1:{free_port()}"
        self._environment = {**UNTHROTTLED, **(settings or {})}
        self._program: Program | None = None

    @property
    def port(self) -> int:
        """Its TLS port."""
        return int(self.url.rpartition(":")[2])

    def set(self, **settings: str) -> None:
        """Settings from the next start on."""
        self._environment |= settings

    async def start(self) -> None:
        """Serve."""
        arguments = ["-m", "fleetward.cli", "server", "--data", str(self.data)]
        arguments += ["--listen", self.url.rpartition("/")[2], "--http", self.http_url.rpartition("/")[2]]
        log = self.data.parent / "server.log"
        self._program = Program(sys.executable, *arguments, log=log, environment=self._environment)
        await self._program.start()
        line = await self._program.line()
        if not line.startswith("ready "):
            raise RuntimeError(f"the server said {line!r}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self._program is not None:
            await self._program.end(number)

    @property
    def process(self) -> psutil.Process:
        """The process as psutil sees it."""
        assert self._program is not None
        return self._program.process

    @property
    def ca(self) -> Path:
        """Its CA's certificate."""
        return self.data / "tls" / "ca.pem"

    @property
    def root(self) -> Credentials:
        """The account's root."""
        known = json.loads((self.data / "root-credentials.json").read_text())
        return Credentials(known["access_key_id"], known["secret_access_key"])

    def api(self, credentials: Credentials | None = None) -> Api:
        """A client of its API over TLS."""
        return Api(self.url, credentials or self.root, self.ca)


@contextlib.asynccontextmanager
async def serving(data: Path, **settings: str) -> AsyncIterator[Server]:
    """A server for the block."""
    server = Server(data, settings=settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Nodes:
    """Virtual nodes in a process of their own (`bench.nodes`)."""

    def __init__(self, program: Program) -> None:
        self.program = program

    async def stats(self) -> dict[str, int]:
        """connected, jobs, repeated, finished, failures."""
        answer: dict[str, int] = await self.program.ask("stats")
        return answer

    async def until_connected(self, number: int, seconds: float) -> float:
        """Wait until so many are connected; how long that took. RuntimeError when it takes longer than `seconds`."""
        started = time.perf_counter()
        while True:
            stats = await self.stats()
            if stats["connected"] >= number:
                return time.perf_counter() - started
            if time.perf_counter() - started > seconds:
                raise RuntimeError(f"only {stats} of {number} nodes are connected after {seconds} s")
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def virtual_nodes(
    server: Server,
    identities: Sequence[Sequence[str]],
    *,
    plain: bool = False,
    mint: bool = True,
    heartbeats: bool = False,
) -> AsyncIterator[Nodes]:
    """These nodes (as `bench.admission` returns them), connecting to the server over TLS unless `plain`.

    With `mint` they make their channel tokens themselves; otherwise each asks the server, as real nodes do.
    """
    config = {
        "endpoint": server.http_url if plain else server.url,
        "ca": str(server.ca),
        "data": str(server.data),
        "mint": mint,
        "heartbeats": heartbeats,
        "nodes": [list(each) for each in identities],
    }
    file = server.data.parent / f"nodes-{time.monotonic_ns()}.json"
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    program = Program(sys.executable, "-m", "bench.nodes", str(file), log=server.data.parent / "nodes.log")
    await program.start()
    try:
        yield Nodes(program)
    finally:
        await program.end()


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
