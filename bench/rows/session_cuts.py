"""Session cuts: two hundred cuts in one tunnel that carries a stream both ways; what comes back is compared by hash.

Client and node each reach the server through a proxy of their own (`bench.cutter`). A cut is a reset, a connection that
neither side sees to be dead, a restart of the server (every second one by kill -9), a new server certificate taken up
by SIGHUP before a reset, or new keys of the client before a reset; the node's own keys live for 150 s all the while.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from bench import sts
from bench.admission import admit
from bench.agents import agents
from bench.cutter import Cutter, cutting
from bench.figures import Figure, Size, at_least, at_most, shown
from bench.processes import Server, folder
from fleetward import client
from fleetward.protocol.sigv4 import Credentials

PIECE = 16 * 1024
PIECE_SECONDS = 0.01
GOES_ON_SECONDS = 90.0
BETWEEN_SECONDS = 0.2
KEYS_OF_NODES_SECONDS = "150"


async def measure(size: Size) -> list[Figure]:
    """Bytes lost, cuts survived, the longest pause."""
    with folder() as scratch:
        admit(scratch / "data", 1)
        server = Server(scratch / "data")
        async with cutting(server.port) as of_client, cutting(server.port) as of_node:
            url = f"https://127.0.0.1:{of_client.port}"
            server.set(FLEETWARD_PUBLIC_URL=url, FLEETWARD_NODE_TOKEN_LIFETIME=KEYS_OF_NODES_SECONDS)
            await server.start()
            try:
                cuts = Cuts(server, of_client, of_node, server.root)
                async with agents(server, scratch, 1, endpoint=f"https://127.0.0.1:{of_node.port}") as (ids, _):
                    return await _through(cuts, ids[0], url, size)
            finally:
                await server.stop()


async def _through(cuts: Cuts, node_id: str, url: str, size: Size) -> list[Figure]:
    with echoing() as far:
        fleet = client.connect(url, lambda: cuts.keys, region="us-east-1", ca=cuts.server.ca)
        async with fleet, fleet.tunnel(node_id, far) as address:
            stream = Stream(socket.create_connection(address, 30))
            survived = 0
            slowest: dict[str, float] = {}
            for cut in cuts.plan(size):
                started = time.monotonic()
                await cut()
                survived += await stream.goes_on()
                kind = cut.__name__.replace("_", " ")
                slowest[kind] = max(slowest.get(kind, 0.0), time.monotonic() - started)
                await asyncio.sleep(BETWEEN_SECONDS)
            lost = await asyncio.to_thread(stream.end)
    return [
        at_least("cuts in one tunnel that it survived", survived, len(cuts.plan(size)), "", cuts.named(size)),
        at_most("bytes lost of what went through both ways", lost, 0, "", f"of {stream.sent / 1e6:.0f} MB"),
        shown("the longest pause", stream.longest_pause, " s", ", ".join(f"{k} {v:.1f}" for k, v in slowest.items())),
    ]


@dataclass
class Cuts:
    """The ways to cut."""

    server: Server
    of_client: Cutter
    of_node: Cutter
    keys: Credentials
    _restarts: int = 0

    def plan(self, size: Size) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """All of them, in turn."""
        counts = self._counts(size)
        most = max(counts.values())
        return [
            getattr(self, name)
            for turn in range(most)
            for name, count in counts.items()
            if turn * count // most != (turn + 1) * count // most
        ]

    def named(self, size: Size) -> str:
        """How many of each."""
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self._counts(size).items() if count)

    def _counts(self, size: Size) -> dict[str, int]:
        return {
            "resets_of_client": size.of(80, 2),
            "resets_of_node": size.of(80, 2),
            "silences_of_client": size.of(8, 0),
            "silences_of_node": size.of(4, 0),
            "restarts": size.of(10, 1),
            "certificates": size.of(9, 1),
            "credentials": size.of(9, 1),
        }

    async def resets_of_client(self) -> None:
        """RST on the client's side."""
        self.of_client.reset()

    async def resets_of_node(self) -> None:
        """RST on the node's side: its control channel as well."""
        self.of_node.reset()

    async def silences_of_client(self) -> None:
        """The client's connections are half-open."""
        self.of_client.silence()

    async def silences_of_node(self) -> None:
        """The node's connections are half-open."""
        self.of_node.silence()

    async def restarts(self) -> None:
        """Another server process on the same data."""
        self._restarts += 1
        await self.server.stop(signal.SIGKILL if self._restarts % 2 else signal.SIGTERM)
        await self.server.start()

    async def certificates(self) -> None:
        """A new certificate of the same CA, loaded live; then both sides have to see it."""
        (self.server.data / "tls" / "server.pem").unlink()
        self.server.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.5)
        self.of_client.reset()
        self.of_node.reset()

    async def credentials(self) -> None:
        """Other keys of the client; then it has to resume with them."""
        self.keys = await sts.renewed(self.server)
        self.of_client.reset()


class Stream:
    """Random bytes into a connection whose far end sends them back; counted and hashed both ways."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(GOES_ON_SECONDS)
        self._hashes = (hashlib.sha256(), hashlib.sha256())
        self._is_enough = threading.Event()
        self.sent = 0
        self._received = 0
        self._heard_at = time.monotonic()
        self.longest_pause = 0.0
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    async def goes_on(self) -> bool:
        """Wait until what is sent from now on comes back; whether it did in time."""
        mark = self.sent + PIECE
        until = time.monotonic() + GOES_ON_SECONDS
        while self._received < mark:
            if time.monotonic() > until:
                raise RuntimeError(f"nothing came for {GOES_ON_SECONDS} s after {self._received:,} bytes")
            await asyncio.sleep(0.01)
        return True

    def end(self) -> int:
        """Send no more, take the rest; how many bytes are missing (all, if one is another than was sent)."""
        self._is_enough.set()
        for thread in self._threads:
            thread.join(GOES_ON_SECONDS)
        self._connection.close()
        same = self._hashes[0].digest() == self._hashes[1].digest()
        return 0 if same else max(self.sent - self._received, 1)

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while not self._is_enough.wait(PIECE_SECONDS):
                piece = os.urandom(PIECE)
                self._connection.sendall(piece)
                self._hashes[0].update(piece)
                self.sent += PIECE
            self._connection.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._connection.recv(1 << 16):
                now = time.monotonic()
                self.longest_pause = max(self.longest_pause, now - self._heard_at)
                self._heard_at = now
                self._hashes[1].update(data)
                self._received += len(data)


@contextlib.contextmanager
def echoing() -> Iterator[int]:
    """A port that sends back what it gets."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
