"""Connection: one TCP connection of the port, within limits of time and number.

uvicorn's HTTP protocol does the parsing; added here are the limits that it does not know (time for a request's head,
time without a byte of its body, connections per address that have not authenticated) and the hand-over to a WebSocket
once the upgrade request has been authenticated.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from picows import WSListener, WSUpgradeRequest
from picows.picows import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined]  # not fully public: pinned
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fleetward.server.edge import body_reader
from fleetward.server.edge.memory import Memory
from fleetward.server.edge.plain_websocket import PlainWebSocket

log = logging.getLogger("fleetward.edge")

WEBSOCKET_FRAME_LIMIT = 1024 * 1024
WEBSOCKET_BUFFER_BYTES = 2048
GOODBYE_SECONDS = 0.5
HEAD_LIMIT_BYTES = 64 * 1024
UPGRADE_HEADERS = (b"host", b"connection", b"upgrade")
UPGRADE_PREFIX = b"sec-websocket-"


@dataclass(frozen=True, slots=True)
class Rejection:
    """An upgrade that is refused: the HTTP answer instead of 101."""

    status: int
    content_type: str
    body: bytes


@dataclass(slots=True)
class Limits:
    """What a connection may take; shared by all connections of a server."""

    header_timeout: float
    body_timeout: float
    connections_per_address: int
    picows: bool = True
    """Whether picows speaks WebSocket, else the `websockets` library."""
    memory: Memory = field(default_factory=Memory)
    """Hears of every connection that ends."""
    strangers: Counter[str] = field(default_factory=Counter)
    """Connections per address that have not authenticated yet."""


Upgrade = Callable[[dict[str, Any]], Awaitable[WSListener | Rejection]]


class Connection(HttpToolsProtocol):
    """uvicorn's connection with our limits; http.py puts `fleetward_limits` and `fleetward_upgrade` on the config."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits: Limits = self.config.fleetward_limits  # type: ignore[attr-defined]
        self._upgrade: Upgrade = self.config.fleetward_upgrade  # type: ignore[attr-defined]
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0
        self._deadline: float | None = None
        self._stranger = False
        self._address = ""
        self._head_bytes = 0
        self._reads_head = True
        self._reads_bulk = False
        self.given_client: tuple[str, int] | None = None
        """The client that a trusted proxy named before TLS began."""

    def data_received(self, data: bytes) -> None:
        """Bytes came: a head must be complete in time and of bounded size, also one that begins with empty lines."""
        if self._reads_head:
            self._head_bytes += len(data)
            if self._deadline is None:
                self._arm(self._limits.header_timeout)
        super().data_received(data)
        if self._reads_head and self._head_bytes > HEAD_LIMIT_BYTES:
            self._refuse("431 Request Header Fields Too Large", b"The head of the request is too large.")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the address, start the clock for the first request's head."""
        super().connection_made(transport)
        self.client = self.given_client or self.client
        self._address = self.client[0] if self.client else ""
        self._limits.strangers[self._address] += 1
        self._stranger = True
        if self._limits.strangers[self._address] > self._limits.connections_per_address:
            transport.abort()
            return
        self._arm(self._limits.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the address and the clock."""
        self._limits.memory.connection_ended()
        self._forget_clock()
        self.mark_authenticated()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: close once nothing is under way, without waiting long for the end of TLS."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def mark_authenticated(self) -> None:
        """The peer has proven who it is: it no longer counts against its address."""
        if self._stranger:
            self._stranger = False
            self._limits.strangers[self._address] -= 1
            if self._limits.strangers[self._address] <= 0:
                del self._limits.strangers[self._address]

    def on_message_begin(self) -> None:
        """A request begins: its head must be complete in time."""
        super().on_message_begin()
        self._arm(self._limits.header_timeout)
        self.scope["fleetward.connection"] = self  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """The head is there: now the body must keep coming."""
        self._reads_head = False
        super().on_headers_complete()
        if self.cycle is not None and self.scope["method"] != "HEAD":
            self.cycle.transport = _HeadWithBody(self.transport)  # type: ignore[assignment]
        if _announced(self.headers) >= body_reader.FROM_BYTES:
            self._reads_bulk = True
            self.transport.set_protocol(body_reader.BodyReader(self))  # type: ignore[arg-type]
        self._arm(self._limits.body_timeout)

    def on_body(self, body: bytes) -> None:
        """Bytes of a body came: more must follow in time."""
        if self._reads_bulk and not self.cycle.body and not self.cycle.response_complete:
            self.cycle.body = body  # type: ignore[assignment]  # as it is, where uvicorn would copy it twice
            self.flow.pause_reading()
            self.cycle.message_event.set()
        else:
            super().on_body(body)
        if self._deadline is not None:
            self._arm(self._limits.body_timeout)

    def on_message_complete(self) -> None:
        """The request is complete; the answer may take its time."""
        self._disarm()
        self._reads_head, self._head_bytes = True, 0
        if self._reads_bulk:
            self._reads_bulk = False
            self.transport.set_protocol(self)
        super().on_message_complete()

    def _should_upgrade_to_ws(self) -> bool:
        return True

    def handle_websocket_upgrade(self) -> None:
        """Authenticate first, answer 101 or the refusal after."""
        self._forget_clock()
        self.connections.discard(self)
        scope = {
            "method": self.scope["method"],
            "url": bytes(self.url),
            "headers": list(self.headers),
            "client": self.client,
            "scheme": self.scheme,
            "connection": self,
        }
        task = self.loop.create_task(self._finish_upgrade(scope))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _finish_upgrade(self, scope: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._limits.header_timeout):
                outcome = await self._upgrade(scope)
        except Exception:
            log.exception("websocket upgrade failed")
            outcome = Rejection(500, "text/plain", b"The server failed.")
        if self.transport.is_closing():
            return
        if isinstance(outcome, Rejection):
            self._reject(outcome)
            return
        if not getattr(outcome, "is_stranger", False):  # else it says so itself, or is gone
            self.mark_authenticated()
        request = upgrade_request(scope["headers"])
        # uvloop's transport keeps the last unbuffered protocol it had, and that all of its request: let it be this one
        self.transport.set_protocol(_NOBODY)
        self.parser = None  # type: ignore[assignment]  # it and this object hold each other
        if self._limits.picows:
            hand_over(self.transport, outcome, request)
        else:
            PlainWebSocket(outcome, WEBSOCKET_FRAME_LIMIT).take_over(self.transport, request)

    def _reject(self, rejection: Rejection) -> None:
        head = (
            f"HTTP/1.1 {rejection.status} Refused\r\ncontent-type: {rejection.content_type}\r\n"
            f"content-length: {len(rejection.body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + rejection.body)
        self.transport.close()

    def _arm(self, seconds: float) -> None:
        """Something must happen within so many seconds. A timer that is set already looks again when it is over."""
        self._deadline = due = self.loop.time() + seconds
        if self._timer is None or due < self._looks_at:
            if self._timer is not None:
                self._timer.cancel()
            self._looks_at = due
            self._timer = self.loop.call_at(due, self._look_at_clock)

    def _disarm(self) -> None:
        self._deadline = None

    def _look_at_clock(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self.loop.time() < self._deadline:
            self._looks_at = self._deadline
            self._timer = self.loop.call_at(self._deadline, self._look_at_clock)
        else:
            self._deadline = None
            self._too_slow()

    def _forget_clock(self) -> None:
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._reads_head and self.cycle is not None and not self.cycle.response_complete:
            self._arm(self._limits.header_timeout)  # bytes of a next request while one is being answered
            return
        self._refuse("408 Request Timeout", b"The request came too slowly.")

    def _refuse(self, status: str, body: bytes) -> None:
        """End the connection, with an answer unless one is on its way."""
        if self.transport is None or self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(
                b"HTTP/1.1 %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (status.encode(), len(body), body)
            )
        self.transport.close()
        self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)


def _announced(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """The length of a body as its head tells it; 0 for none."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and len(value) < 20:
            return int(value)
    return 0


def upgrade_request(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The upgrade as the WebSocket's implementation gets it: without signature and token, which may be long."""
    wanted = [(name, value) for name, value in headers if name in UPGRADE_HEADERS or name.startswith(UPGRADE_PREFIX)]
    head = b"".join(b"%s: %s\r\n" % pair for pair in wanted)
    return b"GET / HTTP/1.1\r\n%s\r\n" % head


_NOBODY = asyncio.Protocol()


class _HeadWithBody:
    """A transport for one response: its head waits for the first piece of the body, to be one write and one record."""

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._begun = False

    def write(self, data: bytes) -> None:
        """Write, but keep a final status line with its headers for a moment."""
        if self._begun:
            self._transport.write(data)
        elif self._head is not None:
            self._begun = True
            self._transport.write(self._head + data)
        elif data.startswith(b"HTTP/1.1 100 "):
            self._transport.write(data)
        else:
            self._head = data

    def close(self) -> None:
        """Write what is kept, then close."""
        if self._head is not None and not self._begun:
            self._begun = True
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is on its way out."""
        return self._transport.is_closing()


class _Quiet:
    """A logger for picows that costs nothing per connection."""

    name = "picows"

    def isEnabledFor(self, level: int) -> bool:
        return False

    def log(self, *arguments: Any, **named: Any) -> None: ...

    debug = info = warning = error = exception = log


_QUIET = _Quiet()


def hand_over(transport: asyncio.Transport, listener: WSListener, request: bytes) -> None:
    """Make the connection a WebSocket: picows answers the upgrade `request` and talks to `listener` from now on."""

    upgrades: list[WSUpgradeRequest] = []

    def chosen(upgrade: WSUpgradeRequest) -> WSListener:
        upgrades.append(upgrade)
        return listener

    protocol = WSProtocol(
        None,
        None,
        False,
        chosen,
        _QUIET,
        True,
        5.0,
        False,
        20.0,
        20.0,
        WSAutoPingStrategy.PING_WHEN_IDLE,
        False,  # listeners answer pings: they are signs of life
        WEBSOCKET_FRAME_LIMIT,
        None,
        WEBSOCKET_BUFFER_BYTES,
    )
    protocol.connection_made(transport)
    offset = 0
    while offset < len(request):
        buffer = protocol.get_buffer(-1)
        taken = min(len(buffer), len(request) - offset)
        buffer[:taken] = request[offset : offset + taken]
        offset += taken
        protocol.buffer_updated(taken)
    for upgrade in upgrades:  # nobody asks again, and picows keeps it as long as the connection
        upgrade.headers.clear()
    upgrades.clear()
    transport.set_protocol(protocol)
