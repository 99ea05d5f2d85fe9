"""The WebSocket against another implementation of the protocol, and against what no server should send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from fleetward.agent.http import HttpFault, Url
from fleetward.agent.websocket import Decoder, Message, Opcode, Upgradeless, WebSocket, encode, open_websocket
from fleetward.protocol.errors import RemoteProtocolError
from tests.agent.machine import run
from tests.agent.test_http import saying

Handler = Callable[[ServerConnection], Awaitable[None]]


async def with_server(handler: Handler, work: Callable[[WebSocket], Awaitable[None]]) -> None:
    """Connect to a server of the `websockets` library."""
    async with serve(handler, "127.0.0.1", 0, max_size=None, compression="deflate") as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = Url("http", "127.0.0.1", port)
        websocket = await open_websocket(url, "/path?x=1", lambda: {"Host": url.host_header}, None)
        try:
            await work(websocket)
        finally:
            await websocket.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 3_000_000])
def test_messages_of_all_sizes_go_and_come(size: int) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def work(websocket: WebSocket) -> None:
        data = bytes(index % 251 for index in range(size))
        await websocket.send(Opcode.BINARY, data)
        assert await websocket.receive() == Message(Opcode.BINARY, data)

    run(with_server(echo, work))


def test_text_fragments_pings_and_close() -> None:
    answered = []

    async def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        assert connection.request.path == "/path?x=1"
        answered.append(await connection.recv())
        waiter = await connection.ping(b"are you there")
        await connection.send(iter([b"one ", b"two ", b"three"]))
        await waiter
        answered.append("pong")
        await connection.close(1000)

    async def work(websocket: WebSocket) -> None:
        await websocket.send(Opcode.TEXT, "grüße".encode())
        assert await websocket.receive() == Message(Opcode.BINARY, b"one two three")
        assert await websocket.receive() is None

    run(with_server(talk, work))
    assert answered == ["grüße", "pong"]


def test_our_ping_is_answered() -> None:
    async def idle(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async def work(websocket: WebSocket) -> None:
        await websocket.send(Opcode.PING, b"keepalive")
        assert await websocket.receive() == Message(Opcode.PONG, b"keepalive")

    run(with_server(idle, work))


def test_a_lost_connection_is_an_end() -> None:
    async def vanish(connection: ServerConnection) -> None:
        connection.transport.abort()

    async def work(websocket: WebSocket) -> None:
        try:
            assert await websocket.receive() is None
        except ConnectionError:
            pass

    run(with_server(vanish, work))


def test_a_refused_upgrade_tells_its_status_and_body() -> None:
    async def work() -> None:
        refusal = b"HTTP/1.1 403 No\r\nContent-Length: 24\r\n\r\n<AccessDeniedException/>"
        async with saying(refusal) as url:
            with pytest.raises(Upgradeless) as raised:
                await open_websocket(url, "/", dict, None)
            assert (raised.value.status, raised.value.body) == (403, b"<AccessDeniedException/>")

    run(work())


def test_an_upgrade_without_proof_is_refused() -> None:
    async def work() -> None:
        answer = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n"
        async with saying(answer, hang=True) as url:
            with pytest.raises(HttpFault):
                await open_websocket(url, "/", dict, None)

    run(work())


def frame(first: int, payload: bytes, *, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    head = bytes((first, size)) if size < 126 else bytes((first, 126)) + size.to_bytes(2, "big")
    return head + payload


@pytest.mark.parametrize(
    "data",
    [
        frame(0xC2, b"reserved bit"),
        frame(0x83, b"unknown kind"),
        bytes((0x82, 0x81)) + b"\0\0\0\0x",
        frame(0x80, b"continues nothing"),
        frame(0x02, b"first") + frame(0x82, b"second first"),
        frame(0x09, b"a ping in fragments"),
        frame(0x89, b"x" * 126),
        bytes((0x82, 127)) + (2**40).to_bytes(8, "big"),
    ],
)
def test_what_a_server_may_not_send_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Decoder().feed(data)


def test_fragments_may_not_grow_beyond_the_limit() -> None:
    decoder = Decoder(largest=100)
    decoder.feed(frame(0x02, b"x" * 90))
    with pytest.raises(RemoteProtocolError):
        decoder.feed(frame(0x80, b"x" * 11))


@given(st.lists(st.binary(max_size=70_000), max_size=5), st.integers(1, 100_000))
def test_messages_do_not_depend_on_how_bytes_arrive(payloads: list[bytes], size: int) -> None:
    data = b"".join(bytes((0x82, 127)) + len(payload).to_bytes(8, "big") + payload for payload in payloads)
    decoder = Decoder()
    messages = [message for at in range(0, len(data), size) for message in decoder.feed(data[at : at + size])]
    assert messages == [Message(Opcode.BINARY, payload) for payload in payloads]


@given(st.binary(max_size=1000))
def test_garbage_is_refused_or_waits_and_never_breaks(data: bytes) -> None:
    try:
        Decoder().feed(data)
    except RemoteProtocolError:
        pass


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_masking_is_undone_by_masking(data: bytes, mask: bytes) -> None:
    whole = encode(Opcode.BINARY, data, mask)
    body = whole[len(whole) - len(data) :] if data else b""
    assert bytes(byte ^ mask[index % 4] for index, byte in enumerate(body)) == data
