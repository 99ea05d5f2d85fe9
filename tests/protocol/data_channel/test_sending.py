"""The outgoing direction: windows, times of repeats, and an official client that never answers twice."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.data_channel.handshake import Terms
from fleetward.protocol.data_channel.sending import RetransmissionTimer, Sending
from fleetward.protocol.data_channel.stream import HELD_BACK_BY_CLIENT
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.frame import decode


def sending(terms: Terms | None = None) -> Sending:
    made = Sending(
        "output_stream_data",
        first_flags=1,
        held_back_by_peer=HELD_BACK_BY_CLIENT,
        clock_ms=lambda: 1_795_377_882_388,
        new_id=uuid.uuid4,
    )
    if terms is not None:
        made.use(terms)
    return made


def numbers(messages: list[bytes]) -> list[int]:
    return [decode(data, check_digest=False).sequence_number for data in messages]


def fill(sender: Sending, frames: int, now: float = 0.0) -> list[int]:
    """Send so many frames and tell the numbers of those that went out."""
    for _ in range(frames):
        sender.send(1, b"x")
    return numbers(sender.outgoing(now))


# -- times -------------------------------------------------------------------------------------------------------------


def test_timer_starts_at_200_ms_and_learns_as_official_ends_do() -> None:
    timer = RetransmissionTimer()
    assert timer.seconds == 0.2
    timer.observe(0.1)
    assert timer.seconds == pytest.approx(0.1 + 0.01)
    timer.observe(0.3)
    assert timer.seconds == pytest.approx((0.1 * 7 / 8 + 0.3 / 8) + 4 * (0.2 / 4))
    timer.observe(0.3)
    round_trip, variation = 0.125 * 7 / 8 + 0.3 / 8, 0.05 * 3 / 4 + (0.3 - 0.125) / 4
    assert timer.seconds == pytest.approx(round_trip + 4 * variation)


@given(st.lists(st.floats(0, 1000)))
def test_timer_never_waits_more_than_a_second(round_trips: list[float]) -> None:
    timer = RetransmissionTimer()
    for seconds in round_trips:
        timer.observe(seconds)
        assert 0.01 <= timer.seconds <= 1


def test_only_the_oldest_frame_is_sent_again_when_it_is_late() -> None:
    sender = sending()
    assert fill(sender, 3) == [0, 1, 2]
    assert sender.due_at() == pytest.approx(0.2)
    assert sender.outgoing(0.19) == []
    assert numbers(sender.outgoing(0.2)) == [0]
    assert sender.due_at() == pytest.approx(0.4)
    assert numbers(sender.outgoing(0.4)) == [0]
    sender.acknowledged(0, 0.4)
    assert numbers(sender.outgoing(5.0)) == [1]


def test_repeats_are_no_more_often_than_official_ends_look() -> None:
    sender = sending()
    for turn in range(200):
        [number] = fill(sender, 1, float(turn))
        sender.acknowledged(number, turn + 0.0001)
    fill(sender, 1, 1000.0)
    assert sender.due_at() == pytest.approx(1000.1)


def test_slow_link_is_not_filled_with_repeats() -> None:
    sender = sending()
    sender.send(1, bytes(1000 * 1024))
    sender.outgoing(0.0)
    repeated = 0
    for number in range(1000):
        now = 2.0 + number * 0.005
        sender.acknowledged(number, now)
        repeated += len(sender.outgoing(now))
    assert 0 < repeated <= 51


def test_our_own_end_is_given_time_while_it_makes_progress() -> None:
    sender = sending(Terms(frame_bytes=1024))
    for turn in range(20):
        sender.acknowledged_up_to(fill(sender, 1, float(turn))[0], turn + 0.001)
    sender.send(1, bytes(200 * 1024))
    sender.outgoing(20.0)
    for number in range(20, 220):
        now = 20.0 + (number - 19) * 0.09
        assert (sender.due_at() or 0.0) > now
        sender.acknowledged_up_to(number, now)
        assert sender.outgoing(now) == []


def test_our_own_end_on_hold_is_asked_ever_less_often() -> None:
    sender = sending(Terms())
    fill(sender, 1)
    times = []
    while len(times) < 12:
        times.append(sender.due_at())
        assert numbers(sender.outgoing(times[-1])) == [0]
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert waits[:3] == pytest.approx([0.4, 0.8, 1.6])
    assert waits[-1] == pytest.approx(30)
    sender.reconnected()
    assert numbers(sender.outgoing(times[-1])) == [0]
    assert sender.due_at() == pytest.approx(times[-1] + 0.2)


def test_repeat_is_the_same_message() -> None:
    sender = sending()
    sender.send(1, b"x")
    [first] = sender.outgoing(0.0)
    assert sender.outgoing(1.0) == [first]


def test_nothing_is_due_when_all_is_acknowledged() -> None:
    sender = sending()
    fill(sender, 2)
    sender.acknowledged(1, 0.1)
    sender.acknowledged(0, 0.1)
    sender.acknowledged(0, 0.2)
    assert sender.due_at() is None
    assert sender.outgoing(100.0) == []
    assert sender.is_drained


# -- windows -----------------------------------------------------------------------------------------------------------


def test_official_ends_get_at_most_1000_frames_at_a_time() -> None:
    sender = sending()
    assert fill(sender, 1500) == list(range(1000))
    sender.acknowledged(500, 0.01)
    sender.acknowledged(7, 0.01)
    assert numbers(sender.outgoing(0.01)) == [1000, 1001]


def test_terms_count_bytes() -> None:
    sender = sending(Terms(frame_bytes=1024, window_bytes=8 * 1024))
    sender.send(1, bytes(64 * 1024))
    first = sender.outgoing(0.0)
    assert 7 <= len(first) <= 9
    sender.acknowledged_up_to(2, 0.01)
    assert len(sender.outgoing(0.01)) == 3


def test_room_is_what_may_be_queued() -> None:
    sender = sending()
    room = sender.room
    sender.send(1, bytes(1000))
    assert sender.room == room - 1000
    sender.send(3, bytes(room))
    assert sender.room == 0
    sender.outgoing(0.0)
    assert sender.room == room
    sender.use(Terms())
    assert sender.room == 1024 * 1024


@given(st.lists(st.integers(1, 5000), max_size=30), st.integers(1024, 4096))
def test_bytes_are_cut_and_joined_without_change(sizes: list[int], frame_bytes: int) -> None:
    for terms in (None, Terms(frame_bytes=frame_bytes, window_bytes=1024 * 1024)):
        sender = sending(terms)
        for number, size in enumerate(sizes):
            sender.send(1, bytes([number]) * size)
        payloads = [decode(data, check_digest=False).payload for data in sender.outgoing(0.0)]
        assert b"".join(payloads) == b"".join(bytes([number]) * size for number, size in enumerate(sizes))
        assert all(len(payload) <= (frame_bytes if terms else 1024) for payload in payloads)


def test_what_cannot_travel_is_refused_at_once() -> None:
    sender = sending()
    with pytest.raises(LocalProtocolError, match="empty"):
        sender.send(1, b"")
    with pytest.raises(LocalProtocolError, match="65536"):
        sender.send(5, bytes(64 * 1024 + 1))


# -- acknowledgements and new sockets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-1, 3, 2**63])
def test_frame_never_sent_is_not_acknowledged(number: int) -> None:
    sender = sending()
    fill(sender, 3)
    for acknowledge in (sender.acknowledged, sender.acknowledged_up_to):
        with pytest.raises(RemoteProtocolError, match="never sent"):
            acknowledge(number, 0.1)


def test_everything_goes_out_again_in_order_over_a_new_socket() -> None:
    sender = sending()
    fill(sender, 5)
    sender.acknowledged(1, 0.01)
    sender.reconnected()
    assert sender.due_at() == 0.0
    assert numbers(sender.outgoing(0.02)) == [0, 2, 3, 4]
    assert sender.outgoing(0.03) == []
    sender.reconnected()
    sender.reconnected()
    assert numbers(sender.outgoing(0.04)) == [0, 2, 3, 4]
    sender.acknowledged_up_to(4, 0.05)
    assert sender.is_drained


def test_our_own_end_is_asked_how_far_it_is_before_everything_goes_out_again() -> None:
    sender = sending(Terms(frame_bytes=1024))
    sender.send(1, bytes(5 * 1024))
    assert len(sender.outgoing(0.0)) == 5
    sender.reconnected()
    assert sender.due_at() == 0.0
    assert numbers(sender.outgoing(0.1)) == [0]
    assert sender.outgoing(0.15) == []
    sender.acknowledged_up_to(2, 0.2)
    assert sender.due_at() == 0.0
    assert numbers(sender.outgoing(0.2)) == [3, 4]
    assert sender.outgoing(0.21) == []
    sender.reconnected()
    assert numbers(sender.outgoing(0.3)) == [3]
    assert numbers(sender.outgoing(sender.due_at() or 0.0)) == [3]
    sender.acknowledged_up_to(4, 5.0)
    assert sender.is_drained
    assert sender.due_at() is None
    assert sender.outgoing(5.0) == []


def test_new_socket_with_nothing_under_way_sends_nothing() -> None:
    sender = sending()
    sender.reconnected()
    assert sender.due_at() is None
    assert sender.outgoing(1.0) == []


def test_frames_of_a_lost_socket_hold_nobody_up() -> None:
    sender = sending()
    fill(sender, 1000)
    sender.reconnected()
    assert fill(sender, 3)[-3:] == [1000, 1001, 1002]
    assert fill(sender, 2000)[-1] == 1999


def test_frames_of_lost_sockets_are_bounded() -> None:
    sender = sending()
    sent = set()
    for _ in range(30):
        sent |= set(fill(sender, 1000))
        sender.reconnected()
    assert len(sent) == 10_000


def test_late_frames_of_both_sockets_are_sent_again() -> None:
    sender = sending()
    fill(sender, 3)
    sender.reconnected()
    fill(sender, 3)
    assert numbers(sender.outgoing(5.0)) == [0, 3]


def test_frame_the_client_cannot_have_held_back_is_known_to_be_there() -> None:
    sender = sending()
    fill(sender, 2)
    sender.reconnected()
    for acknowledged in range(HELD_BACK_BY_CLIENT + 1):
        assert not sender.is_drained
        sender.send(1, b"x")
        sender.outgoing(0.0)
        sender.acknowledged(2 + acknowledged, 0.0)
    assert sender.is_drained


class OfficialClient:
    """The official client's ears: it says nothing to a frame that it has already taken."""

    def __init__(self) -> None:
        self.expected = 0
        self.kept: set[int] = set()

    def hear(self, number: int) -> Iterator[int]:
        """The numbers to acknowledge."""
        if number < self.expected or (number > self.expected and len(self.kept) >= HELD_BACK_BY_CLIENT):
            return
        self.kept.add(number)
        while self.expected in self.kept:
            self.kept.remove(self.expected)
            self.expected += 1
        yield number


