"""Tunnels over real sockets: many connections, halves, slow readers, errors, cuts, agents of both kinds."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fleetward.client import Address, ClientError, SessionFailed
from fleetward.client.tunnel import version_of
from fleetward.protocol.data_channel.flags import PortFlag, flag_payload
from fleetward.protocol.data_channel.smux import Closed, Data, Mux, Opened, Reset
from fleetward.protocol.frame import PayloadType
from tests.client.far_end import NODE, FarEnd, served
from tests.client.test_channel import fleet_of

FORWARDING = {"portNumber": "5432", "type": "LocalPortForwarding", "localPortNumber": "0"}


class Port:
    """The agent's program: each connection is echoed, and hashed: its digest is the last thing said."""

    def __init__(self, *, refuses: bool = False, floods: int = 0) -> None:
        self.mux = Mux(is_client=False)
        self.hashes: dict[int, Any] = {}
        self.refuses = refuses
        self.floods = floods
        self.flags: list[bytes] = []
        self.resets: set[int] = set()

    def __call__(self, end: FarEnd, payload_type: int, payload: bytes) -> None:
        """A payload came."""
        if payload_type == PayloadType.FLAG:
            self.flags.append(payload)
            end.end()
            return
        events = self.mux.receive(payload)
        self.resets |= {event.stream_id for event in events if isinstance(event, Reset)}
        for event in events:
            if event.stream_id in self.resets:
                continue
            if isinstance(event, Opened):
                self._opened(end, event.stream_id)
            elif isinstance(event, Data):
                self.hashes[event.stream_id].update(event.payload)
                end.send(PayloadType.OUTPUT, self.mux.send(event.stream_id, event.payload))
            elif isinstance(event, Closed) and event.stream_id in self.hashes:
                digest = self.hashes[event.stream_id].digest()
                end.send(PayloadType.OUTPUT, self.mux.send(event.stream_id, digest) + self.mux.close(event.stream_id))

    def _opened(self, end: FarEnd, stream_id: int) -> None:
        if self.refuses:
            end.send(PayloadType.FLAG, flag_payload(PortFlag.CONNECT_TO_PORT_ERROR))
            end.send(PayloadType.OUTPUT, self.mux.close(stream_id))
            return
        self.hashes[stream_id] = hashlib.sha256()
        for _ in range(self.floods):
            end.send(PayloadType.OUTPUT, self.mux.send(stream_id, bytes(256 * 1024)))


def far_end(port: Port, **options: Any) -> FarEnd:
    """An agent that forwards to a port."""
    return FarEnd(port, session_type="Port", properties=FORWARDING, **options)


def play(end: FarEnd, script: Callable[[Address], Awaitable[None]], **options: Any) -> None:
    """Run a script beside a tunnel."""

    async def whole() -> None:
        async with fleet_of(end).tunnel(NODE, 5432, **options) as address:
            await script(address)

    with served(end):
        asyncio.run(asyncio.wait_for(whole(), 40))


async def echoed(address: Address, data: bytes) -> bytes:
    """What comes back for some data, until the other side ends too."""
    reader, writer = await asyncio.open_connection(*address)

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    _, back = await asyncio.gather(send(), reader.read(-1))
    writer.close()
    return back


def test_connections_side_by_side_stay_apart_and_intact() -> None:
    """The digest comes after this side has said all: the other half stays open."""
    payloads = [os.urandom(1_000_000 + number) for number in range(3)]

    async def script(address: Address) -> None:
        answers = await asyncio.gather(*(echoed(address, data) for data in payloads))
        assert [answer == data + hashlib.sha256(data).digest() for answer, data in zip(answers, payloads, strict=True)]

    port = Port()
    end = far_end(port)
    play(end, script, host="db.internal")
    (asked,) = end.called("StartSession")
    assert asked["DocumentName"] == "AWS-StartPortForwardingSessionToRemoteHost"
    assert asked["Parameters"] == {"portNumber": ["5432"], "localPortNumber": ["0"], "host": ["db.internal"]}
    assert port.flags == [flag_payload(PortFlag.TERMINATE_SESSION)]
    assert not end.called("TerminateSession")


