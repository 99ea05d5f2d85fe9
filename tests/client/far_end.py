"""The far end of a session for tests of the client alone: API, server and agent in one thread, over real sockets.

The agent's half is `protocol/data_channel`; what its program does is a test's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from fleetward.protocol.data_channel.handshake import (
    OUR_TERMS,
    AgentHandshake,
    Completed,
    Encrypt,
    Failed,
    OpenKey,
    Send,
    Step,
)
from fleetward.protocol.data_channel.opening import read_open_message
from fleetward.protocol.data_channel.stream import Data, Side, Stream
from fleetward.protocol.frame import Flag, Frame, PayloadType, encode

SESSION = "alice-0123456789abcdef0"
NODE = "mi-0123456789abcdef0"
Program = Callable[["FarEnd", int, bytes], None]


def silent(end: FarEnd, payload_type: int, payload: bytes) -> None:
    """A program that does nothing."""


def echo(end: FarEnd, payload_type: int, payload: bytes) -> None:
    """A program that answers what is typed with itself."""
    if payload_type == PayloadType.OUTPUT:
        end.send(PayloadType.OUTPUT, payload)


class FarEnd:
    """One session's other end. `calls` are the API calls that came, `refuse` names errors and `answers` what
    to answer instead, `begun` is called when the handshake is over."""

    def __init__(
        self,
        program: Program = echo,
        *,
        session_type: str = "Standard_Stream",
        properties: Any = None,
        is_ours: bool = True,
        agent_version: str = "3.3.9999.0",
        handshake: bool = True,
        key_id: str = "",
        customer_message: str = "",
        answers: bool = True,
    ) -> None:
        self.program = program
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse: dict[str, tuple[int, str]] = {}
        self.answers: dict[str, list[dict[str, Any]]] = {}
        self.recording = b""
        self.opened: list[str] = []
        self.received: list[tuple[int, bytes]] = []
        self.begun: Callable[[], None] = lambda: None
        self.openings = 0
        self.data_key = os.urandom(64)
        self._answers = answers
        self._tokens: set[str] = set()
        self._stream = Stream(Side.AGENT, clock_ms=lambda: time.time_ns() // 1_000_000)
        self._shakes = handshake
        self._handshake = AgentHandshake(
            agent_version=agent_version,
            session_id=SESSION,
            node_id=NODE,
            session_type=session_type,
            properties=properties,
            kms_key_id=key_id,
            customer_message=customer_message,
            terms=OUR_TERMS if is_ours else None,
        )
        self._is_running = not handshake
        self._socket: WSTransport | None = None
        self._final: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.endpoint = ""
        self.stream_url = ""
        self.loop = asyncio.new_event_loop()

    # -- for tests, from any thread ----------------------------------------------------------------------------------

    def send(self, payload_type: int, payload: bytes) -> None:
        """Have the program say something."""
        self._soon(lambda: self._send(payload_type, payload))

    def end(self, output: str = "") -> None:
        """End the session, as the server tells it."""
        body = {"MessageType": "channel_closed", "SessionId": SESSION, "SchemaVersion": 1, "Output": output}
        self._soon(lambda: self._close(json.dumps(body).encode()))

    def cut(self) -> None:
        """Break the connection."""
        self._soon(lambda: self._socket and self._socket.disconnect(graceful=False))

    def deafen(self) -> None:
        """Say and hear nothing on this connection any more, not even pings, and leave it open."""
        self._soon(self._deafen)

    def babble(self, message: bytes) -> None:
        """Send this message as it is."""
        self._soon(lambda: self._socket and self._socket.send(WSMsgType.BINARY, message))

    def called(self, operation: str) -> list[dict[str, Any]]:
        """What the calls of an operation asked."""
        return [members for name, members in self.calls if name == operation]

    def typed(self) -> bytes:
        """All that was typed."""
        return b"".join(payload for payload_type, payload in self.received if payload_type == PayloadType.OUTPUT)

    def sizes(self) -> list[dict[str, int]]:
        """The sizes that were told."""
        return [json.loads(payload) for payload_type, payload in self.received if payload_type == PayloadType.SIZE]

    # -- the server's half -------------------------------------------------------------------------------------------

    def answer(self, operation: str, members: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """What the API answers."""
        self.calls.append((operation, members))
        if operation in self.refuse:
            status, code = self.refuse[operation]
            return status, {"__type": code, "message": f"no {operation}"}
        if operation in self.answers:
            return 200, self.answers[operation].pop(0)
        if operation in ("StartSession", "ResumeSession"):
            token = str(uuid.uuid4())
            self._tokens.add(token)
            return 200, {"SessionId": SESSION, "TokenValue": token, "StreamUrl": self.stream_url}
        if operation == "GenerateDataKey":
            blob = base64.b64encode(b"sealed").decode()
            return 200, {"Plaintext": base64.b64encode(self.data_key).decode(), "CiphertextBlob": blob}
        return 200, {"SessionId": SESSION}

    def connected(self, socket: WSTransport, text: str) -> None:
        """A client sent its open message."""
        opening = read_open_message(text)
        self.opened.append(opening.client_version)
        if opening.token not in self._tokens:
            socket.send_close()
            socket.disconnect()
            return
        self._tokens.remove(opening.token)
        self._socket = socket
        self.openings += 1
        now = time.monotonic()
        if self.openings > 1:
            self._stream.reconnected(now)
        elif self._shakes and self._answers:
            self._take(self._handshake.start(now))
        self._pump()

    def heard(self, socket: WSTransport, message: bytes) -> None:
        """A client sent a binary message."""
        if socket is not self._socket:
            return
        now = time.monotonic()
        for event in self._stream.receive(message, now):
            if not isinstance(event, Data):
                continue
            if self._is_running:
                self.received.append((event.payload_type, event.payload))
                self.program(self, event.payload_type, event.payload)
            else:
                self._take(self._handshake.receive(event.payload_type, event.payload, now))
        self._pump()

    def gone(self, socket: WSTransport) -> None:
        """A client's connection is no more."""
        if socket is self._socket:
            self._socket = None

    def _deafen(self) -> None:
        if self._socket is not None:
            self._socket.underlying_transport.pause_reading()
            self._socket = None

    def _take(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, Send):
                self._stream.send(step.payload_type, step.payload)
            elif isinstance(step, OpenKey):
                assert step.encrypted_key == b"sealed"
                self._take(self._handshake.key_opened(self.data_key, time.monotonic()))
            elif isinstance(step, Encrypt):
                self._stream.encrypt(step.keys)
            elif isinstance(step, Completed):
                if step.terms is not None:
                    self._stream.use(step.terms)
                self._is_running = True
                self.begun()
            elif isinstance(step, Failed):
                self._close_with(step.reason)

    def _close_with(self, reason: str) -> None:
        self.end(reason)

    def _send(self, payload_type: int, payload: bytes) -> None:
        self._stream.send(payload_type, payload)
        self._pump()

    def _close(self, payload: bytes) -> None:
        if not self._stream.is_drained and self._socket is not None:
            self.loop.call_later(0.01, self._close, payload)
            return
        self._final = encode(Frame("channel_closed", payload, uuid.uuid4(), 1, flags=Flag.SYN | Flag.FIN))
        self._pump()

    def _pump(self) -> None:
        if self._socket is None:
            return
        now = time.monotonic()
        for message in self._stream.outgoing(now):
            self._socket.send(WSMsgType.BINARY, message)
        if self._final is not None:
            self._socket.send(WSMsgType.BINARY, self._final)
        due_at = self._stream.due_at()
        if self._timer is not None:
            self._timer.cancel()
        if due_at is not None:
            self._timer = self.loop.call_later(max(due_at - now, 0.001), self._pump)

    def _soon(self, function: Callable[[], object]) -> None:
        self.loop.call_soon_threadsafe(function)


