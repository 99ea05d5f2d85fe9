"""Session load: what goes through pairs of session ends: keys and their echoes, official pace, as much as fits.

The frames have the sizes of real ones and are made once: a server that forwards does not look into them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
import uuid
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from fleetward.protocol.frame import Flag, Frame, PayloadType, encode

KIB = 1024
ACKNOWLEDGE_LEAST, ACKNOWLEDGE_MOST = 200, 600
"""Sizes between which a message is an acknowledgement, and neither a key nor a frame of data."""
WINDOW_FRAMES = 1000
TICK_SECONDS = 0.001
CHUNK_BYTES = 64 * KIB
JOIN_SECONDS = 30.0
SETTLE_SECONDS = 20.0


def data_frame(message_type: str, payload: bytes, number: int = 0) -> bytes:
    """One message of a stream."""
    return encode(Frame(message_type, payload, uuid.uuid4(), _now_ms(), number, payload_type=PayloadType.OUTPUT))


def acknowledgement(message_type: str) -> bytes:
    """One message that acknowledges one of those."""
    body = {
        "AcknowledgedMessageType": message_type,
        "AcknowledgedMessageId": str(uuid.uuid4()),
        "AcknowledgedMessageSequenceNumber": 12345,
        "IsSequentialMessage": True,
    }
    flags = Flag.SYN | Flag.FIN
    return encode(Frame("acknowledge", json.dumps(body).encode(), uuid.uuid4(), _now_ms(), flags=flags))


def masked(message: bytes) -> bytes:
    """A message as the bytes of a client's WebSocket frame, with a mask that changes nothing."""
    size = len(message)
    if size < 126:
        return bytes((0x82, 0x80 | size)) + bytes(4) + message
    if size < 65536:
        return b"\x82\xfe" + size.to_bytes(2, "big") + bytes(4) + message
    return b"\x82\xff" + size.to_bytes(8, "big") + bytes(4) + message


