"""A local port that leads, through a session, to a port of a node or of a host that the node can reach.

Each local connection is a stream of its own in the session (smux). A slow one holds the session back once 1 MiB waits
for it, as the protocol has no window for a single stream.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from fleetward.client.api import Api
from fleetward.client.channel import Channel, Ending, Sink, Started, Timing
from fleetward.client.errors import ClientError
from fleetward.client.outage import Outage
from fleetward.protocol.data_channel import smux
from fleetward.protocol.data_channel.flags import PortFlag, read_flag
from fleetward.protocol.data_channel.handshake import Completed
from fleetward.protocol.data_channel.smux import Mux
from fleetward.protocol.errors import ProtocolError
from fleetward.protocol.frame import PayloadType

WAITING_BYTES = 1024 * 1024
"""What may wait for a slow local program before the session is held back."""
OLDEST_AGENT = (3, 1, 1511, 0)
"""Agents up to this version want keep-alives inside the stream, or carry one connection only."""

Note = Callable[[str], None]


class Address(NamedTuple):
    """Where a tunnel listens; fit for `socket.create_connection`."""

    host: str
    port: int


class Tunnel(Sink):
    """One forward: a session and the local port that leads into it."""

    def __init__(self, api: Api, started: Started, timing: Timing, note: Note = lambda text: None) -> None:
        self._channel = Channel(api, started, self, timing)
        self._note = note
        self._outage = Outage(lambda: note("the connection is lost, trying again"), lambda: note("connected again"))
        self._mux = Mux(is_client=True)
        self._connections: dict[int, Connection] = {}
        self._slow: set[Connection] = set()
        self._waiting: list[Connection] = []
        self._listening: asyncio.Server | None = None
        self.keeps_halves_open = False
        """Whether the agent goes on sending after the local program has said all: ours does."""

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._channel.started.session_id

    async def open(self, bind: str, local_port: int) -> Address:
        """Wait for the node, then listen; port 0 takes a free one.

        SessionFailed when the node does not come, ClientError when the port cannot be had.
        """
        await self._channel.open()
        loop = asyncio.get_running_loop()
        try:
            self._listening = await loop.create_server(lambda: Connection(self), bind, local_port, backlog=1024)
        except OSError as fault:
            await self.close()
            raise ClientError(f"cannot listen on {bind}:{local_port}: {fault.strerror or fault}") from fault
        host, port = self._listening.sockets[0].getsockname()[:2]
        return Address(host, port)

    async def wait(self) -> Ending:
        """Wait until the session has ended."""
        return await self._channel.wait()

    async def close(self) -> None:
        """End the session and all that is connected."""
        await self._channel.leave()

    # -- what local connections tell ---------------------------------------------------------------------------------

    def connected(self, connection: Connection) -> int:
        """A program connected: the stream that is its own; ProtocolError when there are too many."""
        stream_id, said = self._mux.open()
        self._connections[stream_id] = connection
        self._channel.send(PayloadType.OUTPUT, said)
        return stream_id

    def forward(self, connection: Connection, data: bytes) -> bool:
        """Send what the program sent; False when it is to wait until `Connection.go_on`."""
        self._channel.send(PayloadType.OUTPUT, self._mux.send(connection.stream_id, data))
        if self._channel.has_room:
            return True
        self._waiting.append(connection)
        return False

    def finish(self, connection: Connection) -> None:
        """The program sends no more."""
        said = self._mux.close(connection.stream_id)
        if said:
            self._channel.send(PayloadType.OUTPUT, said)

    def gone(self, connection: Connection) -> None:
        """The program's connection is closed both ways, whether all was sent and read or not."""
        self._connections.pop(connection.stream_id, None)
        said = self._mux.reset(connection.stream_id)
        if said:
            self._channel.send(PayloadType.OUTPUT, said)
        self.caught_up(connection)

    def slow(self, connection: Connection) -> None:
        """The program does not read as fast as the node sends."""
        self._slow.add(connection)
        self._channel.hold()

    def caught_up(self, connection: Connection) -> None:
        """It has read."""
        if connection in self._slow:
            self._slow.discard(connection)
            if not self._slow:
                self._channel.release()

    # -- what the session tells --------------------------------------------------------------------------------------

    def opened(self, session: Completed) -> None:
        """Of Sink: whether this is a session that forwards, and how its agent does."""
        properties = session.properties if isinstance(session.properties, dict) else {}
        if session.session_type != "Port" or properties.get("type") != "LocalPortForwarding":
            self._channel.abandon("the document does not forward a local port")
        elif version_of(session.agent_version) <= OLDEST_AGENT:
            said = f"the node's agent {session.agent_version} is too old for tunnels: it needs to be above 3.1.1511.0"
            self._channel.abandon(said)
        self.keeps_halves_open = session.terms is not None

    def received(self, payload_type: int, payload: bytes) -> None:
        """Of Sink."""
        if payload_type == PayloadType.FLAG:
            if read_flag(payload) is PortFlag.CONNECT_TO_PORT_ERROR:
                self._note("the node could not connect to the port")
        elif payload_type == PayloadType.OUTPUT:
            for event in self._mux.receive(payload):
                if (connection := self._connections.get(event.stream_id)) is not None:
                    self._tell(connection, event)

    def _tell(self, connection: Connection, event: smux.MuxEvent) -> None:
        if isinstance(event, smux.Data):
            connection.write(event.payload)
        elif isinstance(event, smux.Reset):
            connection.abort()
        elif isinstance(event, smux.Closed):
            connection.end_soon()

    def away(self) -> None:
        """Of Sink."""
        self._outage.begin()

    def back(self) -> None:
        """Of Sink."""
        self._outage.end()

    def room(self) -> None:
        """Of Sink."""
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.go_on()

    def ended(self, ending: Ending) -> None:
        """Of Sink: whoever is connected is cut off, as nothing will come any more."""
        self._outage.forget()
        if self._listening is not None:
            self._listening.close()
        for connection in [*self._connections.values()]:
            connection.abort()


