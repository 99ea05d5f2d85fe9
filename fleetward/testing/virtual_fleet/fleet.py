"""Virtual fleet: many virtual nodes that talk to one server."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from fleetward.testing.virtual_fleet.answers import SIMULATED, Answers
from fleetward.testing.virtual_fleet.identity import CALL_SECONDS, CallFault, NodeIdentity, is_loopback
from fleetward.testing.virtual_fleet.node import JOBS_REMEMBERED, VirtualNode

_FIRST_ADDRESS = int(ipaddress.IPv4Address("127.1.0.1"))


class VirtualFleet:
    """Virtual nodes that talk to one server. All methods run on the event loop that `start` was called on.

    `channel_token` replaces the call that asks for a channel's token (benches mint their own), `work_seconds` is how
    long a command takes, `output` what it prints; `heartbeats=False` leaves the periodic ones out. At most
    `openings_at_once` nodes open a channel or send a heartbeat at the same time.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        ca_file: Path | None = None,
        region: str = "us-east-1",
        output: str = SIMULATED,
        work_seconds: float = 0.0,
        heartbeats: bool = True,
        channel_token: Callable[[str], str] | None = None,
        openings_at_once: int = 200,
    ) -> None:
        parts = urlsplit(endpoint)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 443
        self.authority = parts.netloc
        self.region = region
        self.output = output
        self.work_seconds = work_seconds
        self.heartbeats = heartbeats
        self.channel_token = channel_token
        self.trust = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        self.tls = self.trust if parts.scheme == "https" else None
        self.channels_url = f"{'wss' if self.tls else 'ws'}://{parts.netloc}/v1/control-channel/"
        self.nodes: list[VirtualNode] = []
        self.connected = 0
        self.jobs = 0
        self.repeated_jobs = 0
        self.finished = 0
        """Final replies that the server has acknowledged."""
        self.failures = 0
        self.openings = asyncio.Semaphore(openings_at_once)
        self._answers: dict[str, Answers] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, identities: Iterable[NodeIdentity]) -> None:
        """Bring these nodes up; each keeps its channel open until `close`."""
        for identity in identities:
            address = ipaddress.IPv4Address(_FIRST_ADDRESS + len(self.nodes))
            node = VirtualNode(self, identity, str(address))
            self.nodes.append(node)
            self._tasks.append(asyncio.create_task(node.run()))
            if self.heartbeats:
                self._tasks.append(asyncio.create_task(node.keep_telling()))

    async def until(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Wait until `reached()`; whether that was so within `seconds`."""
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    async def close(self) -> None:
        """Disconnect every node."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for node in self.nodes:
            node.hang_up()
        self._tasks.clear()
        self.nodes.clear()

    def answers(self, command_id: str, content: str) -> Answers:
        """What every node says about one command; worked out once."""
        known = self._answers.get(command_id)
        if known is None:
            if len(self._answers) >= JOBS_REMEMBERED:
                self._answers.clear()
            known = self._answers[command_id] = Answers(content, self.output)
        return known

    async def call(
        self,
        address: str,
        target: str,
        request: dict[str, Any],
        sign: Callable[[dict[str, str], bytes], dict[str, str]],
        path: str = "/",
    ) -> bytes:
        """POST a call from `address` on a connection of its own; the body of a 2xx answer, else CallFault."""
        body = orjson.dumps(request)
        headers = {"Host": self.authority, "Content-Type": "application/json"}
        if target:
            headers |= {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        headers |= sign(headers, body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(CALL_SECONDS):
                status, answer = await self._exchange(address, head.encode() + body)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            raise CallFault(0, f"{type(error).__name__}: {error}") from error
        if status >= 300:
            raise CallFault(status, answer[:300].decode("utf-8", "replace"))
        return answer

    async def _exchange(self, address: str, message: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(
            self.host, self.port, ssl=self.tls, local_addr=(address, 0) if is_loopback(self.host) else None
        )
        try:
            writer.write(message)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("\r\ncontent-length:")[2].partition("\r\n")[0] or 0)
            return int(head.split(" ", 2)[1]), await reader.readexactly(length)
        finally:
            writer.close()
