"""The incoming direction: order, repeats, gaps, holds, and when each is acknowledged."""

from __future__ import annotations

import json
import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.data_channel.handshake import Terms
from fleetward.protocol.data_channel.receiving import MOST_KEPT_FRAMES, Receiving
from fleetward.protocol.frame import Frame, decode

TERMS = Terms(frame_bytes=1024, window_bytes=8 * 1024)


def receiving(terms: Terms | None = None) -> Receiving:
    made = Receiving("input_stream_data", clock_ms=lambda: 1_795_377_882_388, new_id=uuid.uuid4)
    if terms is not None:
        made.use(terms)
    return made


def frame(number: int, size: int = 1) -> Frame:
    return Frame("input_stream_data", bytes(size), uuid.UUID(int=number % 2**64), 1, number, 0, 1)


def accepted(receiver: Receiving, number: int, now: float = 0.0, size: int = 1) -> list[int]:
    return [one.sequence_number for one in receiver.accept(frame(number, size), now)]


def acknowledged(receiver: Receiving, now: float = 0.0) -> list[int]:
    """The numbers in the acknowledgements that are to be written."""
    notes = [json.loads(decode(data).payload) for data in receiver.acknowledgements(now)]
    assert all(
        uuid.UUID(note["AcknowledgedMessageId"]).int == note["AcknowledgedMessageSequenceNumber"] for note in notes
    )
    return [note["AcknowledgedMessageSequenceNumber"] for note in notes]


def test_frames_are_delivered_in_order_and_each_is_acknowledged() -> None:
    receiver = receiving()
    assert accepted(receiver, 0) == [0]
    assert acknowledged(receiver) == [0]
    assert accepted(receiver, 2) == []
    assert acknowledged(receiver) == [2]
    assert accepted(receiver, 3) == []
    assert accepted(receiver, 1) == [1, 2, 3]
    assert acknowledged(receiver) == [3, 1]
    assert receiver.due_at() is None


def test_frame_that_came_before_is_acknowledged_again() -> None:
    receiver = receiving()
    accepted(receiver, 0)
    accepted(receiver, 2)
    acknowledged(receiver)
    assert accepted(receiver, 0) == accepted(receiver, 2) == []
    assert acknowledged(receiver) == [0, 2]


@given(st.permutations(range(12)), st.integers(0, 2**32))
def test_every_order_and_any_repeats_end_in_order(order: list[int], seed: int) -> None:
    for terms in (None, TERMS):
        receiver, chance = receiving(terms), random.Random(seed)
        delivered, told = [], set()
        for number in [again for one in order for again in [one] * chance.randint(1, 3)]:
            delivered += accepted(receiver, number)
            told |= set(acknowledged(receiver, 1.0))
        assert delivered == list(range(12))
        assert 11 in told
        assert terms is not None or told == set(range(12))


def test_terms_acknowledge_once_for_many() -> None:
    receiver = receiving(TERMS)
    for number in range(5):
        accepted(receiver, number, now=1.0 + number * 0.001)
    assert receiver.due_at() == 1.01
    assert acknowledged(receiver, 1.005) == []
    assert acknowledged(receiver, 1.01) == [4]
    assert receiver.due_at() is None
    assert acknowledged(receiver, 9.0) == []


def test_terms_acknowledge_at_once_after_an_eighth_of_the_window() -> None:
    receiver = receiving(TERMS)
    for first in (0, 2):
        accepted(receiver, first, now=1.0, size=512)
        assert acknowledged(receiver, 1.0) == []
        accepted(receiver, first + 1, now=1.0, size=512)
        assert acknowledged(receiver, 1.0) == [first + 1]


def test_terms_acknowledge_at_once_what_came_before() -> None:
    receiver = receiving(TERMS)
    accepted(receiver, 0, now=1.0)
    acknowledged(receiver, 2.0)
    accepted(receiver, 0, now=3.0)
    assert acknowledged(receiver, 3.0) == [0]


def test_new_socket_tells_how_far_it_is() -> None:
    receiver = receiving(TERMS)
    receiver.reconnected(1.0)
    assert acknowledged(receiver, 1.0) == []
    accepted(receiver, 0, now=1.0)
    acknowledged(receiver, 2.0)
    receiver.reconnected(3.0)
    assert acknowledged(receiver, 3.0) == [0]


def test_what_comes_on_hold_is_kept_and_acknowledged_when_it_is_delivered() -> None:
    receiver = receiving()
    receiver.hold()
    assert accepted(receiver, 0) == accepted(receiver, 1) == accepted(receiver, 1) == accepted(receiver, 3) == []
    assert acknowledged(receiver) == []
    assert [one.sequence_number for one in receiver.release(1.0)] == [0, 1]
    assert acknowledged(receiver) == [0, 1]
    assert accepted(receiver, 3) == []
    assert acknowledged(receiver) == [3]
    assert accepted(receiver, 2) == [2, 3]


def test_what_is_kept_is_bounded() -> None:
    receiver = receiving()
    for number in range(1, MOST_KEPT_FRAMES + 500):
        accepted(receiver, number)
    assert not receiver.has_room
    assert len(acknowledged(receiver)) == MOST_KEPT_FRAMES - 1
    assert len(accepted(receiver, 0)) == MOST_KEPT_FRAMES
    assert receiver.has_room


def test_what_was_delivered_takes_no_room() -> None:
    receiver = receiving()
    for number in range(0, 200, 2):
        assert accepted(receiver, number + 1, size=256 * 1024) == []
        assert accepted(receiver, number, size=256 * 1024) == [number, number + 1]
        assert acknowledged(receiver) == [number + 1, number]
    assert receiver.has_room


def test_acknowledgements_that_nobody_writes_are_bounded() -> None:
    receiver = receiving()
    accepted(receiver, 0)
    for _ in range(3 * MOST_KEPT_FRAMES):
        accepted(receiver, 0)
    assert len(acknowledged(receiver)) == MOST_KEPT_FRAMES
