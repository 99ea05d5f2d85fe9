"""Acknowledged: which frames of an official agent its client has taken, so that one is not sent for ever.

Such an agent puts a frame into its buffer after it has sent it. On a fast network the acknowledgement is there before
that, finds nothing, and the frame is sent again every 200 ms until the session ends; and as only the oldest frame is
ever repeated, what is lost later is lost for good. Its client stays silent about what it knows already. So the server,
which has seen the acknowledgement, gives it again (seen with the official agent 3.3.0.0). In much output that happens
to a hundred frames of 5 MB, more than such an agent repeats in the time: so while it happens, it hears once a second
again of all that was acknowledged since.

What was on the way to a client whose connection breaks is lost, and such an agent gives it again one frame in 100 ms:
a cut in the middle of much output costs a minute. So the server remembers, bounded, what is on the way, and gives it
to the client that is back at once. What the client had taken already, its word lost in the cut, it passes over in
silence: whatever it acknowledges next was behind that, and tells of it too.
"""

from __future__ import annotations

import time
import uuid
from collections import deque

import orjson

from fleetward.protocol.frame import HEADER_BYTES, Flag, Frame, encode

_OUTPUT = b"output_stream_data"
_TYPE_AT = 4
_NUMBER = b'"AcknowledgedMessageSequenceNumber":%d,'
MOST_AHEAD = 10_000
"""Numbers that are remembered beyond the first one that is missing: as many as a client keeps."""
MOST_IN_A_SECOND = 1024
"""Acknowledgements that can be said again each second: an official agent sends at most 1,000 frames."""
ON_THE_WAY_BYTES = 1024 * 1024
"""Of what a session's client has yet to take so much is remembered; what comes on top only the agent gives again."""


class Acknowledged:
    """What one session's client has acknowledged, all below `_next` and some ahead of it, and what it has yet to."""

    def __init__(self) -> None:
        self._next = 0
        self._ahead: set[int] = set()
        self._awaited = _NUMBER % 0
        self._on_the_way: dict[int, bytes] = {}
        self._on_the_way_bytes = 0
        self._given_again: deque[int] = deque()
        self._lately: list[bytes] = []
        self._was_missed = False

    def note(self, frame: bytes) -> None:
        """An acknowledgement of the client: as a rule of the next number, which is not worth to read it all."""
        if len(self._lately) < MOST_IN_A_SECOND:
            self._lately.append(frame)
        if self._awaited in frame and not self._ahead and not self._given_again:
            self._arrived(self._next)
            self._next += 1
        else:
            self._read(frame)
        self._awaited = _NUMBER % self._next

    def _read(self, frame: bytes) -> None:
        try:
            number = orjson.loads(frame[HEADER_BYTES:])["AcknowledgedMessageSequenceNumber"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return
        if not isinstance(number, int) or number < self._next or len(self._ahead) >= MOST_AHEAD:
            return
        while self._given_again and self._given_again[0] < number:
            self._take(self._given_again.popleft())
        self._take(number)

    def _take(self, number: int) -> None:
        self._arrived(number)
        if number >= self._next:
            self._ahead.add(number)
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1

    def answer(self, frame: bytes) -> bytes | None:
        """The acknowledgement to give again for a frame of the agent; None for one that the client has yet to take.

        Of the latter it is noted that they are on the way.
        """
        if frame[_TYPE_AT] != _OUTPUT[0]:
            return None
        number = _number(frame)
        if number >= self._next and number not in self._ahead:
            self._departs(number, frame)
            return None
        self._was_missed = True
        body = {
            "AcknowledgedMessageType": _OUTPUT.decode(),
            "AcknowledgedMessageId": str(uuid.UUID(bytes=frame[72:80] + frame[64:72])),
            "AcknowledgedMessageSequenceNumber": number,
            "IsSequentialMessage": True,
        }
        flags = Flag.SYN | Flag.FIN
        now_ms = time.time_ns() // 1_000_000
        return encode(Frame("acknowledge", orjson.dumps(body), uuid.uuid4(), now_ms, flags=flags))

    def say_again(self) -> list[bytes]:
        """Asked every second: the acknowledgements of this second, if the agent has missed one."""
        lately, self._lately = self._lately, []
        was_missed, self._was_missed = self._was_missed, False
        return lately if was_missed else []

    def give_again(self) -> list[bytes]:
        """The frames to give a client that comes, in their order: those that it has yet to take, as far as is known."""
        numbers = sorted(self._on_the_way)
        has_taken_any = self._next > 0 or bool(self._ahead)
        self._given_again = deque(numbers if has_taken_any else ())
        return [self._on_the_way[number] for number in numbers]

    def is_on_the_way(self, frame: bytes) -> bool:
        """Whether a frame of the agent will be given to the client when it comes, without being kept once more."""
        return frame[_TYPE_AT] == _OUTPUT[0] and _number(frame) in self._on_the_way

    def _departs(self, number: int, frame: bytes) -> None:
        if number not in self._on_the_way and self._on_the_way_bytes + len(frame) <= ON_THE_WAY_BYTES:
            self._on_the_way[number] = frame
            self._on_the_way_bytes += len(frame)

    def _arrived(self, number: int) -> None:
        frame = self._on_the_way.pop(number, None)
        if frame is not None:
            self._on_the_way_bytes -= len(frame)


def _number(frame: bytes) -> int:
    return int.from_bytes(frame[48:56], "big", signed=True)