class End(WSListener):
    """One end of a session: counts what it is sent."""

    def __init__(self, opening: str | None, *, is_node: bool) -> None:
        self._opening = opening
        self._transport: WSTransport | None = None
        own, other = ("output_stream_data", "input_stream_data")
        if not is_node:
            own, other = other, own
        self.own_type = own
        self.acknowledge = masked(acknowledgement(other))
        self.frame = masked(data_frame(own, bytes(KIB)))
        self.received = 0
        self.received_bytes = 0
        self.acknowledged = 0
        self.sent = 0
        self.owed = 0
        self.is_writable = asyncio.Event()
        self.is_writable.set()
        self.heard = asyncio.Event()
        self.on_small: Any = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Say who this is."""
        self._transport = transport
        if self._opening is not None:
            transport.send(WSMsgType.TEXT, self._opening.encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count a message by its size."""
        size = frame.payload_size
        if size > ACKNOWLEDGE_MOST:
            self.received += 1
            self.received_bytes += size
            self.owed += 1
        elif size > ACKNOWLEDGE_LEAST:
            self.acknowledged += 1
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == WSMsgType.BINARY:
            self.heard.set()
            if self.on_small is not None:
                self.on_small(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The server let go of it."""
        self._transport = None

    def pause_writing(self) -> None:
        """The server takes less than it is sent."""
        self.is_writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self.is_writable.set()

    def write(self, data: bytes) -> None:
        """Bytes of one or more WebSocket frames."""
        if self._transport is None:
            raise ConnectionError("an end of a session was closed by the server")
        self._transport.underlying_transport.write(data)

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()


class Pair:
    """Both ends of one session."""

    def __init__(self, client: End, node: End) -> None:
        self.client = client
        self.node = node

    async def until_joined(self) -> None:
        """Until what one sends reaches the other, both ways."""
        for one, other in ((self.client, self.node), (self.node, self.client)):
            other.heard.clear()
            echoed = masked(data_frame(one.own_type, b"j" * 10))
            async with asyncio.timeout(JOIN_SECONDS):
                one.write(echoed)
                await other.heard.wait()

    def close(self) -> None:
        """Both leave."""
        self.client.close()
        self.node.close()


async def echo(pairs: list[Pair], seconds: float, every: float) -> dict[str, float]:
    """In each pair a key every so many seconds; the node sends it back; both acknowledge. Milliseconds."""
    loop = asyncio.get_running_loop()
    taken: list[float] = []

    async def type_keys(pair: Pair, pause: float) -> None:
        client, node = pair.client, pair.node
        key, shown = (masked(data_frame(end.own_type, b"k")) for end in (client, node))
        typed_at = 0.0
        back = asyncio.Event()

        def at_node(_: WSFrame) -> None:
            node.write(node.acknowledge + shown)

        def at_client(_: WSFrame) -> None:
            taken.append((time.perf_counter() - typed_at) * 1000)
            client.write(client.acknowledge)
            back.set()

        node.on_small, client.on_small = at_node, at_client
        await asyncio.sleep(pause)
        until = loop.time() + seconds
        while loop.time() < until:
            back.clear()
            typed_at = time.perf_counter()
            client.write(key)
            await asyncio.wait_for(back.wait(), 10)
            await asyncio.sleep(every)
        node.on_small = client.on_small = None

    await asyncio.gather(*(type_keys(pair, number * every / len(pairs)) for number, pair in enumerate(pairs)))
    taken.sort()
    return {"count": len(taken), "p50": taken[len(taken) // 2], "p99": taken[int(len(taken) * 0.99)]}


async def paced(pairs: list[Pair], seconds: float, *, both: bool) -> dict[str, float]:
    """A frame of 1 KiB every millisecond from each end (or each node's only), acknowledged one by one.

    As official ends no end has more than a thousand frames unacknowledged. What this process was late for is sent
    when it comes to it. `share` is what arrived of what ought to have.
    """
    sources = [pair.node for pair in pairs] + ([pair.client for pair in pairs] if both else [])
    ends = [end for pair in pairs for end in (pair.client, pair.node)]
    for end in ends:
        end.received = end.received_bytes = end.acknowledged = end.sent = end.owed = 0
    started = time.perf_counter()
    while (now := time.perf_counter()) - started < seconds:
        due = int((now - started) / TICK_SECONDS)
        for end in sources:
            frames = min(due - end.sent, WINDOW_FRAMES - end.sent + end.acknowledged)
            end.sent += frames
            owed, end.owed = end.owed, 0
            if frames or owed:
                end.write(end.acknowledge * owed + end.frame * frames)
        for end in ends if not both else ():
            if end.owed:
                owed, end.owed = end.owed, 0
                end.write(end.acknowledge * owed)
        await asyncio.sleep(max(0.0, now + TICK_SECONDS - time.perf_counter()))
    taken = time.perf_counter() - started
    arrived = sum(end.received for end in ends)
    await _settle(ends)
    return {
        "seconds": taken,
        "bytes": arrived * KIB,
        "share": arrived / (taken / TICK_SECONDS * len(sources)),
    }


async def _settle(ends: list[End]) -> None:
    """Let what is under way arrive, so that nobody else pays for it."""
    until = time.perf_counter() + SETTLE_SECONDS
    while sum(end.sent for end in ends) > sum(end.received for end in ends) and time.perf_counter() < until:
        await asyncio.sleep(0.05)


async def flood(pair: Pair, seconds: float, size: int) -> float:
    """Bytes of payload a second, of frames of one size from the node to the client, written in pieces of 64 KiB."""
    one = masked(data_frame(pair.node.own_type, bytes(size)))
    piece = one * max(1, CHUNK_BYTES // len(one))
    client, node = pair.client, pair.node
    client.received = client.received_bytes = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        node.write(piece)
        await asyncio.sleep(0)
        await node.is_writable.wait()
    frames = client.received
    return frames * size / (time.perf_counter() - started)


class Source(asyncio.Protocol):
    """Writes pieces for as long as they are taken."""

    def __init__(self) -> None:
        self.is_writable = asyncio.Event()
        self.is_writable.set()

    def pause_writing(self) -> None:
        """Wait."""
        self.is_writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self.is_writable.set()


class Sink(asyncio.BufferedProtocol):
    """Counts bytes."""

    def __init__(self, counted: list[int]) -> None:
        self._counted = counted
        self._buffer = bytearray(2 * CHUNK_BYTES)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where they go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many came."""
        self._counted[0] += nbytes


async def flood_raw(
    into: int, out_of: int, contexts: tuple[ssl.SSLContext, ssl.SSLContext], seconds: float, size: int
) -> float:
    """What `flood` measures, through a relay between two TLS connections: the same bytes in the same pieces."""
    loop = asyncio.get_running_loop()
    counted = [0]
    one = masked(data_frame("output_stream_data", bytes(size)))
    piece = one * max(1, CHUNK_BYTES // len(one))
    server = await loop.create_server(lambda: Sink(counted), "127.0.0.1", out_of, ssl=contexts[1])
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.close)
        transport, source = await loop.create_connection(Source, "127.0.0.1", into, ssl=contexts[0])
        stack.callback(transport.abort)
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            transport.write(piece)
            await asyncio.sleep(0)
            await source.is_writable.wait()
        taken = time.perf_counter() - started
    return counted[0] * size / len(one) / taken


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
