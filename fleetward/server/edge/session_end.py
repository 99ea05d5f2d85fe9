"""A session's end: one websocket of a session, the node's or the client's, from its first message to its close."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from fleetward.protocol.data_channel.opening import read_open_message
from fleetward.protocol.errors import RemoteProtocolError
from fleetward.protocol.frame import HEADER_BYTES, Frame, encode
from fleetward.server.call import Context, service_context
from fleetward.server.edge.messages import DATA_FRAMES, LIMIT_BYTES, Messages, TooLong
from fleetward.server.errors import AwsError
from fleetward.server.service import Entry
from fleetward.server.ssm.session_manager import ends
from fleetward.server.ssm.session_manager.ends import End, Joined

if TYPE_CHECKING:
    from fleetward.server.edge.data_channels import DataChannels
    from fleetward.server.edge.session import Session

log = logging.getLogger("fleetward.sessions")

NODE_JOINS = Entry("sessions.node-joins", ends.node_joins, audit=False)
CLIENT_JOINS = Entry("sessions.client-joins", ends.client_joins, audit=False)

PING_AFTER = 30.0
DROP_AFTER = 90.0
"""Seconds without any sign of life: then the peer has vanished without a word."""
JOINED_BYTES = 8 * 1024
"""Messages that are smaller on average leave as one write; for larger ones joining them costs more than it saves."""
GOODBYE_SECONDS = {End.CLIENT: 1.0, End.NODE: 5.0}
"""How long an end has to leave by itself once it was told that the session is over."""
_BINARY = WSMsgType.BINARY


class SessionEnd(WSListener):
    """Token first, then frames, which are the session's to forward."""

    is_far = False
    """Whether the end itself is at another server, and this the link to there."""
    masks = False
    """Whether frames are sent as a WebSocket's client has to send them."""
    ping_after = PING_AFTER
    drop_after = DROP_AFTER

    def __init__(
        self,
        channels: DataChannels,
        which: End,
        session_id: str,
        context: Context,
        proven: Callable[[], None] | None = None,
    ) -> None:
        self._channels = channels
        self.which = which
        self.is_node = which is End.NODE
        self.is_current = False
        """Whether what it sends is the session's: not before it is open, and not once another has taken its place."""
        self.other: SessionEnd | None = None
        """The other end of the session, while both are here."""
        self.epoch = 0
        self._session_id = session_id
        self._context = context
        self._proven = proven
        self._transport: WSTransport | None = None
        self._messages = Messages()
        self._opened = False
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._session: Session | None = None
        self._opening: asyncio.TimerHandle | None = None
        self._outgoing: list[bytes] = []
        self._is_paused = False
        self.is_full = False
        """Whether the peer takes less than it is sent."""
        self._has_spoken = False
        self._heard_at = time.monotonic()

    @property
    def is_stranger(self) -> bool:
        """Whether this connection still has to prove that it may be here."""
        return self._proven is not None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is answered; the message that opens the end must follow in time."""
        self._transport = transport
        self._channels.begins(self)
        seconds = self._channels.runner.settings.header_timeout
        self._opening = asyncio.get_running_loop().call_later(seconds, self.close, WSCloseCode.POLICY_VIOLATION)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame of the peer, which lives."""
        self._has_spoken = True
        kind = frame.msg_type
        try:
            if (
                kind is _BINARY
                and self._session is not None
                and frame.fin
                and HEADER_BYTES < frame.payload_size <= LIMIT_BYTES
            ):
                self._session.forward(self, frame.get_payload_as_bytes())
            elif kind in DATA_FRAMES:
                self._take(frame)
            elif kind == WSMsgType.PING:
                transport.send_pong(frame.get_payload_as_bytes())
            elif kind == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()
        except TooLong:
            self.close(WSCloseCode.MESSAGE_TOO_BIG)
        except (RemoteProtocolError, UnicodeDecodeError) as fault:
            log.info("end of a session closed", extra={"fields": {**self._fields, "reason": str(fault)[:200]}})
            self.close(WSCloseCode.PROTOCOL_ERROR)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        self._transport = None
        self._begun()
        self._is_proven()
        if self._session is not None:
            self._session.leave(self)

    def pause_writing(self) -> None:
        """The peer takes less than it is sent: what feeds it is held back."""
        self.is_full = True
        if self._session is not None:
            self._session.hold_back(self)

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.is_full = False
        if self._session is not None:
            self._session.let_go(self)

    def pause_reading(self) -> None:
        """Take nothing more from the peer for now."""
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the peer again."""
        if self._is_paused:
            self._is_paused = False
            if self._transport is not None:
                self._heard_at = time.monotonic()
                self._transport.underlying_transport.resume_reading()

    def send(self, frame: bytes) -> None:
        """Send one message; several that come in one turn of the loop leave as one write."""
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(frame)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is None:
            return
        count = len(outgoing)
        if count == 1 or self.masks or self._channels.plain or sum(map(len, outgoing)) > count * JOINED_BYTES:
            for frame in outgoing:
                self._transport.send(_BINARY, frame)
        else:
            self._transport.underlying_transport.write(b"".join(_framed(outgoing)))

    def finish(self, text: str) -> None:
        """The session is over: tell the peer, who then leaves, or is closed after a moment."""
        self.resume_reading()
        self.send(closed(self._session_id, text))
        asyncio.get_running_loop().call_later(GOODBYE_SECONDS[self.which], self.close, WSCloseCode.OK)

    def close(self, code: WSCloseCode) -> None:
        """Close from our side."""
        if self._transport is not None:
            if self._outgoing:
                self._flush()
            self._transport.send_close(code)
            self._transport.disconnect()

    def keep_alive(self) -> None:
        """Ping a peer that has been silent for a while, drop one that stayed so; called every second."""
        now = time.monotonic()
        if self._has_spoken:
            self._has_spoken, self._heard_at = False, now
        silent = now - self._heard_at
        if self._transport is None or self._is_paused or silent < self.ping_after:
            return
        if silent > self.drop_after:
            log.info("end of a session silent", extra={"fields": self._fields})
            self._transport.disconnect(graceful=False)
        elif int(silent) % int(self.ping_after) == 0:
            self._transport.send_ping()

    def is_outdated(self, row: Any) -> bool:
        """Whether the session's row knows a newer connection of this end."""
        newest: int = row.node_epoch if self.which is End.NODE else row.client_epoch
        return self.epoch < newest

    @property
    def _fields(self) -> dict[str, str]:
        return {"session": self._session_id, "end": self.which.value}

    def _take(self, frame: WSFrame) -> None:
        message = self._messages.take(frame)
        if message is None:
            return
        kind, data = message
        if kind == WSMsgType.TEXT:
            self._open(data.decode())
        elif self._session is not None:
            self._forward(data)
        elif not self._opened or self._early_bytes > LIMIT_BYTES:
            raise RemoteProtocolError("frames came before the message that opens the session's end")
        else:
            self._early.append(data)
            self._early_bytes += HEADER_BYTES + len(data)

    def _forward(self, data: bytes) -> None:
        if len(data) > LIMIT_BYTES:
            raise TooLong(f"a message may have {LIMIT_BYTES} bytes")
        if len(data) <= HEADER_BYTES:
            raise RemoteProtocolError(f"a frame has more than {HEADER_BYTES} bytes, this one {len(data)}")
        assert self._session is not None
        self._session.forward(self, data)

    def _open(self, text: str) -> None:
        if self._opened:
            raise RemoteProtocolError("a second text message: after the first only binary frames may follow")
        opening = read_open_message(text)
        self._opened = True
        if bool(opening.node_id) != (self.which is End.NODE):
            raise RemoteProtocolError("a client opens with its ClientVersion, a node, which signs, with its id")
        entry, context = NODE_JOINS, self._context
        if self.which is End.CLIENT:
            key = ends.tenant_of(self._channels.keys, opening.token, self._session_id)
            if key is None:
                self.close(WSCloseCode.POLICY_VIOLATION)
                return
            entry, context = CLIENT_JOINS, service_context(key.account, key.region)
        request = (self._session_id, opening.token, self._channels.server_id)
        self._channels.runner.submit(entry, context, request, self._joined)

    def _joined(self, outcome: Joined | BaseException) -> None:
        self._begun()
        if self._transport is None:
            return
        if isinstance(outcome, BaseException):
            refused = isinstance(outcome, AwsError)
            if not refused:
                log.error("end of a session not opened", exc_info=outcome)
            self.close(WSCloseCode.POLICY_VIOLATION if refused else WSCloseCode.TRY_AGAIN_LATER)
            return
        self._is_proven()
        self.epoch = outcome.epoch
        if outcome.ended is not None:
            self.finish(outcome.ended)
            return
        self._session = self._channels.session(outcome.key)
        self._session.join(self, outcome)
        early, self._early = self._early, []
        for data in early:
            self._forward(data)

    def _begun(self) -> None:
        self._channels.begun(self)
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    def _is_proven(self) -> None:
        """The peer does not count as a stranger of its address any more."""
        if self._proven is not None:
            self._proven()
            self._proven = None


def note(message_type: str) -> bytes:
    """A frame of the server's own with nothing to say but its type."""
    return encode(Frame(message_type, b"{}", uuid.uuid4(), time.time_ns() // 1_000_000))


def closed(session_id: str, text: str) -> bytes:
    """The frame that tells an end that its session is over, and a client what to show (AP 11.5)."""
    message_id = uuid.uuid4()
    body = {
        "MessageType": "channel_closed",
        "MessageId": str(message_id),
        "DestinationId": session_id,
        "SessionId": session_id,
        "SchemaVersion": 1,
        "CreatedDate": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "Output": text,
    }
    return encode(Frame("channel_closed", orjson.dumps(body), message_id, time.time_ns() // 1_000_000))


def _framed(messages: list[bytes]) -> list[bytes]:
    """Messages as WebSocket frames of a server: unmasked, each in one frame (RFC 6455, 5.2)."""
    framed = []
    for message in messages:
        size = len(message)
        if size < 126:
            framed.append(bytes((0x82, size)))
        elif size < 65536:
            framed.append(b"\x82\x7e" + size.to_bytes(2, "big"))
        else:
            framed.append(b"\x82\x7f" + size.to_bytes(8, "big"))
        framed.append(message)
    return framed
