"""The WebSocket of a data channel: picows where it is installed, else the agent's own; nothing here ever waits.

Through a proxy it is always the agent's own, which knows how to ask one.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from fleetward.agent.client import Endpoint
from fleetward.agent.http import HttpFault
from fleetward.agent.proxy import ProxyFault, proxy_for
from fleetward.agent.websocket import HANDSHAKE_SECONDS, Opcode, Upgradeless, WebSocket, open_websocket
from fleetward.protocol.errors import RemoteProtocolError

if TYPE_CHECKING:
    from picows import WSFrame, WSTransport

LARGEST_MESSAGE_BYTES = 1024 * 1024
MOST_QUEUED = 64


class Listener(Protocol):
    """Who hears of a socket."""

    def on_message(self, data: bytes) -> None:
        """A binary message came."""

    def on_alive(self) -> None:
        """Something came, a pong perhaps."""

    def on_relief(self) -> None:
        """The socket is congested no more."""

    def on_lost(self, reason: str) -> None:
        """The socket is closed; called once."""


class Socket(Protocol):
    """An open socket."""

    def send(self, opcode: Opcode, data: bytes) -> None:
        """Send a message; nothing happens when the socket is closed."""

    @property
    def is_congested(self) -> bool:
        """Whether so much waits to be sent that more should wait for `Listener.on_relief`."""

    def abort(self) -> None:
        """Drop the connection at once."""

    async def close(self) -> None:
        """Send what waits, say goodbye and close."""


Sign = Callable[[], Mapping[str, str]]


def load() -> None:
    """Load picows, if it is there, ahead of the first socket."""
    try:
        import picows  # noqa: F401
    except ImportError:
        pass


async def open_socket(endpoint: Endpoint, target: str, sign: Sign, listener: Listener) -> Socket:
    """Open a WebSocket; HttpFault without a connection, Upgradeless for any answer but the upgrade."""
    try:
        proxy = proxy_for(endpoint.url.scheme, endpoint.url.host, endpoint.url.port, os.environ)
    except ProxyFault as fault:
        raise HttpFault(str(fault)) from fault
    if proxy is None:
        try:
            import picows  # noqa: F401
        except ImportError:
            pass
        else:
            return await _open_fast(endpoint, target, sign, listener)
    return OwnSocket(await open_websocket(endpoint.url, target, sign, endpoint.trust), listener)


class OwnSocket:
    """A socket of the agent's own WebSocket."""

    def __init__(self, websocket: WebSocket, listener: Listener) -> None:
        self._websocket = websocket
        self._listener = listener
        self._queue: deque[tuple[Opcode, bytes]] = deque()
        self._waiting = asyncio.Event()
        self._sent = asyncio.Event()
        self._was_congested = False
        self._is_over = False
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._send())]

    def send(self, opcode: Opcode, data: bytes) -> None:
        """Send a message."""
        if not self._is_over:
            self._queue.append((opcode, data))
            self._sent.clear()
            self._waiting.set()

    @property
    def is_congested(self) -> bool:
        """Whether many messages wait."""
        self._was_congested = self._was_congested or len(self._queue) > MOST_QUEUED
        return self._was_congested

    def abort(self) -> None:
        """Drop the connection."""
        self._end("dropped")

    async def close(self) -> None:
        """Send what waits, say goodbye and close."""
        try:
            async with asyncio.timeout(2):
                if self._queue:
                    await self._sent.wait()
                await self._websocket.close()
        except TimeoutError:
            pass
        self._end("closed")

    async def _receive(self) -> None:
        try:
            while (message := await self._websocket.receive()) is not None:
                self._listener.on_alive()
                if message.opcode is Opcode.BINARY:
                    self._listener.on_message(message.data)
            self._end("closed by the server")
        except (OSError, RemoteProtocolError) as error:
            self._end(str(error) or type(error).__name__)

    async def _send(self) -> None:
        try:
            while True:
                while self._queue:
                    opcode, data = self._queue.popleft()
                    await self._websocket.send(opcode, data)
                self._sent.set()
                if self._was_congested:
                    self._was_congested = False
                    self._listener.on_relief()
                self._waiting.clear()
                if not self._queue:
                    await self._waiting.wait()
        except OSError as error:
            self._end(str(error) or type(error).__name__)

    def _end(self, reason: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._websocket.drop()
        self._listener.on_lost(reason)


async def _open_fast(endpoint: Endpoint, target: str, sign: Sign, listener: Listener) -> Socket:
    from picows import WSError, ws_connect
    from picows import WSHandshakeError as HandshakeError

    url = endpoint.url
    headers = {name: value for name, value in sign().items() if name.lower() != "host"}
    socket = _fast_listener(listener)
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await ws_connect(
                lambda: socket,  # type: ignore[arg-type]
                f"{'wss' if url.scheme == 'https' else 'ws'}://{url.host_header}{target}",
                ssl_context=endpoint.trust,
                websocket_handshake_timeout=HANDSHAKE_SECONDS,
                max_frame_size=LARGEST_MESSAGE_BYTES,
                max_redirects=0,
                extra_headers={**headers, "Host": url.host_header},
                logger_name="fleetward.sockets",
            )
    except HandshakeError as error:
        if error.response is not None:
            raise Upgradeless(int(error.response.status), error.raw_body or error.response.body or b"") from error
        raise HttpFault(f"no WebSocket with {url.host_header}: {error}") from error
    except TimeoutError:
        raise HttpFault(f"no WebSocket with {url.host_header} within {HANDSHAKE_SECONDS:.0f} s") from None
    except (OSError, ssl.SSLError, WSError) as error:
        raise HttpFault(f"no WebSocket with {url.host_header}: {error}") from error
    return socket


def _fast_listener(listener: Listener) -> Socket:
    """A socket that is a listener of picows, whose classes are there only once picows is loaded."""
    from picows import WSListener, WSMsgType

    kinds = {Opcode.TEXT: WSMsgType.TEXT, Opcode.BINARY: WSMsgType.BINARY, Opcode.PING: WSMsgType.PING}

    class FastSocket(WSListener):
        def __init__(self) -> None:
            super().__init__()
            self._transport: WSTransport | None = None
            self._parts: list[bytes] = []
            self._size = 0
            self.is_congested = False

        def send(self, opcode: Opcode, data: bytes) -> None:
            if self._transport is not None and not self._transport.underlying_transport.is_closing():
                self._transport.send(kinds[opcode], data)

        def abort(self) -> None:
            if self._transport is not None:
                self._transport.disconnect(graceful=False)

        async def close(self) -> None:
            if self._transport is None:
                return
            self._transport.send_close()
            self._transport.disconnect()
            try:
                async with asyncio.timeout(2):
                    await self._transport.wait_disconnected()
            except TimeoutError:
                self.abort()

        def on_ws_connected(self, transport: WSTransport) -> None:
            self._transport = transport

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            listener.on_alive()
            if frame.msg_type is WSMsgType.CLOSE:
                transport.send_close()
                transport.disconnect()
            elif frame.msg_type in (WSMsgType.BINARY, WSMsgType.CONTINUATION):
                self._take(transport, frame)

        def on_ws_disconnected(self, transport: WSTransport) -> None:
            listener.on_lost("closed")

        def pause_writing(self) -> None:
            self.is_congested = True

        def resume_writing(self) -> None:
            self.is_congested = False
            listener.on_relief()

        def _take(self, transport: WSTransport, frame: WSFrame) -> None:
            """A message, or a fragment of one."""
            data = frame.get_payload_as_bytes()
            if frame.fin and not self._parts:
                listener.on_message(data)
                return
            self._parts.append(data)
            self._size += len(data)
            if self._size > LARGEST_MESSAGE_BYTES:
                transport.disconnect(graceful=False)
            elif frame.fin:
                whole = b"".join(self._parts)
                self._parts.clear()
                self._size = 0
                listener.on_message(whole)

    return FastSocket()
