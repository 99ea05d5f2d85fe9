"""HTTP: the port. Builds exchanges from ASGI requests, serves the few paths that are not API calls, runs uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import secrets
import socket
import ssl
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from fleetward.server.edge.connection import Connection, Limits, Upgrade
from fleetward.server.edge.memory import Memory
from fleetward.server.edge.pipeline import Exchange, Pipeline, Response
from fleetward.server.edge.proxied import Client, ProxiedPort
from fleetward.server.edge.s3.addressing import Addressing
from fleetward.server.edge.s3.requests import Storage
from fleetward.server.errors import RequestEntityTooLargeException, SerializationException
from fleetward.server.settings import Settings, SettingsFault

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Page = Callable[[Exchange], Awaitable[Response]]

SENT_AT_ONCE = 256 * 1024
PEOPLE = "/console/"
TEXT = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))


class App:
    """The ASGI application: host check, fixed paths, then the pipeline."""

    def __init__(
        self, pipeline: Pipeline, settings: Settings, pages: dict[str, Page], prefixes: dict[str, Page]
    ) -> None:
        self._pipeline = pipeline
        self._pages = pages
        self._prefixes = prefixes
        self._names = frozenset(name.lower() for name in server_names(settings))
        self._idle = settings.body_timeout
        self.storage: Storage | None = None
        self.addressing = Addressing(server_names(settings), lambda: pipeline.regions)
        self._proxies = [ipaddress.ip_network(network) for network in settings.trusted_proxy]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = self.exchange(scope, receive)
        response = await self.answer(exchange)
        if response.stream is None:
            await _send(send, response)
        else:
            await _stream(send, response, response.stream, scope["fleetward.connection"], self._idle)

    async def answer(self, exchange: Exchange) -> Response:
        """The response to one request."""
        if exchange.headers.get("transfer-encoding") and exchange.headers.get("content-length"):
            return Response(400, TEXT, b"Both Content-Length and Transfer-Encoding were sent.\n")
        if not self.knows(exchange.headers.get("host", "")):
            return Response(421, TEXT, b"This server does not answer to that host name; see --name.\n")
        page = self._pages.get(f"{exchange.method} {exchange.path}")
        if page is not None and exchange.path.startswith(PEOPLE) and not self._is_for_people(exchange):
            page = None
        if page is None:
            page = next((p for prefix, p in self._prefixes.items() if exchange.path.startswith(prefix)), None)
        if page is None:
            path = self.addressing.path(exchange) if self.storage is not None else None
            if path is not None and self.storage is not None:
                return await self.storage.answer(exchange, path)
            return await self._pipeline.answer(exchange)
        return await self._pipeline.conclude(exchange, page)

    def _is_for_people(self, exchange: Exchange) -> bool:
        """Whether a path of the console is meant, and not an object of that name: no signature, no bucket's host."""
        signed = exchange.headers.get("authorization", "").startswith("AWS") or "X-Amz-Signature=" in exchange.query
        return not signed and urlsplit(f"//{exchange.headers.get('host', '')}").hostname in self._names

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server: one of its names, or something below one."""
        try:
            name = urlsplit(f"//{host}").hostname if host else None
        except ValueError:
            return False
        if name is None:
            return False
        return name in self._names or any(name.endswith(f".{own}") for own in self._names if not own[-1].isdigit())

    def exchange(self, scope: Scope, receive: Receive) -> Exchange:
        """An ASGI request as the pipeline wants it."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        client, secure = scope["client"], scope["scheme"] == "https"
        source_ip = client[0] if client else ""
        if self._proxies and self._is_proxy(source_ip):
            forwarded = headers.get("x-forwarded-for", "").rsplit(",", 1)[-1].strip()
            source_ip = forwarded if _is_address(forwarded) else source_ip
            secure = headers.get("x-forwarded-proto", "https" if secure else "http") == "https"
        connection = scope.get("fleetward.connection")
        return Exchange(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            source_ip=source_ip,
            secure=secure,
            request_id=str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)),
            chunks=_reader(receive, headers),
            mark_authenticated=connection.mark_authenticated if connection is not None else _nothing,
        )

    def _is_proxy(self, address: str) -> bool:
        return _is_address(address) and any(ipaddress.ip_address(address) in network for network in self._proxies)


