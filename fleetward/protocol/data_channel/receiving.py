"""The incoming direction of a stream: put frames into order, each once, and tell the sender which have come.

The rules of the agent protocol reference, section 12.1: the expected frame is delivered and acknowledged, one ahead is
kept and acknowledged, one that came before is acknowledged again, since its acknowledgement may be lost. Against our
own end one acknowledgement tells of everything up to a number, after an eighth of the window or 10 ms. While the reader
of the stream is on hold nothing is delivered nor newly acknowledged, so the sender stops at its window.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fleetward.protocol.data_channel.members import json_bytes
from fleetward.protocol.errors import RemoteProtocolError
from fleetward.protocol.frame import Flag, Frame, encode

if TYPE_CHECKING:
    from fleetward.protocol.data_channel.handshake import Terms

MOST_KEPT_FRAMES = 10_000
MOST_KEPT_BYTES = 16 * 1024 * 1024
LONGEST_DELAY = 0.01
"""Seconds that an acknowledgement of everything up to a number may wait for more frames."""


class Receiving:
    """Frames of one message type, numbered from 0, that arrive in any order and more than once."""

    def __init__(self, message_type: str, *, clock_ms: Callable[[], int], new_id: Callable[[], uuid.UUID]) -> None:
        self._message_type = message_type
        self._clock_ms = clock_ms
        self._new_id = new_id
        self._expected = 0
        self._kept: dict[int, Frame] = {}
        self._kept_bytes = 0
        self._unacknowledged: set[int] = set()
        self._is_held = False
        self._to_acknowledge: list[tuple[uuid.UUID, int]] = []
        self._terms: Terms | None = None
        self._latest: uuid.UUID | None = None
        self._delivered_bytes = 0
        self._acknowledge_at: float | None = None

    @property
    def has_room(self) -> bool:
        """Whether it is wise to read on; half of what may be kept is left for what is under way."""
        return len(self._kept) < MOST_KEPT_FRAMES // 2 and self._kept_bytes < MOST_KEPT_BYTES // 2

    def use(self, terms: Terms) -> None:
        """The peer is our own: one acknowledgement tells it of many frames."""
        self._terms = terms

    def hold(self) -> None:
        """Deliver nothing until `release`."""
        self._is_held = True

    def release(self, now: float) -> list[Frame]:
        """End the hold: the frames that came meanwhile, in order."""
        self._is_held = False
        return self._in_order(now)

    def reconnected(self, now: float) -> None:
        """What was acknowledged may not have arrived; say again how far it is."""
        if self._terms is not None and self._latest is not None:
            self._acknowledge_at = now

    def accept(self, frame: Frame, now: float) -> list[Frame]:
        """The frames that are now in order: this one and what waited for it, or none."""
        number = frame.sequence_number
        if number < 0:
            raise RemoteProtocolError(f"frames are numbered from 0, this one is {number}")
        if number < self._expected:
            self._acknowledge_again(frame, now)
            return []
        if number >= self._expected + MOST_KEPT_FRAMES:
            return []
        self._keep(frame)
        return [] if self._is_held else self._in_order(now)

    def acknowledgements(self, now: float) -> list[bytes]:
        """The messages to write now; none for frames that are to be sent again since there is no room for them."""
        messages = [self._acknowledge(identity, number) for identity, number in self._to_acknowledge]
        self._to_acknowledge.clear()
        if self._latest is not None and self._acknowledge_at is not None and now >= self._acknowledge_at:
            messages.append(self._acknowledge(self._latest, self._expected - 1, Fleetward={"UpTo": True}))
            self._acknowledge_at = None
            self._delivered_bytes = 0
        return messages

    def due_at(self) -> float | None:
        """When the next acknowledgement has to be written."""
        return 0.0 if self._to_acknowledge else self._acknowledge_at

    def _keep(self, frame: Frame) -> None:
        number = frame.sequence_number
        if number not in self._kept:
            if number != self._expected and self._kept_bytes + len(frame.payload) > MOST_KEPT_BYTES:
                return
            self._kept[number] = frame
            self._kept_bytes += len(frame.payload)
            self._unacknowledged.add(number)
        if number != self._expected and not self._is_held:
            self._acknowledge_each(frame)

    def _in_order(self, now: float) -> list[Frame]:
        frames = []
        while (frame := self._kept.pop(self._expected, None)) is not None:
            self._kept_bytes -= len(frame.payload)
            frames.append(frame)
            if self._expected in self._unacknowledged:
                self._acknowledge_each(frame)
            self._expected += 1
            self._latest = frame.message_id
            self._delivered_bytes += len(frame.payload)
        if frames and self._terms is not None:
            self._acknowledge_soon(now, self._terms)
        return frames

    def _acknowledge_each(self, frame: Frame) -> None:
        self._unacknowledged.discard(frame.sequence_number)
        if self._terms is None and len(self._to_acknowledge) < MOST_KEPT_FRAMES:
            self._to_acknowledge.append((frame.message_id, frame.sequence_number))

    def _acknowledge_again(self, frame: Frame, now: float) -> None:
        if self._terms is None:
            self._acknowledge_each(frame)
        else:
            self._acknowledge_at = now

    def _acknowledge_soon(self, now: float, terms: Terms) -> None:
        if self._delivered_bytes >= terms.window_bytes // 8:
            self._acknowledge_at = now
        elif self._acknowledge_at is None:
            self._acknowledge_at = now + LONGEST_DELAY

    def _acknowledge(self, identity: uuid.UUID, number: int, **more: Any) -> bytes:
        members = {
            "AcknowledgedMessageType": self._message_type,
            "AcknowledgedMessageId": str(identity),
            "AcknowledgedMessageSequenceNumber": number,
            "IsSequentialMessage": True,
        }
        payload = json_bytes(members | more)
        return encode(Frame("acknowledge", payload, self._new_id(), self._clock_ms(), flags=Flag.SYN | Flag.FIN))
