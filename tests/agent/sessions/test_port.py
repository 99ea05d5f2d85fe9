"""Ports through a session: many connections, one connection, what is denied, who is slow, and cuts in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetward.agent.sessions.denied import FILE_NAME
from fleetward.agent.sessions.port import knows_many
from fleetward.protocol.data_channel import smux
from fleetward.protocol.data_channel.flags import PortFlag, read_flag
from fleetward.protocol.data_channel.handshake import OUR_TERMS, Terms
from fleetward.protocol.frame import PayloadType
from tests.agent.sessions.far_end import FarEnd, content, port, with_session

ENDS = pytest.mark.parametrize("terms", [OUR_TERMS, None], ids=["ours", "official"])


@contextlib.asynccontextmanager
async def service(kind: str = "echo") -> AsyncIterator[int]:
    """A service on a port: `echo`, `greeting` (speaks first), `hash` (answers once all has come), `deaf`."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            if kind == "greeting":
                writer.write(b"SSH-2.0-here\r\n")
            hashed = hashlib.sha256()
            if kind == "deaf":
                await asyncio.sleep(60)
            while data := await reader.read(65536):
                hashed.update(data)
                if kind in ("echo", "greeting"):
                    writer.write(data)
                    await writer.drain()
            if kind == "hash":
                writer.write(hashed.hexdigest().encode())
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


class Tunnel:
    """The client's half of many connections."""

    def __init__(self, far: FarEnd) -> None:
        self._far = far
        self._mux = smux.Mux(is_client=True)
        self._read = 0
        self.received: dict[int, bytearray] = {}
        self.closed: set[int] = set()

    def open(self) -> int:
        """A new connection."""
        stream_id, data = self._mux.open()
        self.received[stream_id] = bytearray()
        self._far.type(data)
        return stream_id

    async def send(self, stream_id: int, data: bytes) -> None:
        """Send on a connection."""
        for start in range(0, len(data), 30_000):
            await self._far.send_all(self._mux.send(stream_id, data[start : start + 30_000]))

    def close(self, stream_id: int) -> None:
        """Send no more on it."""
        self._far.type(self._mux.close(stream_id))

    def look(self) -> bool:
        """Take what came; True."""
        for event in self._mux.receive(bytes(self._far.printed[self._read :])):
            if isinstance(event, smux.Data):
                self.received[event.stream_id] += event.payload
            elif isinstance(event, smux.Closed):
                self.closed.add(event.stream_id)
        self._read = len(self._far.printed)
        return True


