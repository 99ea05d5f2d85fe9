"""The outgoing direction of a stream: cut payloads into frames, keep and repeat each until it is acknowledged.

```
   send            outgoing               acknowledged
  ------> queue ------------> in flight ---------------> forgotten
                   window         |  reconnected            ^
                                  v                         |  acknowledged, or known to be there
                              doubtful ---------------------+
```

A frame is doubtful when the socket was lost after it was sent. Against official ends the window counts frames and each
is acknowledged by itself. Doubtful frames go out again at once, all of them, but the official client answers nothing to
a frame it already has, so they hold nobody up, and are known to be there when more frames after them were acknowledged
than the peer can hold back. Between our own ends (Terms) the window counts bytes. Of doubtful frames the first goes out
again, the answer tells how far the peer is, and what is doubtful then goes out. Source: agent protocol reference,
sections 11.7 and 12.1.
"""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.frame import Frame, PayloadType, encode

if TYPE_CHECKING:
    from fleetward.protocol.data_channel.handshake import Terms

LONGEST_WHOLE_PAYLOAD_BYTES = 64 * 1024
"""Of payloads that are messages and cannot be cut."""

_STREAMS = frozenset((PayloadType.OUTPUT, PayloadType.STANDARD_ERROR))
_FRAME_BYTES = 1024
_WINDOW_FRAMES = 1000
_WINDOW_FRAMES_OF_OUR_OWN = 4096
"""Fewer than our own end keeps on hold; what has to wait for them leaves in larger ones."""
_QUEUE_BYTES = 64 * 1024
_MOST_DOUBTFUL = 10_000

_LOOK_EVERY = 0.1
"""Seconds between looks at what is late; no frame is late sooner."""
_LONGEST_WAIT = 1.0
_LONGEST_WAIT_FOR_OUR_OWN = 30.0
"""Our own end is silent while its reader is on hold, and frames are large."""