class Connection(asyncio.Protocol):
    """One program's connection to the local port."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._is_ended_here = False
        self._is_ended_there = False
        self.stream_id = 0

    def connection_made(self, transport: Any) -> None:
        """Of asyncio."""
        self._transport: asyncio.Transport = transport
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WAITING_BYTES, low=WAITING_BYTES // 4)
        try:
            self.stream_id = self._tunnel.connected(self)
        except ProtocolError:  # as many as there may be
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Of asyncio."""
        if self.stream_id and not self._tunnel.forward(self, data):
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Of asyncio; True keeps the other direction open."""
        self._is_ended_here = True
        self._tunnel.finish(self)
        return not self._is_ended_there

    def connection_lost(self, error: Exception | None) -> None:
        """Of asyncio."""
        self._tunnel.gone(self)

    def pause_writing(self) -> None:
        """Of asyncio."""
        self._tunnel.slow(self)

    def resume_writing(self) -> None:
        """Of asyncio."""
        self._tunnel.caught_up(self)

    def write(self, data: bytes) -> None:
        """What the node's side sent."""
        self._transport.write(data)

    def end_soon(self) -> None:
        """The node's side sends no more. That it was reset may come right behind it, and is another end."""
        self._is_ended_there = True
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        """End as the node's side did; of an official agent it does not listen any more either."""
        if self._transport.is_closing():
            return
        if self._tunnel.keeps_halves_open and not self._is_ended_here:
            self._transport.write_eof()
        else:
            self._transport.close()

    def go_on(self) -> None:
        """There is room again."""
        self._transport.resume_reading()

    def abort(self) -> None:
        """Cut it off, and let the program see that: a reset, as an ordinary end would say that it has all there is."""
        connected: socket.socket = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def version_of(text: str) -> tuple[int, ...]:
    """An agent's version as numbers; nothing for text that is none."""
    parts = text.split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdigit() for part in parts) else ()
