"""Client: signed calls over kept connections, as cheap for the caller as Python allows."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools
import orjson

from fleetward.protocol import sigv4
from fleetward.protocol.sigv4 import Credentials

CALL_SECONDS = 60.0


class Refused(Exception):
    """The server answered with an error."""


class Connection(asyncio.Protocol):
    """One kept connection; answers come in the order of the requests, several may be on their way."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: list[asyncio.Future[tuple[int, bytes]]] = []
        self._body: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._next = 0
        self.idle = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Bytes of answers."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits hears that there is no answer."""
        for future in self._waiting[self._next :]:
            if not future.done():
                future.set_exception(ConnectionError("the connection was closed"))

    def on_body(self, body: bytes) -> None:
        """A piece of an answer's body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """An answer is complete."""
        future = self._waiting[self._next]
        self._next += 1
        if not future.done():
            future.set_result((self._parser.get_status_code(), b"".join(self._body)))
        self._body.clear()
        if self._next == len(self._waiting):
            self._waiting.clear()
            self._next = 0

    def request(self, message: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Send one request; its status and body."""
        assert self._transport is not None
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._transport.write(message)
        return future

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()


class Api:
    """Signed JSON calls to one server over one kept connection."""

    def __init__(self, url: str, credentials: Credentials, ca: Path | None) -> None:
        self.url = urlsplit(url)
        self.credentials = credentials
        self._ca = ca
        self._connection: Connection | None = None

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    async def connect(self, local_address: str | None = None) -> Connection:
        """A new connection of its own."""
        context = ssl.create_default_context(cafile=str(self._ca)) if self.url.scheme == "https" else None
        options: dict[str, Any] = {"local_addr": (local_address, 0)} if local_address else {}
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, self.url.hostname, self.url.port, ssl=context, **options
        )
        return connection

    async def call(self, operation: str, request: Mapping[str, Any], *, service: str = "ssm") -> dict[str, Any]:
        """The result of an operation; Refused for any error."""
        if self._connection is None:
            self._connection = await self.connect()
        message = self.message(operation, request, service=service)
        try:
            status, body = await asyncio.wait_for(self._connection.request(message), CALL_SECONDS)
        except (ConnectionError, TimeoutError):
            self._connection = None
            raise
        if status != 200:
            raise Refused(f"{operation}: {status} {body[:300].decode(errors='replace')}")
        answer: dict[str, Any] = orjson.loads(body)
        return answer

    def message(self, operation: str, request: Mapping[str, Any], *, service: str = "ssm") -> bytes:
        """The bytes of a signed request."""
        return signed(self.url.netloc, self.credentials, operation, orjson.dumps(request), service)


def signed(authority: str, credentials: Credentials, operation: str, body: bytes, service: str = "ssm") -> bytes:
    """The bytes of a signed JSON call."""
    headers = {
        "Host": authority,
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"AmazonSSM.{operation}",
    }
    headers |= sigv4.sign_headers(
        credentials,
        method="POST",
        url_path="/",
        headers=headers,
        body=body,
        region="us-east-1",
        service=service,
        now=datetime.now(UTC),
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def rate(connections: Sequence[Connection], messages: Sequence[bytes], *, ahead: int = 1) -> float:
    """Answers per second when each message is sent once, spread over the connections, `ahead` on their way on each.

    Every answer must be a 200.
    """
    source = iter(messages)

    async def drive(connection: Connection) -> None:
        on_way: list[asyncio.Future[tuple[int, bytes]]] = []
        for message in source:
            on_way.append(connection.request(message))
            if len(on_way) >= ahead:
                await _ok(on_way.pop(0))
        for future in on_way:
            await _ok(future)

    started = time.perf_counter()
    await asyncio.gather(*(drive(connection) for connection in connections))
    return len(messages) / (time.perf_counter() - started)


async def _ok(future: asyncio.Future[tuple[int, bytes]]) -> None:
    status, body = await asyncio.wait_for(future, CALL_SECONDS)
    if status != 200:
        raise Refused(f"{status} {body[:300].decode(errors='replace')}")
