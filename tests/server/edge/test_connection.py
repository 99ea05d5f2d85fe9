"""Connection: limits of time, size and number, and the hand-over to a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from fleetward.server.edge.connection import HEAD_LIMIT_BYTES, WEBSOCKET_FRAME_LIMIT, hand_over, upgrade_request
from fleetward.server.edge.plain_websocket import PlainWebSocket
from tests.serving import ServerProcess, StartServer, eventually

SHORT = 0.4
MOST = 6
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def strict(start_server_of_module: StartServer) -> ServerProcess:
    """A server with short times and few connections for strangers."""
    return start_server_of_module(
        header_timeout=SHORT, body_timeout=SHORT, handshake_timeout=SHORT, connections_per_address=MOST
    )


@pytest.fixture
def client(strict: ServerProcess) -> Iterator[ssl.SSLSocket]:
    """A TLS connection that has sent nothing yet."""
    with strict.tls_socket() as connected:
        yield connected


def read_to_end(client: socket.socket) -> bytes:
    """All that comes until the server closes; fails after five seconds."""
    client.settimeout(5)
    received = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while data := client.recv(65536):
            received += data
    return received


def test_a_handshake_must_come_in_time(strict: ServerProcess) -> None:
    """A TCP connection that says nothing is closed."""
    with strict.plain_socket() as silent:
        started = time.monotonic()
        assert read_to_end(silent) == b""
        assert time.monotonic() - started < 4


@pytest.mark.parametrize("sent", [b"", b"POST / HT", HEAD + b"A: b", b"\r\n\r\n\r\n"])
def test_a_head_must_come_in_time(client: ssl.SSLSocket, sent: bytes) -> None:
    """Nothing, a part, empty lines: 408 and closed."""
    client.sendall(sent)
    assert read_to_end(client).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_trickles_is_too_slow(client: ssl.SSLSocket) -> None:
    """The time counts from the head's beginning, not from its last byte."""
    client.settimeout(0.1)
    started, answer = time.monotonic(), b""
    client.sendall(HEAD)
    while not answer and time.monotonic() - started < 4:
        with contextlib.suppress(TimeoutError):
            client.sendall(b"A: b\r\n")
            answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_second_head_must_come_in_time_too(client: ssl.SSLSocket) -> None:
    """A kept connection, and a byte that begins no request."""
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    client.sendall(b"\r\n")
    assert b"HTTP/1.1 408 " in read_to_end(client)


def test_a_body_must_keep_coming(client: ssl.SSLSocket) -> None:
    """A body that stops is closed."""
    client.sendall(HEAD + b"X-Amz-Target: AmazonSSM.RegisterManagedInstance\r\nContent-Length: 100\r\n\r\n{")
    assert b" 408 " in read_to_end(client).split(b"\r\n")[0]


def test_a_body_that_keeps_coming_may_take_longer(client: ssl.SSLSocket) -> None:
    """Each byte starts the time anew."""
    client.sendall(HEAD + b"X-Amz-Target: AmazonSSM.RegisterManagedInstance\r\nContent-Length: 7\r\n\r\n")
    for byte in b'{"a":1}':
        client.sendall(bytes([byte]))
        if byte != ord("}"):
            client.settimeout(SHORT / 3)
            with pytest.raises(TimeoutError):
                client.recv(65536)
    client.settimeout(5)
    assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_head_is_of_bounded_size(client: ssl.SSLSocket) -> None:
    """One header without end, or many: 431."""
    with contextlib.suppress(OSError):
        client.sendall(HEAD + b"A: " + b"x" * (HEAD_LIMIT_BYTES + 200_000))
    assert read_to_end(client).startswith(b"HTTP/1.1 431 ")