class RetransmissionTimer:
    """How many seconds an acknowledgement may take; learns from those that came."""

    __slots__ = ("_round_trip", "_variation", "longest", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.2
        self.longest = _LONGEST_WAIT
        self._round_trip = 0.1
        self._variation = 0.0

    def observe(self, seconds: float) -> None:
        """An acknowledgement took so long."""
        self._variation += (abs(self._round_trip - seconds) - self._variation) / 4
        self._round_trip += (seconds - self._round_trip) / 8
        self.seconds = min(self._round_trip + max(0.01, 4 * self._variation), self.longest)


class _Again(Enum):
    """What has to go out again at once because a socket was lost."""

    NOTHING = "nothing"
    FIRST = "first"
    WHAT_THE_ANSWER_LEAVES = "what the answer leaves"
    ALL = "all"


@dataclass(slots=True)
class _Sent:
    data: bytes
    at: float
    repeats: int = 0


class Sending:
    """Frames of one message type, numbered from 0."""

    def __init__(
        self,
        message_type: str,
        *,
        first_flags: int,
        held_back_by_peer: int,
        clock_ms: Callable[[], int],
        new_id: Callable[[], uuid.UUID],
    ) -> None:
        self._message_type = message_type
        self._first_flags = first_flags
        self._held_back_by_peer = held_back_by_peer
        self._clock_ms = clock_ms
        self._new_id = new_id
        self._seal: Callable[[int, bytes], bytes] | None = None
        self._terms: Terms | None = None
        self._queue: deque[tuple[int, bytes | memoryview]] = deque()
        self._queued_bytes = 0
        self._next = 0
        self._in_flight: dict[int, _Sent] = {}
        self._doubtful: dict[int, _Sent] = {}
        self._sent_bytes = 0
        self._acknowledged_after_doubt = 0
        self._again = _Again.NOTHING
        self._timer = RetransmissionTimer()
        self._looked_at = -math.inf
        self._progress_at = -math.inf

    @property
    def room(self) -> int:
        """How many bytes may be queued before producers should wait."""
        limit = _QUEUE_BYTES if self._terms is None else max(self._terms.window_bytes // 8, self._terms.frame_bytes)
        return max(limit - self._queued_bytes, 0)

    @property
    def is_drained(self) -> bool:
        """Whether nothing is queued, in flight or doubtful."""
        return not (self._queue or self._in_flight or self._doubtful)

    def use(self, terms: Terms) -> None:
        """The peer is our own and takes larger frames."""
        self._terms = terms
        self._timer.longest = _LONGEST_WAIT_FOR_OUR_OWN

    def seal_with(self, seal: Callable[[int, bytes], bytes]) -> None:
        """From now on every payload goes through `seal`, which is given its type as well."""
        self._seal = seal

    def send(self, payload_type: int, payload: bytes) -> None:
        """Queue a payload; streams of bytes are cut as need be, all else travels whole."""
        if not payload:
            raise LocalProtocolError("an empty payload cannot be sent: official readers refuse it")
        if payload_type not in _STREAMS and len(payload) > LONGEST_WHOLE_PAYLOAD_BYTES:
            raise LocalProtocolError(f"a payload of type {payload_type} may have {LONGEST_WHOLE_PAYLOAD_BYTES} bytes")
        self._queue.append((payload_type, payload))
        self._queued_bytes += len(payload)

    def outgoing(self, now: float) -> list[bytes]:
        """The late frames, then the new ones that the window lets out."""
        messages = self._late(now)
        while self._queue and self._window_is_open():
            messages.append(self._next_frame(now))
        return messages

    def due_at(self) -> float | None:
        """When the oldest frame is late, if none is acknowledged until then."""
        if self._doubtful and self._again in (_Again.FIRST, _Again.ALL):
            return 0.0
        late_at = min((self._late_at(sent) for sent in self._oldest()), default=None)
        return None if late_at is None else max(late_at, self._looked_at + _LOOK_EVERY)

    def reconnected(self) -> None:
        """What was sent may be lost: it goes out again, beginning with the next `outgoing`, oldest first."""
        self._doubtful.update(self._in_flight)
        self._in_flight.clear()
        self._acknowledged_after_doubt = 0
        for sent in self._doubtful.values():
            sent.repeats = 0
        self._again = _Again.ALL if self._terms is None else _Again.FIRST

    def acknowledged(self, number: int, now: float) -> None:
        """The peer has this one frame; a frame that was acknowledged before changes nothing."""
        self._check(number)
        sent = self._in_flight.pop(number, None)
        if sent is None:
            sent = self._doubtful.pop(number, None)
        elif self._doubtful:
            self._clear_doubts()
        if sent is not None:
            self._forget(sent)
            self._timer.observe(now - sent.at)
        self._answered()

    def acknowledged_up_to(self, number: int, now: float) -> None:
        """The peer has this frame and all before it."""
        self._check(number)
        latest: _Sent | None = None
        for frames in (self._doubtful, self._in_flight):
            while frames and (first := next(iter(frames))) <= number:
                latest = frames.pop(first)
                self._forget(latest)
        if latest is not None:
            self._timer.observe(now - latest.at)
            self._progress_at = now
        self._answered()

    def _check(self, number: int) -> None:
        if not 0 <= number < self._next:
            raise RemoteProtocolError(f"frame {number} is acknowledged, which was never sent")

    def _answered(self) -> None:
        if self._again is _Again.WHAT_THE_ANSWER_LEAVES:
            self._again = _Again.ALL

    def _forget(self, sent: _Sent) -> None:
        self._sent_bytes -= len(sent.data)

    def _clear_doubts(self) -> None:
        self._acknowledged_after_doubt += 1
        if self._acknowledged_after_doubt > self._held_back_by_peer:
            for sent in self._doubtful.values():
                self._forget(sent)
            self._doubtful.clear()

    def _late_at(self, sent: _Sent) -> float:
        wait = max(self._timer.seconds, _LOOK_EVERY)
        if self._terms is None:
            return sent.at + wait
        return max(sent.at, self._progress_at) + min(wait * (1 << min(sent.repeats, 10)), self._timer.longest)

    def _oldest(self) -> list[_Sent]:
        return [next(iter(frames.values())) for frames in (self._doubtful, self._in_flight) if frames]

    def _late(self, now: float) -> list[bytes]:
        late = self._lost()
        if not late and now >= self._looked_at + _LOOK_EVERY:
            late = [sent for sent in self._oldest() if now >= self._late_at(sent)]
            for sent in late:
                sent.repeats += 1
        for sent in late:
            self._looked_at = sent.at = now
        return [sent.data for sent in late]

    def _lost(self) -> list[_Sent]:
        """What goes out again because a socket was lost, late or not."""
        if self._again is _Again.ALL:
            self._again = _Again.NOTHING
            return list(self._doubtful.values())
        if self._again is _Again.FIRST and self._doubtful:
            self._again = _Again.WHAT_THE_ANSWER_LEAVES
            return [next(iter(self._doubtful.values()))]
        return []

    def _window_is_open(self) -> bool:
        if self._terms is None:
            return len(self._in_flight) < _WINDOW_FRAMES and len(self._doubtful) < _MOST_DOUBTFUL
        if len(self._in_flight) + len(self._doubtful) >= _WINDOW_FRAMES_OF_OUR_OWN:
            return False
        return self._sent_bytes < self._terms.window_bytes

    def _next_frame(self, now: float) -> bytes:
        payload_type, payload = self._next_payload()
        if self._seal is not None:
            payload = self._seal(payload_type, payload)
        frame = Frame(
            self._message_type,
            payload,
            self._new_id(),
            self._clock_ms(),
            self._next,
            0 if self._next else self._first_flags,
            payload_type,
        )
        data = encode(frame, with_digest=self._terms is None)
        self._in_flight[self._next] = _Sent(data, now)
        self._sent_bytes += len(data)
        self._next += 1
        return data

    def _next_payload(self) -> tuple[int, bytes]:
        payload_type, payload = self._queue.popleft()
        if payload_type not in _STREAMS:
            self._queued_bytes -= len(payload)
            return payload_type, bytes(payload)
        most = _FRAME_BYTES if self._terms is None else self._terms.frame_bytes
        if len(payload) > most:
            view = memoryview(payload)
            self._queue.appendleft((payload_type, view[most:]))
            payload = view[:most]
        elif self._terms is not None:
            payload = self._joined(payload_type, payload, most)
        self._queued_bytes -= len(payload)
        return payload_type, bytes(payload)

    def _joined(self, payload_type: int, payload: bytes | memoryview, most: int) -> bytes | memoryview:
        """The payload with those behind it that fit into the same frame."""
        parts, size = [payload], len(payload)
        while self._queue and self._queue[0][0] == payload_type and size + len(self._queue[0][1]) <= most:
            parts.append(self._queue.popleft()[1])
            size += len(parts[-1])
        return b"".join(parts) if len(parts) > 1 else payload
