"""The client's WebSocket against real peers: messages, back-pressure, a peer that falls silent, refusals, proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from fleetward.client.errors import Refused, Unreachable
from fleetward.client.link import Link, connect, proxy_for
from fleetward.server import certificates


class Kept:
    """A receiver that keeps what comes."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.came = asyncio.Event()
        self.is_lost = asyncio.Event()

    def received(self, message: memoryview, is_last: bool) -> None:
        """Keep it."""
        self.messages.append(bytes(message))
        self.came.set()

    def writable(self) -> None:
        """Nothing to do."""

    def lost(self) -> None:
        """Note it."""
        self.is_lost.set()


class Peer(WSListener):
    """The other end: answers each message with itself; `silent` swallows even pings."""

    def __init__(self) -> None:
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep it."""
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Send it back; a text in two parts."""
        if frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            text = frame.get_payload_as_bytes()
            transport.send(WSMsgType.BINARY, text[:1], fin=False)
            transport.send(WSMsgType.CONTINUATION, text[1:])


@asynccontextmanager
async def peer(*, pongs: bool = True, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[Peer]]]:
    """A server; its address and the peers that it made."""
    made: list[Peer] = []

    def listener(request: WSUpgradeRequest) -> Peer | None:
        if request.path != b"/":
            return None
        made.append(Peer())
        return made[-1]

    server = await ws_create_server(listener, "127.0.0.1", 0, enable_auto_pong=pongs, ssl=tls)
    async with server:
        yield f"{'wss' if tls else 'ws'}://127.0.0.1:{server.sockets[0].getsockname()[1]}", made


async def opened(url: str, kept: Kept, quiet_seconds: float = 5.0) -> Link:
    """A link to a peer."""
    return await connect(url, kept, ca=None, quiet_seconds=quiet_seconds)


async def _until(check: asyncio.Event) -> None:
    await asyncio.wait_for(check.wait(), 5)
    check.clear()


def test_messages_pass_whole_and_in_parts() -> None:
    async def play() -> None:
        async with peer() as (url, _):
            kept = Kept()
            link = await opened(url, kept)
            link.send([b"x" * 300_000])
            await _until(kept.came)
            link.send_text("parts")
            await _until(kept.came)
            assert kept.messages == [b"x" * 300_000, b"parts"]
            link.close()

    asyncio.run(play())


def test_what_is_held_back_comes_later() -> None:
    async def play() -> None:
        async with peer() as (url, peers):
            kept = Kept()
            link = await opened(url, kept, quiet_seconds=0.02)
            link.hold()
            transport = peers[0].transport
            assert transport is not None
            transport.send(WSMsgType.BINARY, b"later")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(kept.came.wait(), 0.2)
            assert not kept.is_lost.is_set()
            link.resume()
            await _until(kept.came)
            link.close()

    asyncio.run(play())


@pytest.mark.parametrize("pongs", [True, False])
def test_a_peer_that_fell_silent_is_noticed_and_a_quiet_one_is_not(pongs: bool) -> None:
    async def play() -> None:
        async with peer(pongs=pongs) as (url, _):
            kept = Kept()
            link = await opened(url, kept, quiet_seconds=0.05)
            if pongs:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(kept.is_lost.wait(), 0.5)
                link.close()
            else:
                await _until(kept.is_lost)

    asyncio.run(play())


def test_a_connection_that_breaks_is_told_and_one_that_we_close_is_not() -> None:
    async def play() -> None:
        async with peer() as (url, peers):
            kept = Kept()
            await opened(url, kept)
            transport = peers[0].transport
            assert transport is not None
            transport.disconnect(graceful=False)
            await _until(kept.is_lost)
            link = await opened(url, kept)
            link.close()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(kept.is_lost.wait(), 0.1)

    asyncio.run(play())


def test_a_message_beyond_all_measure_ends_the_connection() -> None:
    async def play() -> None:
        async with peer() as (url, peers):
            for _ in range(2):
                kept = Kept()
                await opened(url, kept)
                transport = peers[-1].transport
                assert transport is not None
                if len(peers) == 1:
                    transport.send(WSMsgType.BINARY, bytes(2_000_000))
                else:
                    transport.send(WSMsgType.BINARY, bytes(700_000), fin=False)
                    transport.send(WSMsgType.CONTINUATION, bytes(700_000), fin=False)
                await _until(kept.is_lost)
                assert kept.messages == []

    asyncio.run(play())


def test_refusals_and_absent_servers_are_told_apart() -> None:
    async def play() -> None:
        async with peer() as (url, _):
            with pytest.raises(Refused, match="404"):
                await opened(f"{url}/elsewhere", Kept())
        with socket.create_server(("127.0.0.1", 0)) as mute:
            port = mute.getsockname()[1]
            with pytest.raises(Unreachable, match="did not answer"):
                await connect(f"ws://127.0.0.1:{port}", Kept(), ca=None, quiet_seconds=5, seconds=0.2)
        with pytest.raises(Unreachable):
            await opened(f"ws://127.0.0.1:{port}", Kept())

    asyncio.run(play())


def test_a_certificate_is_checked_and_a_renewed_ca_counts_from_the_next_link_on(tmp_path: Path) -> None:
    """The file is read for each link."""
    now = datetime.now(UTC)
    made = [certificates.prepare(tmp_path / name, ["127.0.0.1"], ["us-east-1"], now) for name in ("one", "two")]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made[0].certificate, made[0].key)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(made[0].ca.read_bytes())

    async def passes(url: str) -> None:
        kept = Kept()
        link = await connect(url, kept, ca=str(trusted), quiet_seconds=5)
        link.send([b"sealed"])
        await _until(kept.came)
        link.close()

    async def play() -> None:
        async with peer(tls=tls) as (url, _):
            await passes(url)
            tls.load_cert_chain(made[1].certificate, made[1].key)
            with pytest.raises(Unreachable, match="certificate"):
                await passes(url)
            trusted.write_bytes(made[1].ca.read_bytes())
            await passes(url)

    asyncio.run(play())


def test_the_environment_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_for("wss://fleet.example:8443/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inner.example")
    assert proxy_for("wss://fleet.example:8443/v1") == "http://proxy.example:3128"
    assert proxy_for("ws://fleet.example/v1") is None
    assert proxy_for("wss://a.inner.example/v1") is None