def test_strangers_may_send_a_mebibyte(serving: ServerProcess) -> None:
    """More is 413, whether announced or not, and the connection is closed."""
    body = b"{" + b" " * 1024 * 1024 + b"}"
    answer = serving.call("RegisterManagedInstance", body, None)
    assert (answer.status, answer.code) == (413, "RequestEntityTooLargeException")
    assert answer.headers["connection"] == "close"
    with serving.tls_socket() as client:
        client.sendall(HEAD + b"X-Amz-Target: AmazonSSM.RegisterManagedInstance\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(18):
                client.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert b" 413 " in read_to_end(client).split(b"\r\n")[0]


def test_the_authenticated_may_send_up_to_the_request_limit(start_server: StartServer) -> None:
    """`request_limit` counts for those who name a key of ours, `anonymous_limit` for all others."""
    server = start_server(request_limit=4000, anonymous_limit=1000)
    big = json.dumps({"IamRole": "SSMServiceRole", "Description": "x" * 200, "Padding": "x" * 2000})
    assert server.call("CreateActivation", big.encode(), server.root).status == 200
    assert server.call("CreateActivation", b" " * 4001, server.root).status == 413
    assert server.call("RegisterManagedInstance", b" " * 1001, None).status == 413
    stranger = type(server.root)("AKIAAAAAAAAAAAAAAAAA", "x")
    assert server.call("CreateActivation", b" " * 2000, stranger).code == "UnrecognizedClientException"


def test_strangers_of_one_address_are_bounded(strict: ServerProcess) -> None:
    """The one too many is cut; who has authenticated does not count."""
    known = [strict.tls_socket() for _ in range(2)]
    for client in known:
        request = _signed_request(strict)
        client.sendall(request)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    strangers = []
    for _ in range(MOST):
        stranger = strict.tls_socket()
        stranger.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stranger.recv(65536).startswith(b"HTTP/1.1 200 ")
        strangers.append(stranger)
    assert _is_cut(strict)
    for client in (*known, *strangers):
        client.close()
    eventually(lambda: not _is_cut(strict))


def _is_cut(server: ServerProcess) -> bool:
    try:
        with server.tls_socket() as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return not client.recv(65536)
    except OSError:
        return True


def _signed_request(server: ServerProcess) -> bytes:
    captured: dict[str, str] = {}
    server.call("DescribeActivations", {}, server.root, tampered=captured.update)
    head = "".join(f"{name}: {value}\r\n" for name, value in captured.items())
    return f"POST / HTTP/1.1\r\n{head}Content-Length: 2\r\n\r\n{{}}".encode()


def test_requests_in_a_row_without_waiting_are_answered_in_order(serving: ServerProcess) -> None:
    """Pipelined, as HTTP/1.1 allows."""
    with serving.tls_socket() as client:
        client.settimeout(5)
        one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        two = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        client.sendall(one + two)
        answers = read_to_end(client)
    assert answers.index(b"ok\n") < answers.index(b"ready\n")


class Echo(WSListener):
    """Sends back what it gets, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.told.append("connected")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.told.append((frame.msg_type, frame.fin, frame.get_payload_as_bytes()))
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.told.append("disconnected")


class Peer:
    """The client's half, fed by hand."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self.protocol = ClientProtocol(parse_uri("ws://localhost/"))
        self.request = self.protocol.connect()

    async def receive(self) -> list[Any]:
        """The next events."""
        loop = asyncio.get_running_loop()
        while True:
            data = await asyncio.wait_for(loop.sock_recv(self.socket, 65536), 5)
            self.protocol.receive_data(data) if data else self.protocol.receive_eof()
            events = self.protocol.events_received()
            if events or not data:
                return list(events)

    async def send(self) -> None:
        """What the protocol wants to say."""
        for data in self.protocol.data_to_send():
            await asyncio.get_running_loop().sock_sendall(self.socket, data)


@pytest.mark.parametrize("implementation", ["picows", "websockets"])
def test_a_connection_becomes_a_websocket(implementation: str) -> None:
    """The contract with picows's class, and with our own in its place: answer, echo, fragments, ping, close."""

    async def scenario() -> list[Any]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        listener, peer = Echo(), Peer(theirs)
        headers = [(name.lower().encode(), value.encode()) for name, value in peer.request.headers.raw_items()]
        headers.append((b"authorization", b"x" * 30_000))
        request = upgrade_request(headers)
        peer.protocol.send_request(peer.request)
        peer.protocol.data_to_send()
        if implementation == "picows":
            hand_over(transport, listener, request)
        else:
            PlainWebSocket(listener, WEBSOCKET_FRAME_LIMIT).take_over(transport, request)
        (response,) = await peer.receive()
        assert response.status_code == 101
        assert peer.protocol.handshake_exc is None
        peer.protocol.send_text("häuser".encode())
        await peer.send()
        assert (await peer.receive())[0].data == "häuser".encode()
        peer.protocol.send_binary(b"a", fin=False)
        peer.protocol.send_continuation(b"b", fin=True)
        await peer.send()
        assert (await peer.receive())[0].data == b"a"
        peer.protocol.send_ping(b"there?")
        await peer.send()
        assert await peer.receive() == [Frame(Opcode.PONG, b"there?")]
        peer.protocol.send_close(1000)
        await peer.send()
        assert (await peer.receive())[0].opcode is Opcode.CLOSE
        while await peer.receive():
            pass
        theirs.close()
        return listener.told

    told = asyncio.run(scenario())
    assert told[0] == "connected"
    assert told[-1] == "disconnected"
    kinds = [each[:2] for each in told[1:-1]]
    assert kinds[:3] == [(WSMsgType.TEXT, True), (WSMsgType.BINARY, False), (WSMsgType.CONTINUATION, True)]
    assert kinds[-2][0] == WSMsgType.PING
    assert kinds[-1][0] == WSMsgType.CLOSE


def test_the_upgrade_is_handed_over_without_secrets() -> None:
    """Only what a WebSocket's handshake needs."""
    headers = [
        (b"host", b"a"),
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-key", b"k"),
        (b"authorization", b"secret"),
        (b"x-amz-security-token", b"secret"),
    ]
    request = upgrade_request(headers)
    assert request.startswith(b"GET / HTTP/1.1\r\nhost: a\r\n")
    assert b"sec-websocket-key: k\r\n" in request
    assert b"secret" not in request
