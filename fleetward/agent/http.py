"""A small HTTP/1.1 client over asyncio streams: one request for each connection, bounded in time and size.

    connect (directly, or CONNECT through a proxy, then TLS) -> request -> status line, headers, body

The WebSocket uses `connect`, `write_head` and `read_head` too.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fleetward.agent.proxy import Proxy, ProxyFault, proxy_for

CONNECT_SECONDS = 15.0
LONGEST_LINE_BYTES = 16 * 1024
MOST_HEADERS = 100
LARGEST_ANSWER_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024


class HttpFault(Exception):
    """There was no usable answer: no connection, no trust, nothing in time, or not HTTP."""


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of an address that a request needs; `host_header` has the port only where it is not the usual one."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Url:
        """Read `https://HOST[:PORT]`; ValueError for anything else than http and https."""
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{text!r} is not an http(s) address")
        return cls(parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))

    @property
    def host_header(self) -> str:
        """What goes into `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers with names in lower case, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """An open connection; close it with `close`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: Proxy | None) -> None:
        self.reader = reader
        self.writer = writer
        self.proxy = proxy

    def close(self) -> None:
        """Drop the connection, at once."""
        transport = self.writer.transport
        if not transport.is_closing():
            transport.abort()

    async def write_head(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send a request line and headers."""
        for name, value in headers.items():
            if "\r" in value or "\n" in value:
                raise HttpFault(f"header {name} has a line break in it")
        lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()], "", ""]
        self.writer.write("\r\n".join(lines).encode("latin-1"))
        await self.writer.drain()

    async def read_head(self) -> tuple[int, dict[str, str]]:
        """Read a status line and headers; those of interim answers are passed over."""
        while True:
            status = _status(await self._line())
            headers: dict[str, str] = {}
            count = 0
            while line := await self._line():
                name, colon, value = line.partition(":")
                count += 1
                if not colon or count > MOST_HEADERS:
                    raise HttpFault("the answer's headers cannot be read")
                headers[name.strip().lower()] = value.strip()
            if status >= 200 or status == 101:
                return status, headers

    async def read_body(self, headers: Mapping[str, str], limit: int) -> AsyncIterator[bytes]:
        """The body in pieces, however it is framed; HttpFault beyond `limit` bytes."""
        pieces: AsyncIterator[bytes]
        if headers.get("transfer-encoding", "").lower() == "chunked":
            pieces = self._chunks()
        elif "content-length" in headers:
            if not headers["content-length"].isdigit():
                raise HttpFault("the answer's Content-Length is no number")
            pieces = self._counted(int(headers["content-length"]))
        else:
            pieces = self._rest()
        received = 0
        async for piece in pieces:
            received += len(piece)
            if received > limit:
                raise HttpFault(f"the answer is longer than {limit} bytes")
            yield piece

    async def _counted(self, left: int) -> AsyncIterator[bytes]:
        while left:
            piece = await self.reader.read(min(left, _PIECE_BYTES))
            if not piece:
                raise HttpFault("the answer ended early")
            left -= len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            try:
                size = int((await self._line()).partition(";")[0], 16)
            except ValueError:
                raise HttpFault("the answer's chunks cannot be read") from None
            if size < 0:
                raise HttpFault("the answer's chunks cannot be read")
            async for piece in self._counted(size):
                yield piece
            if not size:
                while await self._line():
                    pass
                return
            await self._line()

    async def _rest(self) -> AsyncIterator[bytes]:
        while piece := await self.reader.read(_PIECE_BYTES):
            yield piece

    async def _line(self) -> str:
        try:
            line = await self.reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            raise HttpFault("the connection was closed in the middle of an answer") from None
        except asyncio.LimitOverrunError:
            raise HttpFault("a line of the answer is too long") from None
        return line.decode("latin-1").rstrip("\r\n")


async def connect(url: Url, trust: ssl.SSLContext | None) -> Connection:
    """Open a connection to `url`, through the environment's proxy if it names one for it.

    HttpFault when that takes more than 15 seconds or does not work; `trust` is needed for https.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            proxy = proxy_for(url.scheme, url.host, url.port, os.environ)
            secure = trust if url.scheme == "https" else None
            if proxy is None:
                name = url.host if secure else None
                streams = await asyncio.open_connection(
                    url.host, url.port, limit=LONGEST_LINE_BYTES, ssl=secure, server_hostname=name
                )
                return Connection(*streams, None)
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port, limit=LONGEST_LINE_BYTES)
            connection = Connection(reader, writer, proxy)
            if secure is not None:
                await _tunnel(connection, url, proxy)
                await writer.start_tls(secure, server_hostname=url.host)
            return connection
    except BaseException as error:
        if writer is not None:
            writer.transport.abort()
        if isinstance(error, TimeoutError):
            raise HttpFault(f"no connection to {url.host_header} within {CONNECT_SECONDS:.0f} s") from error
        if isinstance(error, OSError | ssl.SSLError | ProxyFault | ValueError):
            raise HttpFault(f"no connection to {url.host_header}: {error}") from error
        raise


async def request(
    url: Url,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | Path = b"",
    *,
    trust: ssl.SSLContext | None,
    seconds: float = 30.0,
    limit: int = LARGEST_ANSWER_BYTES,
) -> Answer:
    """Send one request and read its whole answer; a Path as body is streamed from that file.

    `target` is the path with its query. HttpFault when there is no whole answer within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            connection = await connect(url, trust)
            try:
                return await _exchange(connection, url, method, target, headers, body, limit)
            finally:
                connection.close()
    except TimeoutError:
        raise HttpFault(f"no answer of {url.host_header} within {seconds:.0f} s") from None
    except (OSError, ssl.SSLError) as error:
        raise HttpFault(f"the connection to {url.host_header} broke: {error}") from error


async def _exchange(
    connection: Connection,
    url: Url,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | Path,
    limit: int,
) -> Answer:
    length = _length(body)
    sent = {**headers, "Content-Length": str(length), "Connection": "close"}
    if connection.proxy is not None and url.scheme == "http":
        target = f"http://{url.host_header}{target}"
        if connection.proxy.authorization:
            sent["Proxy-Authorization"] = connection.proxy.authorization
    await connection.write_head(method, target, sent)
    try:
        await _send_body(connection, body, length)
    except ConnectionError:
        pass  # a server may refuse a long body with an answer before it has read it
    status, answered = await connection.read_head()
    if method == "HEAD" or status in (204, 304):
        return Answer(status, answered, b"")
    pieces = [piece async for piece in connection.read_body(answered, limit)]
    return Answer(status, answered, b"".join(pieces))


def _length(body: bytes | Path) -> int:
    return len(body) if isinstance(body, bytes) else body.stat().st_size


async def _send_body(connection: Connection, body: bytes | Path, length: int) -> None:
    if isinstance(body, bytes):
        connection.writer.write(body)
        await connection.writer.drain()
        return
    with body.open("rb") as file:
        while length and (piece := file.read(min(length, _PIECE_BYTES))):
            length -= len(piece)
            connection.writer.write(piece)
            await connection.writer.drain()


async def _tunnel(connection: Connection, url: Url, proxy: Proxy) -> None:
    host = f"[{url.host}]" if ":" in url.host else url.host
    headers = {"Host": f"{host}:{url.port}"}
    if proxy.authorization:
        headers["Proxy-Authorization"] = proxy.authorization
    await connection.write_head("CONNECT", f"{host}:{url.port}", headers)
    status, _ = await connection.read_head()
    if status != 200:
        raise HttpFault(f"the proxy {proxy.host}:{proxy.port} refused the way to {url.host_header}: status {status}")


def _status(line: str) -> int:
    version, _, rest = line.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not code.isdigit() or len(code) != 3:
        raise HttpFault("the answer is not HTTP/1.1")
    return int(code)
