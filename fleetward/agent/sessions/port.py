"""A port of this node, or of a host that the node reaches (AP 14): connections that travel inside the session.

With `LocalPortForwarding` and a client that knows it the stream carries many connections (smux); else exactly one,
whose bytes are the stream's. Nothing is dropped and nothing piles up: a target that does not read holds the client, and
a client that does not read stops the targets.

One direction of a connection may end before the other. An official client ends both at once, so that a target that then
says nothing is let go after a while.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

from fleetward.agent.sessions.denied import Denied
from fleetward.agent.sessions.peer import Peer
from fleetward.protocol.data_channel import smux
from fleetward.protocol.data_channel.flags import PortFlag, flag_payload, read_flag
from fleetward.protocol.frame import PayloadType

log = logging.getLogger("fleetward.port")

DIAL_SECONDS = 15.0
MOST_UNREAD_BYTES = 1024 * 1024
"""What may wait for one target to read it; then the client is held."""
MOST_UNREAD_BYTES_OF_ALL = 16 * 1024 * 1024
LINGER_SECONDS = 60.0


class Unreachable(Exception):
    """There is no connection to the target; one sentence."""


class Target:
    """Where connections of a session go: looked up and judged anew for each of them."""

    def __init__(self, host: str, port: int, denied: Denied) -> None:
        self._host = host or "localhost"
        self._port = port
        self._denied = denied

    async def connect(self, factory: Callable[[], Connection]) -> Connection:
        """A connection to the first address that takes one; Unreachable without.

        What is dialled are the addresses that were judged, not the name once more.
        """
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                return await self._connect(factory, await self._addresses())
        except TimeoutError:
            raise Unreachable(f"{self._host}:{self._port} did not answer in {DIAL_SECONDS:.0f} s") from None

    async def _addresses(self) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"{self._host} is not known to this node: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if any(address in self._denied for address in addresses):
            raise Unreachable(f"{self._host} may not be reached through sessions")
        return addresses

    async def _connect(self, factory: Callable[[], Connection], addresses: list[str]) -> Connection:
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        for address in addresses:
            try:
                _, connection = await loop.create_connection(factory, address, self._port)
            except OSError as error:
                failure = error
            else:
                return connection
        raise Unreachable(f"{self._host}:{self._port} cannot be reached: {failure}")


class Connection(asyncio.Protocol):
    """One connection to the target; what is to be written before it is there waits."""

    def __init__(
        self,
        on_data: Callable[[Connection, bytes], None],
        on_end: Callable[[Connection, bool], None],
        on_written: Callable[[], None],
    ) -> None:
        self._on_data = on_data
        self._on_end = on_end
        self._on_written = on_written
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._has_input_ended = self._is_paused = self._is_dropped = False
        self.stream_id = 0
        self.lingering: asyncio.TimerHandle | None = None
        self.dialling: asyncio.Task[None] | None = None

    @property
    def unread(self) -> int:
        """Bytes that the target has not taken yet."""
        return self._early_bytes if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Give it to the target."""
        if self._transport is None:
            self._early.append(data)
            self._early_bytes += len(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def end_input(self) -> None:
        """The client sends no more."""
        self._has_input_ended = True
        if self._transport is not None and not self._transport.is_closing():
            try:
                self._transport.write_eof()
            except OSError:
                pass

    def pause(self) -> None:
        """Read no more for now."""
        self._is_paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._is_paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close it once everything is written."""
        self._is_dropped = True
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """Close it at once."""
        self._is_dropped = True
        if self.lingering is not None:
            self.lingering.cancel()
        if self.dialling is not None and not self.dialling.done():
            self.dialling.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there: write what waited."""
        self._transport = cast("asyncio.Transport", transport)
        if self._is_dropped:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=MOST_UNREAD_BYTES // 2, low=MOST_UNREAD_BYTES // 8)
        for data in self._early:
            self._transport.write(data)
        self._early.clear()
        self._early_bytes = 0
        if self._has_input_ended:
            self.end_input()
        if self._is_paused:
            self._transport.pause_reading()
        self._on_written()

    def data_received(self, data: bytes) -> None:
        """The target said something."""
        self._on_data(self, data)

    def eof_received(self) -> bool:
        """The target says no more, but may still read."""
        self._on_end(self, False)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self.lingering is not None:
            self.lingering.cancel()
        self._on_end(self, True)
        self._on_written()

    def resume_writing(self) -> None:
        """The target has read most of what waited."""
        self._on_written()


class Port:
    """What both kinds share: the connections, and the balance between client and targets."""

    def __init__(self, target: Target, peer: Peer) -> None:
        self._target = target
        self._peer = peer
        self._connections: set[Connection] = set()
        self._is_held = self._is_full = False
        self._over = asyncio.Event()
        self.connected = 0
        """How many connections there have been."""

    async def run(self) -> None:
        """Wait for the client to end it, or for the only connection to end."""
        await self._over.wait()

    async def end(self) -> None:
        """Drop every connection."""
        for connection in list(self._connections):
            connection.drop()
        self._connections.clear()

    def receive(self, payload_type: int, payload: bytes) -> None:
        """Data, or a flag; what is broken raises RemoteProtocolError."""
        if payload_type == PayloadType.OUTPUT:
            self._receive_data(payload)
            self._balance()
        elif payload_type == PayloadType.FLAG:
            flag = read_flag(payload)
            if flag is PortFlag.TERMINATE_SESSION:
                self._over.set()
            elif flag is PortFlag.DISCONNECT_TO_PORT:
                self._disconnect()

    def on_room(self) -> None:
        """The client reads on, so the targets are read on."""
        if self._is_full:
            self._is_full = False
            for connection in self._connections:
                connection.resume()

    def _receive_data(self, payload: bytes) -> None:
        raise NotImplementedError

    def _disconnect(self) -> None:
        raise NotImplementedError

    def _dial(self, connection: Connection, on_failure: Callable[[Connection], None]) -> None:
        self._connections.add(connection)
        if self._is_full:
            connection.pause()
        connection.dialling = asyncio.create_task(self._dialled(connection, on_failure))

    async def _dialled(self, connection: Connection, on_failure: Callable[[Connection], None]) -> None:
        try:
            await self._target.connect(lambda: connection)
            self.connected += 1
        except Unreachable as fault:
            log.info("%s", fault)
            self._connections.discard(connection)
            self._peer.send(PayloadType.FLAG, flag_payload(PortFlag.CONNECT_TO_PORT_ERROR))
            on_failure(connection)
            self._balance()

    def _send(self, data: bytes) -> None:
        if data:
            self._peer.send(PayloadType.OUTPUT, data)
        if not self._peer.has_room and not self._is_full:
            self._is_full = True
            for connection in self._connections:
                connection.pause()

    def _balance(self) -> None:
        """Hold the client while one target or all have much to read, and let it go when most of it is read."""
        unread = [connection.unread for connection in self._connections]
        share = max(max(unread, default=0) / MOST_UNREAD_BYTES, sum(unread) / MOST_UNREAD_BYTES_OF_ALL)
        if not self._is_held and share > 1:
            self._is_held = True
            self._peer.hold()
        elif self._is_held and share < 0.5:
            self._is_held = False
            self._peer.release()


class ManyConnections(Port):
    """Connections that the client opens, each a stream of smux."""

    def __init__(self, target: Target, peer: Peer) -> None:
        super().__init__(target, peer)
        self._mux = smux.Mux(is_client=False)
        self._by_id: dict[int, Connection] = {}

    def _receive_data(self, payload: bytes) -> None:
        for event in self._mux.receive(payload):
            if isinstance(event, smux.Opened):
                self._open(event.stream_id)
                continue
            connection = self._by_id.get(event.stream_id)
            if isinstance(event, smux.Data):
                if connection is not None:
                    connection.write(event.payload)
            elif connection is None:
                self._send(self._mux.close(event.stream_id))
            else:
                self._end_input(connection)

    def _open(self, stream_id: int) -> None:
        connection = Connection(self._received, self._ended, self._balance)
        connection.stream_id = stream_id
        self._by_id[stream_id] = connection
        self._dial(connection, self._forget)

    def _end_input(self, connection: Connection) -> None:
        connection.end_input()
        self._let_linger(connection)

    def _let_linger(self, connection: Connection) -> None:
        if connection.lingering is not None:
            connection.lingering.cancel()
        connection.lingering = asyncio.get_running_loop().call_later(LINGER_SECONDS, connection.drop)

    def _received(self, connection: Connection, data: bytes) -> None:
        if connection.stream_id in self._by_id:
            self._send(self._mux.send(connection.stream_id, data))
            if connection.lingering is not None:
                self._let_linger(connection)

    def _ended(self, connection: Connection, is_lost: bool) -> None:
        """The target says no more; the stream is done when it is gone altogether."""
        if is_lost:
            self._forget(connection)
        elif connection.stream_id in self._by_id:
            self._send(self._mux.close(connection.stream_id))
            if connection.lingering is not None:  # neither side has more to say
                connection.close()

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._by_id.pop(connection.stream_id, None) is not None:
            self._send(self._mux.close(connection.stream_id))

    def _disconnect(self) -> None:
        """Streams end by themselves here."""


class OneConnection(Port):
    """The bytes of one connection. A listening client may drop it and begin another with its next bytes."""

    def __init__(self, target: Target, peer: Peer, *, is_listening: bool) -> None:
        super().__init__(target, peer)
        self._is_listening = is_listening
        self._connection: Connection | None = None

    async def run(self) -> None:
        """Connect at once where the far end may be the first to speak, as with SSH."""
        if not self._is_listening:
            self._connect()
        await super().run()

    def _connect(self) -> Connection:
        self._connection = Connection(self._received, self._ended, self._balance)
        self._dial(self._connection, self._failed)
        return self._connection

    def _receive_data(self, payload: bytes) -> None:
        connection = self._connection or self._connect()
        connection.write(payload)

    def _received(self, connection: Connection, data: bytes) -> None:
        if connection is self._connection:
            self._send(data)

    def _ended(self, connection: Connection, is_lost: bool) -> None:
        self._connections.discard(connection)
        if connection is not self._connection:
            return
        self._connection = None
        connection.close()
        if not self._is_listening:
            self._over.set()

    def _failed(self, connection: Connection) -> None:
        self._connection = None
        if not self._is_listening:
            self._over.set()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._connections.discard(connection)
            connection.drop()


def knows_many(client_version: str) -> bool:
    """Whether a client of this version can have many connections in one stream (AP 13.2)."""
    try:
        return tuple(int(part) for part in client_version.split(".")) >= (1, 1, 70)
    except ValueError:
        return False
