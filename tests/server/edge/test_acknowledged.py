"""Acknowledged: an official agent hears again of what its client has taken, who is given the rest when it is back."""

from __future__ import annotations

import json
import uuid

from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.frame import Frame, PayloadType, decode, encode
from fleetward.server.edge.acknowledged import MOST_AHEAD, MOST_IN_A_SECOND, ON_THE_WAY_BYTES, Acknowledged


def output(number: int, message_id: uuid.UUID | None = None) -> bytes:
    """A frame as an agent sends it."""
    frame = Frame("output_stream_data", b"x", message_id or uuid.uuid4(), 1, number, payload_type=PayloadType.OUTPUT)
    return encode(frame)


def acknowledgement(number: object) -> bytes:
    """What a client says of it."""
    body = {"AcknowledgedMessageType": "output_stream_data", "AcknowledgedMessageSequenceNumber": number}
    return encode(Frame("acknowledge", json.dumps(body).encode(), uuid.uuid4(), 1, flags=3))


@given(st.lists(st.integers(0, 40)))
def test_just_what_was_acknowledged_is_answered(numbers: list[int]) -> None:
    acknowledged = Acknowledged()
    for number in numbers:
        acknowledged.note(acknowledgement(number))
    assert {number for number in range(42) if acknowledged.answer(output(number)) is not None} == set(numbers)


def test_the_answer_names_the_frame_as_an_acknowledgement_does() -> None:
    acknowledged, message_id = Acknowledged(), uuid.uuid4()
    acknowledged.note(acknowledgement(0))
    again = acknowledged.answer(output(0, message_id))
    assert again is not None
    frame = decode(again)
    assert (frame.message_type, frame.sequence_number, frame.flags) == ("acknowledge", 0, 3)
    assert json.loads(frame.payload) == {
        "AcknowledgedMessageType": "output_stream_data",
        "AcknowledgedMessageId": str(message_id),
        "AcknowledgedMessageSequenceNumber": 0,
        "IsSequentialMessage": True,
    }


def test_other_frames_go_on_and_nonsense_is_passed_over() -> None:
    acknowledged = Acknowledged()
    acknowledged.note(acknowledgement("one"))
    acknowledged.note(encode(Frame("acknowledge", b"[]", uuid.uuid4(), 1)))
    acknowledged.note(encode(Frame("acknowledge", b"no JSON", uuid.uuid4(), 1)))
    acknowledged.note(acknowledgement(0))
    assert acknowledged.answer(encode(Frame("channel_closed", b"{}", uuid.uuid4(), 1))) is None
    assert acknowledged.answer(output(-1)) is not None  # behind the first: a client would not look at it


def test_numbers_far_ahead_are_not_collected_without_end() -> None:
    acknowledged = Acknowledged()
    for number in range(1, MOST_AHEAD + 100):
        acknowledged.note(acknowledgement(number))
    assert acknowledged.answer(output(MOST_AHEAD + 50)) is None
    assert acknowledged.answer(output(MOST_AHEAD - 1)) is not None


@given(st.lists(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_what_is_not_acknowledged_is_on_the_way_in_order_and_once(sent: list[int], taken: set[int]) -> None:
    acknowledged, frames = Acknowledged(), {number: output(number) for number in range(21)}
    for number in sent:
        acknowledged.answer(frames[number])
    for number in taken:
        acknowledged.note(acknowledgement(number))
    left = sorted(set(sent) - taken)
    assert acknowledged.give_again() == [frames[number] for number in left]
    assert [number for number in range(21) if acknowledged.is_on_the_way(frames[number])] == left


def test_only_output_is_on_the_way() -> None:
    acknowledged = Acknowledged()
    acknowledged.answer(output(0))
    assert not acknowledged.is_on_the_way(acknowledgement(0))


def test_what_is_on_the_way_is_bounded_and_makes_room_as_it_arrives() -> None:
    acknowledged, size = Acknowledged(), len(output(0))
    most = ON_THE_WAY_BYTES // size
    for number in range(most + 1):
        acknowledged.answer(output(number))
    assert len(acknowledged.give_again()) == most
    assert not acknowledged.is_on_the_way(output(most))
    acknowledged.note(acknowledgement(0))
    acknowledged.answer(output(most))
    assert acknowledged.is_on_the_way(output(most))


def test_what_a_client_that_is_back_passes_over_it_had_taken_before() -> None:
    """Its word of the numbers 1 and 2 was lost in the cut: it says nothing more of them, and 3 was behind them."""
    acknowledged = Acknowledged()
    for number in range(6):
        acknowledged.answer(output(number))
    acknowledged.note(acknowledgement(0))
    assert len(acknowledged.give_again()) == 5
    assert acknowledged.answer(output(1)) is None
    acknowledged.note(acknowledgement(3))
    assert [number for number in range(6) if acknowledged.answer(output(number)) is not None] == [0, 1, 2, 3]
    assert len(acknowledged.give_again()) == 2


def test_of_a_client_that_comes_first_nothing_is_taken_for_granted() -> None:
    """It may hold a frame back for a moment, until it knows what kind of session it is in, and take later ones."""
    acknowledged = Acknowledged()
    for number in range(3):
        acknowledged.answer(output(number))
    acknowledged.give_again()
    acknowledged.note(acknowledgement(1))
    assert acknowledged.answer(output(0)) is None


def test_an_agent_that_missed_one_acknowledgement_hears_all_of_that_second_again() -> None:
    acknowledged, said = Acknowledged(), [acknowledgement(number) for number in range(MOST_IN_A_SECOND + 9)]
    for frame in said[:5]:
        acknowledged.note(frame)
    assert acknowledged.say_again() == []
    for frame in said[5:]:
        acknowledged.note(frame)
    acknowledged.answer(output(7))
    assert acknowledged.say_again() == said[5 : 5 + MOST_IN_A_SECOND]
    assert acknowledged.say_again() == []
