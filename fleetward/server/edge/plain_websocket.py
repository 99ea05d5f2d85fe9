"""Plain WebSocket: a listener's connection by the `websockets` library, for servers that are to run without picows.

Listeners see the same three calls and the same few methods of transport and frame as with picows; pings are answered
here. Slower and larger: it is the way out should picows, whose class is not fully public, change or fail.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from picows import WSCloseCode, WSListener, WSMsgType
from websockets.frames import Close, Frame
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol


@dataclass(frozen=True, slots=True)
class PlainFrame:
    """One frame, with the names that listeners use of picows's."""

    msg_type: WSMsgType
    fin: bool
    payload: bytes

    @property
    def payload_size(self) -> int:
        """How many bytes it carries."""
        return len(self.payload)

    def get_payload_as_bytes(self) -> bytes:
        """What it carries."""
        return self.payload

    def get_close_code(self) -> WSCloseCode:
        """The reason of a CLOSE frame."""
        code = Close.parse(self.payload).code
        return WSCloseCode(code) if code in WSCloseCode._value2member_map_ else WSCloseCode.OK


class PlainWebSocket(asyncio.Protocol):
    """Protocol of the connection, and the transport that its listener gets."""

    def __init__(self, listener: WSListener, frame_limit: int) -> None:
        self._listener: Any = listener
        self._protocol = ServerProtocol(max_size=frame_limit)
        self._transport: asyncio.Transport | None = None

    def take_over(self, transport: asyncio.Transport, request: bytes) -> None:
        """Answer the upgrade `request` that came over `transport` and be its protocol from now on."""
        self._transport = transport
        transport.set_protocol(self)
        self._protocol.receive_data(request)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
        self._flush()
        if self._protocol.state is State.OPEN:
            self._listener.on_ws_connected(self)
        else:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer: frames go to the listener, pongs and the end of broken connections out."""
        self._protocol.receive_data(data)
        self._flush()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                frame = PlainFrame(WSMsgType(int(event.opcode)), event.fin, bytes(event.data))
                self._listener.on_ws_frame(self, frame)
        if self._protocol.close_expected():
            self.disconnect()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        self._listener.on_ws_disconnected(self)

    def pause_writing(self) -> None:
        """The peer does not take what is sent as fast as it comes."""
        self._listener.pause_writing()

    def resume_writing(self) -> None:
        """The peer has taken what was waiting."""
        self._listener.resume_writing()

    @property
    def underlying_transport(self) -> asyncio.Transport | None:
        """What the bytes go through."""
        return self._transport

    def send(self, msg_type: WSMsgType, message: bytes) -> None:
        """One message in one frame."""
        if self._protocol.state is not State.OPEN:
            return
        if msg_type == WSMsgType.TEXT:
            self._protocol.send_text(message)
        else:
            self._protocol.send_binary(message)
        self._flush()

    def send_close(self, close_code: WSCloseCode = WSCloseCode.OK) -> None:
        """Say why the connection ends."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(close_code.value or None)
            self._flush()

    def send_ping(self, message: bytes | None = None) -> None:
        """Ask the peer for a sign of life."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(message or b"")
            self._flush()

    def send_pong(self, message: bytes | None = None) -> None:
        """Nothing to do: `websockets` has answered the ping itself."""

    def disconnect(self, graceful: bool = True) -> None:
        """Close it once all is sent, or at once."""
        if self._transport is not None and graceful:
            self._transport.close()
        elif self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data and self._transport is not None and not self._transport.is_closing():
                self._transport.write(data)