class _Socket(WSListener):
    def __init__(self, end: FarEnd) -> None:
        self._end = end

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Hand it on."""
        if frame.msg_type == WSMsgType.TEXT:
            self._end.connected(transport, frame.get_payload_as_utf8_text())
        elif frame.msg_type == WSMsgType.BINARY:
            self._end.heard(transport, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Hand it on."""
        self._end.gone(transport)


@contextmanager
def served(end: FarEnd, tls: ssl.SSLContext | None = None) -> Iterator[FarEnd]:
    """The far end, reachable at `endpoint` for a while; with `tls` its API alone asks for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """An API call."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert "AWS4-HMAC-SHA256" in self.headers["Authorization"]
            status, members = end.answer(self.headers["X-Amz-Target"].rpartition(".")[2], json.loads(body))
            answer = json.dumps(members).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self) -> None:
            """A recording."""
            end.calls.append(("GET", {"path": self.path}))
            self.send_response(200 if end.recording else 404)
            self.send_header("Content-Length", str(len(end.recording)))
            self.end_headers()
            self.wfile.write(end.recording)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    def listener(request: WSUpgradeRequest) -> WSListener:
        return _Socket(end)

    async def start() -> asyncio.Server:
        return await ws_create_server(listener, "127.0.0.1", 0)

    api = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        api.socket = tls.wrap_socket(api.socket, server_side=True)
    threads = [threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)]
    sockets = end.loop.run_until_complete(start())
    threads.append(threading.Thread(target=end.loop.run_forever, daemon=True))
    end.endpoint = f"http{'s' if tls else ''}://127.0.0.1:{api.server_address[1]}"
    port = sockets.sockets[0].getsockname()[1]
    end.stream_url = f"ws://127.0.0.1:{port}/v1/data-channel/{SESSION}?role=publish_subscribe"
    for thread in threads:
        thread.start()
    try:
        yield end
    finally:
        api.shutdown()
        api.server_close()
        end.loop.call_soon_threadsafe(end.loop.stop)
        for thread in threads:
            thread.join(5)
