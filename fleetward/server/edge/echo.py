"""Echo: a WebSocket that sends back what it gets, so that a client can see whether one passes all that lies between."""

from __future__ import annotations

import asyncio

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

PATH = "/_fleetward/echo"
SECONDS = 30.0
MOST_BYTES = 4 * 1024 * 1024


class Echo(WSListener):
    """One such socket: whole messages of one frame, bounded in time and in bytes altogether."""

    def __init__(self) -> None:
        self._transport: WSTransport | None = None
        self._end: asyncio.TimerHandle | None = None
        self._bytes = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is answered: the time runs."""
        self._transport = transport
        self._end = asyncio.get_running_loop().call_later(SECONDS, self._close, WSCloseCode.OK)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A message goes back as it came."""
        if frame.msg_type == WSMsgType.CLOSE:
            self._close(frame.get_close_code())
            return
        if frame.msg_type not in (WSMsgType.BINARY, WSMsgType.TEXT) or not frame.fin:
            self._close(WSCloseCode.POLICY_VIOLATION)
            return
        payload = frame.get_payload_as_bytes()
        self._bytes += len(payload)
        if self._bytes > MOST_BYTES:
            self._close(WSCloseCode.POLICY_VIOLATION)
            return
        transport.send(frame.msg_type, payload)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        self._transport = None
        if self._end is not None:
            self._end.cancel()

    def _close(self, code: WSCloseCode) -> None:
        if self._transport is not None:
            self._transport.send_close(code)
            self._transport.disconnect()