@ENDS
def test_three_connections_carry_five_megabytes_at_once(tmp_path: Path, terms: Terms | None) -> None:
    size = 5_000_000 if terms else 300_000
    wanted = [os.urandom(size), os.urandom(size // 2), os.urandom(1000)]

    async def scenario() -> None:
        async with service() as number:
            far = FarEnd(tmp_path, terms)
            async with asyncio.timeout(60), far.session(content(port(number))):
                completed = await far.begun()
                assert completed.properties == port(number)["properties"]
                tunnel = Tunnel(far)
                streams = [tunnel.open() for _ in wanted]
                sending = [tunnel.send(stream, data) for stream, data in zip(streams, wanted, strict=True)]
                await asyncio.gather(*sending)
                for stream in streams:
                    tunnel.close(stream)
                await far.until(lambda: tunnel.look() and tunnel.closed == set(streams), 60)
                assert [bytes(tunnel.received[stream]) for stream in streams] == wanted
                far.flag(PortFlag.TERMINATE_SESSION)
                assert (await far.ended())["status"] == "Success"

    asyncio.run(scenario())


def test_one_direction_may_end_before_the_other(tmp_path: Path) -> None:
    data = os.urandom(2_000_000)

    async def scenario() -> None:
        async with service("hash") as number:
            far = FarEnd(tmp_path)
            async with asyncio.timeout(60), far.session(content(port(number))):
                await far.begun()
                tunnel = Tunnel(far)
                stream = tunnel.open()
                await tunnel.send(stream, data)
                tunnel.close(stream)
                await far.until(lambda: tunnel.look() and stream in tunnel.closed)
                assert tunnel.received[stream].decode() == hashlib.sha256(data).hexdigest()

    asyncio.run(scenario())


@ENDS
def test_cuts_in_the_middle_lose_no_byte(tmp_path: Path, terms: Terms | None) -> None:
    data = os.urandom(8_000_000 if terms else 400_000)

    async def scenario() -> None:
        async with service() as number:
            far = FarEnd(tmp_path, terms)
            async with asyncio.timeout(60), far.session(content(port(number))):
                await far.begun()
                tunnel = Tunnel(far)
                stream = tunnel.open()
                sending = asyncio.create_task(tunnel.send(stream, data))
                for part in range(1, 8):
                    done = len(data) * part // 9
                    await far.until(lambda done=done: tunnel.look() and len(tunnel.received[stream]) > done)  # type: ignore[misc]
                    far.cut()
                    await far.until(lambda part=part: far.connections > part)  # type: ignore[misc]
                await sending
                await far.until(lambda: tunnel.look() and len(tunnel.received[stream]) == len(data), 60)
                assert bytes(tunnel.received[stream]) == data
                assert far.connections == 8
                far.flag(PortFlag.TERMINATE_SESSION)
                await far.ended()

    asyncio.run(scenario())


def test_a_target_that_does_not_read_holds_the_client_and_goes_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with service("deaf") as number:
            far = FarEnd(tmp_path)
            async with asyncio.timeout(60), far.session(content(port(number))):
                await far.begun()
                tunnel = Tunnel(far)
                stream = tunnel.open()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(3):
                        await tunnel.send(stream, os.urandom(100_000_000))
                assert far.process is not None
                assert resident_bytes(far) < 120_000_000
                far.process.close()
                assert (await far.ended())["status"] == "Success"

    asyncio.run(scenario())


def test_a_client_that_does_not_read_stops_the_targets(tmp_path: Path) -> None:
    async def scenario() -> None:
        sent = 0

        async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            with contextlib.suppress(OSError):
                while True:
                    writer.write(bytes(65536))
                    await writer.drain()
                    sent += 65536

        server = await asyncio.start_server(pour, "127.0.0.1", 0)
        far = FarEnd(tmp_path)
        async with asyncio.timeout(60), far.session(content(port(server.sockets[0].getsockname()[1]))):
            await far.begun()
            Tunnel(far).open()
            await far.until(lambda: far.printed)
            far.stop_reading()
            before = -1
            while before != sent:
                before = sent
                for _ in range(25):
                    await far.turn()
            assert sent < 100_000_000
            assert resident_bytes(far) < 120_000_000
        server.close()

    asyncio.run(scenario())


def resident_bytes(far: FarEnd) -> int:
    """The memory of the session's process."""
    assert far.process is not None
    assert far.process.pid is not None
    return int(Path(f"/proc/{far.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_closed_port_is_told_and_the_session_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with service() as number:
            pass
        far = FarEnd(tmp_path)
        async with asyncio.timeout(60), far.session(content(port(number))):
            await far.begun()
            tunnel = Tunnel(far)
            streams = {tunnel.open(), tunnel.open()}
            await far.until(lambda: tunnel.look() and tunnel.closed == streams)
            flags = [read_flag(payload) for payload in far.payloads(PayloadType.FLAG)]
            assert flags == [PortFlag.CONNECT_TO_PORT_ERROR] * 2
            assert far.result is not None
            assert not far.result.done()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "fd00:ec2::254", "0xa9fea9fe", "::ffff:169.254.169.253", "10.9.8.7"]
)
def test_denied_addresses_are_not_reached(tmp_path: Path, host: str) -> None:
    async def work(far: FarEnd) -> None:
        (far.state.root / FILE_NAME).write_text("# more\n10.9.0.0/16  # ours\n")
        await far.begun()
        tunnel = Tunnel(far)
        stream = tunnel.open()
        await far.until(lambda: tunnel.look() and stream in tunnel.closed, 5)
        assert far.payloads(PayloadType.FLAG)

    folder = tmp_path / "state"
    folder.mkdir()
    (folder / FILE_NAME).write_text("# more\n10.9.0.0/16  # ours\n")
    with_session(tmp_path, content(port(80, host)), work)


def test_one_connection_carries_bytes_as_they_are_and_ends_the_session(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with service("greeting") as number:
            far = FarEnd(tmp_path, None)
            async with asyncio.timeout(60), far.session(content(port(number, forwarding=False))):
                await far.expect(b"SSH-2.0-here\r\n")
                far.type(b"hello")
                await far.expect(b"hello")
                far.flag(PortFlag.TERMINATE_SESSION)
                assert (await far.ended())["status"] == "Success"

    asyncio.run(scenario())


def test_the_far_end_of_one_connection_ends_the_session_once_all_is_said(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)

    async def scenario() -> None:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(data)
            writer.close()

        server = await asyncio.start_server(say, "127.0.0.1", 0)
        far = FarEnd(tmp_path)
        async with asyncio.timeout(60):
            async with far.session(content(port(server.sockets[0].getsockname()[1], forwarding=False))):
                assert (await far.ended())["status"] == "Success"
        assert far.printed == data
        server.close()

    asyncio.run(scenario())


def test_versions_that_know_many_connections() -> None:
    assert knows_many("1.1.70.0")
    assert knows_many("1.2.0.0")
    assert not knows_many("1.1.61.0")
    assert not knows_many("new")
