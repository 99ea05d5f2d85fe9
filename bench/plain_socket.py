"""Plain socket: the program that fan-out is compared with.

Server and clients in a process each, on the same loop, WebSocket library and TLS as the real ones; they exchange the
same number and sizes of messages and do nothing else: job, acknowledgement, two replies, their acknowledgements.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
import sys
import time
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server

from bench.limits import raise_limits

FIRST_ADDRESS = int(ipaddress.IPv4Address("127.3.0.1"))


class Peer(WSListener):
    """The server's end of one connection."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def on_ws_connected(self, transport: WSTransport) -> None:
        """A client is there."""
        self.transport = transport
        self.exchange.peers.append(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A reply is acknowledged; the acknowledgement of a job is not."""
        message = frame.get_payload_as_bytes()
        if message[:1] == b"r":
            transport.send(WSMsgType.BINARY, self.exchange.reply_ack)
            self.exchange.replied()


class Exchange:
    """One server and the messages it sends."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.peers: list[Peer] = []
        self.job = b"j" * sizes["job"]
        self.reply_ack = b"a" * sizes["reply_ack"]
        self.expected = 0
        self.done = asyncio.Event()

    def replied(self) -> None:
        """Count a reply."""
        self.expected -= 1
        if self.expected == 0:
            self.done.set()

    async def run(self, number: int) -> float:
        """Send a job to `number` clients; seconds until all have replied twice."""
        self.expected = number * 2
        self.done.clear()
        started = time.perf_counter()
        for peer in self.peers[:number]:
            peer.transport.send(WSMsgType.BINARY, self.job)
        await asyncio.wait_for(self.done.wait(), 120)
        return time.perf_counter() - started


class Client(WSListener):
    """A client: answers a job with an acknowledgement and two replies."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.messages = [b"k" * sizes["job_ack"], b"r" * sizes["begun"], b"r" * sizes["ended"]]

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A job, or the acknowledgement of a reply."""
        if frame.get_payload_as_bytes()[:1] == b"j":
            for message in self.messages:
                transport.send(WSMsgType.BINARY, message)


async def _lines() -> Any:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


async def serve(config: dict[str, Any]) -> None:
    """The server: each line of input is a number of clients to send a job to; answers with the seconds."""
    exchange = Exchange(config["sizes"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["certificate"], config["key"])

    def accept(_: WSUpgradeRequest) -> WSListener:
        return Peer(exchange)

    server = await ws_create_server(
        accept, "127.0.0.1", config["port"], ssl=context, backlog=4096, websocket_handshake_timeout=60
    )
    async with server:
        async for line in _lines():
            print(json.dumps(len(exchange.peers) if line == "count" else await exchange.run(int(line))), flush=True)


async def connect(config: dict[str, Any]) -> None:
    """The clients: says how many there are, then answers until input ends."""
    context = ssl.create_default_context(cafile=config["ca"])
    gate = asyncio.Semaphore(100)
    url = f"wss://127.0.0.1:{config['port']}/"

    async def one(number: int) -> Any:
        async with gate:
            address = str(ipaddress.IPv4Address(FIRST_ADDRESS + number))
            options: dict[str, Any] = {"local_addr": (address, 0), "websocket_handshake_timeout": 60}
            return await ws_connect(lambda: Client(config["sizes"]), url, ssl_context=context, **options)

    kept = await asyncio.gather(*(one(number) for number in range(config["count"])))
    print(json.dumps(len(kept)), flush=True)
    async for _ in _lines():
        pass


if __name__ == "__main__":
    raise_limits()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run({"serve": serve, "connect": connect}[sys.argv[1]](json.loads(sys.argv[2])))