def test_an_official_agent_serves_as_well() -> None:
    async def script(address: Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x" * 50_000)
        assert await reader.readexactly(50_000) == b"x" * 50_000
        writer.close()

    end = far_end(Port(), is_ours=False)
    play(end, script)
    (asked,) = end.called("StartSession")
    assert asked["DocumentName"] == "AWS-StartPortForwardingSession"


def test_connections_live_through_cuts() -> None:
    data = os.urandom(3_000_000)

    async def script(address: Address) -> None:
        async def cut() -> None:
            for number in range(1, 6):
                end.cut()
                while end.openings == number:
                    await asyncio.sleep(0.005)

        back, _ = await asyncio.gather(echoed(address, data), cut())
        assert back == data + hashlib.sha256(data).digest()

    end = far_end(Port())
    play(end, script)
    assert end.openings == 6


def test_a_slow_program_holds_the_node_back_and_gets_everything() -> None:
    size = 100 * 256 * 1024

    async def script(address: Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        await asyncio.sleep(0.5)
        taken = 0
        while taken < size:
            taken += len(await reader.read(1 << 20))
        assert taken == size
        writer.close()

    play(far_end(Port(floods=100)), script)


def test_a_program_that_is_gone_is_told_and_so_is_a_port_that_is() -> None:
    port = Port(floods=100)
    end = far_end(port)

    async def script(address: Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        await reader.readexactly(1)
        writer.transport.abort()  # with most of it unread
        while not port.resets:
            await asyncio.sleep(0.01)
        port.floods = 0
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x")
        await reader.readexactly(1)
        end.send(PayloadType.OUTPUT, port.mux.reset(5))
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        writer.close()

    play(end, script)


def test_a_port_that_cannot_be_reached_is_told_and_closes_the_connection() -> None:
    told: list[str] = []

    async def whole() -> None:
        tunnel = await fleet_of(end).forward(NODE, 5432, note=told.append)
        address = await tunnel.open("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read(-1) == b""
        writer.close()
        await tunnel.close()

    with served(far_end(Port(refuses=True))) as end:
        asyncio.run(asyncio.wait_for(whole(), 20))
    assert told == ["the node could not connect to the port"]


def test_the_end_of_the_session_ends_its_connections() -> None:
    async def whole() -> None:
        tunnel = await fleet_of(end).forward(NODE, 5432)
        address = await tunnel.open("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x")
        await reader.readexactly(1)
        end.end("Terminated by alice.")
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        writer.close()
        assert (await tunnel.wait()).reason == "Terminated by alice."
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)

    with served(far_end(Port())) as end:
        asyncio.run(asyncio.wait_for(whole(), 20))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"session_type": "Port", "properties": FORWARDING, "agent_version": "3.0.196.0"}, "too old"),
        ({"session_type": "Port", "properties": {"portNumber": "22"}}, "does not forward"),
        ({"session_type": "Standard_Stream"}, "does not forward"),
    ],
)
def test_what_cannot_be_a_tunnel_is_none(options: dict[str, Any], match: str) -> None:
    async def script(address: Address) -> None:
        raise AssertionError

    end = FarEnd(Port(), **options)
    with pytest.raises(SessionFailed, match=match):
        play(end, script)
    assert end.called("TerminateSession")


def test_a_port_that_is_taken_here_ends_the_session() -> None:
    async def script(address: Address) -> None:
        raise AssertionError

    port = Port()
    end = far_end(port)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ClientError, match="cannot listen"):
        play(end, script, local_port=taken.getsockname()[1])
    assert port.flags


def test_versions_of_agents_are_compared_as_numbers() -> None:
    assert version_of("3.10.0.0") > version_of("3.9.9999.0")
    assert version_of("unknown") < version_of("1.0")
