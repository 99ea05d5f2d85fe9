"""Bare relay: what a session's forwarding is compared with: pairs two WebSockets by path and copies frames, with TLS.

No tokens, no store, nothing counted, recorded or held back: `/NAME/a` gets what `/NAME/b` sends, and back.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from bench.limits import raise_limits


class Half(WSListener):
    """One of a pair of WebSockets."""

    def __init__(self, pairs: dict[str, Half], name: str) -> None:
        self._pairs = pairs
        self._name = name
        self.transport: WSTransport | None = None
        self.other: Half | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Meet the other one, if it is there."""
        self.transport = transport
        waiting = self._pairs.pop(self._name, None)
        if waiting is None:
            self._pairs[self._name] = self
        else:
            self.other, waiting.other = waiting, self

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Copy a message; answer a goodbye."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif self.other is not None and self.other.transport is not None:
            self.other.transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The other one loses its peer."""
        self.transport = None

    def pause_writing(self) -> None:
        """As little as a relay can do about a slow reader."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.underlying_transport.pause_reading()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.underlying_transport.resume_reading()


async def main(config: dict[str, Any]) -> None:
    """Relay until standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["certificate"], config["key"])
    pairs: dict[str, Half] = {}

    def accept(request: WSUpgradeRequest) -> WSListener:
        return Half(pairs, request.path.rpartition(b"/")[0].decode())

    server = await ws_create_server(accept, "127.0.0.1", config["port"], ssl=context, backlog=4096)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with server:
        print("ready", flush=True)
        await reader.read()


if __name__ == "__main__":
    raise_limits()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(json.loads(sys.argv[1])))