class Server(uvicorn.Server):
    """uvicorn on our sockets: TLS with a handshake limit, plain HTTP beside it; signals are the caller's business."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        upgrade: Upgrade,
        sockets: Sequence[tuple[socket.socket, ssl.SSLContext | None]],
        memory: Memory,
    ) -> None:
        super().__init__(configured(app, settings, upgrade, memory))
        self._settings = settings
        self._sockets = sockets
        self.serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def startup(self, sockets: Any = None) -> None:
        """Listen on every socket with its own TLS context."""
        loop = asyncio.get_running_loop()
        state: dict[str, Any] = {}

        def connection(client: Client | None = None) -> asyncio.Protocol:
            made = Connection(config=self.config, server_state=self.server_state, app_state=state)
            made.given_client = client
            return made

        self.servers = []
        for listening, context in self._sockets:
            if context is not None and self._settings.proxy_protocol:
                proxies = [ipaddress.ip_network(network) for network in self._settings.trusted_proxy]
                port = ProxiedPort(listening, context, proxies, connection, self._settings.handshake_timeout)
                port.start(4096)
                self.servers.append(port)  # type: ignore[arg-type]  # close and wait_closed are all that is asked of it
                continue
            timeout = self._settings.handshake_timeout if context else None
            self.servers.append(
                await loop.create_server(
                    connection, sock=listening, backlog=4096, ssl=context, ssl_handshake_timeout=timeout
                )
            )
        self.started = True
        calm_collector()
        self.serving.set()


def configured(app: Any, settings: Settings, upgrade: Upgrade, memory: Memory) -> uvicorn.Config:
    """What connections of a port go by: an ASGI application, and who decides about upgrades."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=True,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        backlog=4096,
    )
    config.fleetward_limits = Limits(  # type: ignore[attr-defined]
        settings.header_timeout,
        settings.body_timeout,
        settings.connections_per_address,
        settings.websockets == "picows",
        memory,
    )
    config.fleetward_upgrade = upgrade  # type: ignore[attr-defined]
    return config


def calm_collector() -> None:
    """Let the garbage collector look at less, less often.

    What is there at the start stays; connections and entries make few cycles, and each full walk over the objects of
    thousands of connections stops every thread.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 100)


def listen(address: str, option: str = "--listen") -> socket.socket:
    """A listening socket for `host:port`; port 0 takes a free one. A taken port gives one clear sentence."""
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listening.bind((host, port))
    except OSError as fault:
        listening.close()
        reason = "the port is already in use" if fault.errno == 98 else fault.strerror
        raise SettingsFault(f"cannot listen on {address}: {reason}; choose another with {option}") from fault
    listening.setblocking(False)
    return listening


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` as host and port; SettingsFault for anything else."""
    try:
        parts = urlsplit(f"//{address}")
        if parts.port is None or not parts.hostname or parts.path:
            raise ValueError
        return parts.hostname, parts.port
    except ValueError as fault:
        raise SettingsFault(f"{address!r} is not an address of the form host:port") from fault


def server_names(settings: Settings) -> list[str]:
    """Every name and address this server answers to, the public one first."""
    names: dict[str, None] = {}
    if settings.public_url:
        names[urlsplit(settings.public_url).hostname or ""] = None
    names |= dict.fromkeys(settings.name)
    for address in (*settings.listen, *((settings.http,) if settings.http else ())):
        host, _ = split_address(address)
        if host not in ("0.0.0.0", "::"):  # noqa: S104
            names[host] = None
    names |= dict.fromkeys(["localhost", "127.0.0.1", "::1"])
    return [name for name in names if name]


def _reader(receive: Receive, headers: dict[str, str]) -> Callable[[int], AsyncIterator[bytes]]:
    async def chunks(limit: int) -> AsyncIterator[bytes]:
        announced = headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > limit:
            raise RequestEntityTooLargeException(f"The body is larger than {limit} bytes.")
        total, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise SerializationException("The connection was closed in the middle of the body.")
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            total += len(chunk)
            if total > limit:
                raise RequestEntityTooLargeException(f"The body is larger than {limit} bytes.")
            yield chunk

    return chunks


async def _send(send: Send, response: Response) -> None:
    headers = _encoded(response)
    if response.status not in (204, 304) and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _stream(
    send: Send, response: Response, pieces: AsyncIterable[bytes], connection: Connection, idle: float
) -> None:
    """Send a long body as fast as its reader takes it; one who takes nothing for `idle` seconds is cut off."""
    await send({"type": "http.response.start", "status": response.status, "headers": _encoded(response)})
    async with contextlib.aclosing(aiter(pieces)) as coming:  # type: ignore[type-var]
        async for piece in coming:
            view = memoryview(piece)
            for start in range(0, len(view), SENT_AT_ONCE):
                try:
                    async with asyncio.timeout(idle):
                        await send({
                            "type": "http.response.body", "body": view[start : start + SENT_AT_ONCE], "more_body": True,
                        })  # fmt: skip
                except TimeoutError:
                    connection.transport.abort()
                if connection.transport.is_closing():
                    return
    await send({"type": "http.response.body", "body": b""})


def _encoded(response: Response) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in response.headers]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _nothing() -> None:
    return None
