"""One Session Manager stream: payloads both ways, each once and in order, over sockets that may be cut.

```
  agent                                        client
    |-- output_stream_data 0, 1, 2 … ------------>|  Data
    |<----------------------------- acknowledge --|
    |<----------- input_stream_data 0, 1, 2 … ----|
    |-- acknowledge ----------------------------->|
    |-- agent_session_state --> server            |
    |   server --> pause_publication              |      the client is away: Paused, then Resumed
    |              start_publication              |
    |              channel_closed --------------->|  Closed, to either end
```

A Stream has no socket and no clock. Give it each binary message that arrives (`receive`), then write what `outgoing`
returns; ask `outgoing` again when `due_at` has come, and after every `send`. When the socket was lost and there is a
new one, call `reconnected`. Times are seconds of a clock that only goes forward. What arrives broken raises
RemoteProtocolError: hang up. Source: agent protocol reference, sections 7, 11.4 and 12.1.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fleetward.protocol.data_channel.members import Members, json_bytes
from fleetward.protocol.data_channel.receiving import Receiving
from fleetward.protocol.data_channel.sending import Sending
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.frame import HEADER_BYTES, Flag, Frame, PayloadType, decode, encode, has_digest

if TYPE_CHECKING:
    from fleetward.protocol.data_channel.encryption import SessionKeys
    from fleetward.protocol.data_channel.handshake import Terms

OUTPUT_STREAM = "output_stream_data"
INPUT_STREAM = "input_stream_data"
HELD_BACK_BY_CLIENT, HELD_BACK_BY_AGENT = 10_000, 100_000
"""Frames that official ends keep ahead of a missing one."""
LARGEST_MESSAGE_BYTES = HEADER_BYTES + 256 * 1024 + 28
"""The largest frame that Terms allow, sealed."""

_LONGEST_NOTE_BYTES = 64 * 1024
_ENCRYPTED = frozenset((PayloadType.OUTPUT, PayloadType.STANDARD_ERROR, PayloadType.EXIT_CODE))


class Side(Enum):
    """Which end of a stream: the node's or the operator's."""

    AGENT = "agent"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Data:
    """The next payload. Between our own ends those of type 1 and 11 may come joined or cut otherwise than sent."""

    payload_type: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Paused:
    """The client is away: read no more from the process or port until Resumed."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The client is back."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The session ended; `output` is what the client is to print."""

    output: str


Event = Data | Paused | Resumed | Closed


class Stream:
    """One end of a stream."""

    def __init__(
        self, side: Side, *, clock_ms: Callable[[], int], new_id: Callable[[], uuid.UUID] = uuid.uuid4
    ) -> None:
        self.side = side
        self.paused = False
        self._peer_is_our_own = False
        self._clock_ms = clock_ms
        self._new_id = new_id
        self._keys: SessionKeys | None = None
        own, other = (OUTPUT_STREAM, INPUT_STREAM) if side is Side.AGENT else (INPUT_STREAM, OUTPUT_STREAM)
        self._own_type = own
        self._other_type = other
        first_flags = Flag.SYN if side is Side.AGENT else 0
        self._sending = Sending(
            own,
            first_flags=first_flags,
            held_back_by_peer=HELD_BACK_BY_CLIENT if side is Side.AGENT else HELD_BACK_BY_AGENT,
            clock_ms=clock_ms,
            new_id=new_id,
        )
        self._receiving = Receiving(other, clock_ms=clock_ms, new_id=new_id)

    @property
    def room(self) -> int:
        """How many bytes may be queued before producers should wait."""
        return self._sending.room

    @property
    def is_drained(self) -> bool:
        """Whether everything sent has arrived."""
        return self._sending.is_drained

    @property
    def may_read(self) -> bool:
        """False when so much is kept for a reader on hold that the socket should not be read for now."""
        return self._receiving.has_room

    def send(self, payload_type: int, payload: bytes) -> None:
        """Queue a payload; ask `outgoing` afterwards. All but types 1 and 11 travel whole, in at most 64 KiB."""
        self._sending.send(payload_type, payload)

    def receive(self, data: bytes | memoryview, now: float) -> list[Event]:
        """What one binary message brings; mostly one event, none for a repeat, many when a gap closes."""
        if len(data) > LARGEST_MESSAGE_BYTES:
            raise RemoteProtocolError(f"a frame has at most {LARGEST_MESSAGE_BYTES} bytes, this one {len(data)}")
        frame = decode(data, check_digest=has_digest(data))
        if frame.message_type == self._other_type:
            return [*self._resume(), *self._events(self._receiving.accept(frame, now))]
        if frame.message_type == "acknowledge":
            self._acknowledged(frame, now)
            return self._resume()
        if frame.message_type == "start_publication" and self._peer_is_our_own:
            return self._other_end_is_new(now)
        return self._notice(frame)

    def outgoing(self, now: float) -> list[bytes]:
        """The binary messages to write now, in this order."""
        messages = self._receiving.acknowledgements(now)
        if not self.paused:
            messages += self._sending.outgoing(now)
        return messages

    def due_at(self) -> float | None:
        """When to ask `outgoing` again although nothing came and nothing was sent; None: not at all."""
        times = [self._receiving.due_at(), None if self.paused else self._sending.due_at()]
        return min((time for time in times if time is not None), default=None)

    def reconnected(self, now: float) -> None:
        """The socket is another: what is unacknowledged goes out again in order, from the next `outgoing` on."""
        self.paused = False
        self._sending.reconnected()
        self._receiving.reconnected(now)

    def hold(self) -> None:
        """The reader of this stream is slow: deliver no more Data, so that the peer stops at its window."""
        self._receiving.hold()

    def release(self, now: float) -> list[Event]:
        """The reader goes on: the Data that came during `hold`."""
        return self._events(self._receiving.release(now))

    def state_message(self, state: str, session_id: str) -> bytes:
        """Tell the server, not the client, that the agent is `Connected` or `Terminating`."""
        if self.side is not Side.AGENT:
            raise LocalProtocolError("only an agent tells the state of its session")
        payload = json_bytes({"SchemaVersion": 1, "SessionState": state, "SessionId": session_id})
        return encode(
            Frame("agent_session_state", payload, self._new_id(), self._clock_ms(), flags=Flag.SYN | Flag.FIN)
        )

    def use(self, terms: Terms) -> None:
        """Both ends agreed on larger frames and windows: give what the handshake Completed with."""
        self._peer_is_our_own = True
        self._sending.use(terms)
        self._receiving.use(terms)

    def encrypt(self, keys: SessionKeys) -> None:
        """From now on payloads of type 1, 11 and 12 are sealed, both ways."""
        self._keys = keys
        self._sending.seal_with(
            lambda payload_type, payload: keys.seal(payload) if payload_type in _ENCRYPTED else payload
        )

    def _events(self, frames: list[Frame]) -> list[Event]:
        return [Data(frame.payload_type, self._opened(frame)) for frame in frames]

    def _opened(self, frame: Frame) -> bytes:
        if self._keys is not None and frame.payload_type in _ENCRYPTED:
            return self._keys.open(frame.payload)
        return frame.payload

    def _acknowledged(self, frame: Frame, now: float) -> None:
        members = Members.parse("acknowledge", frame.payload, most_bytes=_LONGEST_NOTE_BYTES)
        if members.text("AcknowledgedMessageType") != self._own_type:
            return
        number = members.number("AcknowledgedMessageSequenceNumber")
        if "Fleetward" in members and members.object("Fleetward").any("UpTo") is True:
            self._sending.acknowledged_up_to(number, now)
        else:
            self._sending.acknowledged(number, now)

    def _notice(self, frame: Frame) -> list[Event]:
        """What the server itself says; types nobody knows are passed over."""
        if frame.message_type == "channel_closed":
            return [
                Closed(Members.parse("channel_closed", frame.payload, most_bytes=_LONGEST_NOTE_BYTES).text("Output"))
            ]
        if self.side is Side.AGENT and frame.message_type == "start_publication":
            return self._resume()
        if self.side is Side.AGENT and frame.message_type == "pause_publication" and not self.paused:
            self.paused = True
            return [Paused()]
        return []

    def _other_end_is_new(self, now: float) -> list[Event]:
        """The other end has a new socket. The one before may have been dead for long: what went to it is lost."""
        resumed: list[Event] = [Resumed()] if self.paused else []
        self.reconnected(now)
        return resumed

    def _resume(self) -> list[Event]:
        """The client is heard of: with its socket lost, what was under way to it may be lost too."""
        if not self.paused:
            return []
        self.paused = False
        self._sending.reconnected()
        return [Resumed()]