def test_what_came_before_a_socket_was_lost_proves_nothing_of_what_was_under_way() -> None:
    sender = sending()
    fill(sender, 1)
    sender.reconnected()
    for number in range(1, HELD_BACK_BY_CLIENT):
        sender.send(1, b"x")
        sender.outgoing(0.0)
        sender.acknowledged(number, 0.0)
    [under_way] = fill(sender, 1)
    sender.reconnected()
    for number in range(under_way + 1, under_way + 10):
        fill(sender, 1)
        sender.acknowledged(number, 0.0)
    assert numbers(sender.outgoing(5.0)) == [0]
    sender.acknowledged(0, 5.0)
    assert numbers(sender.outgoing(10.0)) == [under_way]


def test_client_whose_acknowledgements_are_lost_with_every_socket_goes_on() -> None:
    sender, client = sending(), OfficialClient()
    frames = 0
    for turn in range(60):
        for _ in range(1000):
            sender.send(1, b"x")
            frames += 1
        for number in numbers(sender.outgoing(float(turn))):
            for answer in client.hear(number):
                if turn % 10:
                    sender.acknowledged(answer, float(turn))
        if turn % 10 == 0:
            sender.reconnected()
    for number in numbers(sender.outgoing(100.0)):
        client.hear(number)
    assert client.expected > 50_000
    assert client.expected == frames
