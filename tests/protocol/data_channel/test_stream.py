"""Two ends of a stream over links that lose, repeat, reorder and cut: every byte once and in order, memory bounded."""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.protocol.data_channel.handshake import MOST_FRAME_BYTES, Terms
from fleetward.protocol.data_channel.stream import (
    LARGEST_MESSAGE_BYTES,
    Closed,
    Data,
    Event,
    Paused,
    Resumed,
    Side,
    Stream,
)
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.frame import HEADER_BYTES, Frame, PayloadType, decode, encode
from tests.protocol.data_channel.link import NOW_MS, Link, stream

GOLDEN = Path(__file__).parents[2] / "golden" / "data_channel"
SMALL = Terms(frame_bytes=2048, window_bytes=16 * 1024)


def pair(terms: Terms | None = None) -> tuple[Stream, Stream]:
    return stream(Side.AGENT, terms), stream(Side.CLIENT, terms)


def output(events: list[Event]) -> bytes:
    return b"".join(event.payload for event in events if isinstance(event, Data))


def message(message_type: str, members: object = None, **fields: Any) -> bytes:
    payload = json.dumps({} if members is None else members).encode()
    return encode(Frame(message_type, payload, uuid.UUID(int=7), NOW_MS, **fields))


def input_frame(number: int, payload: bytes = b"x", payload_type: int = 1) -> bytes:
    return encode(Frame("input_stream_data", payload, uuid.UUID(int=7), NOW_MS, number, 0, payload_type))


def acknowledgement(number: object, *, of: str = "output_stream_data", **more: object) -> bytes:
    return message("acknowledge", {"AcknowledgedMessageType": of, "AcknowledgedMessageSequenceNumber": number} | more)


# -- both ends over a bad link -----------------------------------------------------------------------------------------


pairings = pytest.mark.parametrize(
    ("agent_terms", "client_terms", "encrypted"),
    [
        pytest.param(None, None, False, id="official"),
        pytest.param(SMALL, SMALL, False, id="ours"),
        pytest.param(SMALL, SMALL, True, id="ours-encrypted"),
        pytest.param(None, None, True, id="official-encrypted"),
        pytest.param(SMALL, None, False, id="agent-first-to-use-terms"),
        pytest.param(None, SMALL, False, id="client-first-to-use-terms"),
    ],
)


@pairings
@given(
    st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 9000), st.sampled_from([1, 1, 1, 11])), max_size=12),
    st.integers(0, 2**32),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
    st.floats(0, 0.3),
    st.integers(0, 3),
)
@settings(max_examples=30)
def test_every_byte_arrives_once_and_in_order(
    agent_terms: Terms | None,
    client_terms: Terms | None,
    encrypted: bool,
    sends: list[tuple[Side, int, int]],
    seed: int,
    loss: float,
    repeats: float,
    jitter: float,
    cuts: int,
) -> None:
    agent = stream(Side.AGENT, agent_terms, encrypted=encrypted)
    client = stream(Side.CLIENT, client_terms, encrypted=encrypted)
    link = Link(agent, client, seed, loss=loss, repeats=repeats, jitter=jitter)
    chance = random.Random(seed)
    sent = {Side.AGENT: b"", Side.CLIENT: b""}
    for side, size, payload_type in sends:
        payload = chance.randbytes(size)
        (agent if side is Side.AGENT else client).send(payload_type, payload)
        sent[side] += payload
        for _ in range(chance.randrange(4)):
            link.step()
        if cuts and chance.random() < 0.3:
            cuts -= 1
            link.cut()
    link.run()
    assert output(link.heard[Side.CLIENT]) == sent[Side.AGENT]
    assert output(link.heard[Side.AGENT]) == sent[Side.CLIENT]
    assert agent.is_drained
    assert client.is_drained


@pairings
def test_hundreds_of_cuts_lose_no_byte(agent_terms: Terms | None, client_terms: Terms | None, encrypted: bool) -> None:
    agent = stream(Side.AGENT, agent_terms, encrypted=encrypted)
    client = stream(Side.CLIENT, client_terms, encrypted=encrypted)
    link = Link(agent, client, 4, loss=0, repeats=0, jitter=0)
    payload = random.Random(4).randbytes(300_000)
    left = payload
    for _ in range(200):
        agent.send(PayloadType.OUTPUT, left[:1500])
        left = left[1500:]
        link.pump()
        link.cut()
    link.run()
    assert output(link.heard[Side.CLIENT]) == payload
    assert agent.is_drained


# -- what goes over the wire -------------------------------------------------------------------------------------------


def test_first_frame_of_an_agent_alone_is_marked() -> None:
    for side, flags in ((Side.AGENT, [1, 0]), (Side.CLIENT, [0, 0])):
        sender = stream(side)
        sender.send(PayloadType.OUTPUT, b"a")
        sender.send(PayloadType.OUTPUT, b"b")
        frames = [decode(data) for data in sender.outgoing(0.0)]
        assert [frame.flags for frame in frames] == flags
        assert [frame.sequence_number for frame in frames] == [0, 1]
        assert {frame.message_type for frame in frames} == {
            "output_stream_data" if side is Side.AGENT else "input_stream_data"
        }


def test_official_frames_have_1024_bytes_and_a_digest() -> None:
    agent, client = pair()
    agent.send(PayloadType.OUTPUT, bytes(2500))
    messages = agent.outgoing(0.0)
    assert [len(decode(data).payload) for data in messages] == [1024, 1024, 452]
    assert output([event for data in messages for event in client.receive(data, 0.0)]) == bytes(2500)


def test_terms_make_few_large_messages_without_digest() -> None:
    agent, client = pair(Terms())
    for _ in range(1024):
        agent.send(PayloadType.OUTPUT, b"x" * 1024)
    messages = agent.outgoing(0.0)
    assert [len(data) - HEADER_BYTES for data in messages] == [MOST_FRAME_BYTES] * 4
    assert all(data[80:112] == bytes(32) for data in messages)
    assert len([event for data in messages for event in client.receive(data, 0.0)]) == 4


def test_payloads_of_different_types_are_never_joined() -> None:
    agent, client = pair(Terms())
    sent = [(1, b"out"), (11, b"err"), (1, b"put"), (12, b"EXIT_CODE: 0"), (12, b"EXIT_CODE: 1"), (10, b"\0\0\0\2")]
    for payload_type, payload in sent:
        agent.send(payload_type, payload)
    events = [event for data in agent.outgoing(0.0) for event in client.receive(data, 0.0)]
    assert events == [Data(payload_type, payload) for payload_type, payload in sent]


def test_messages_in_a_stream_are_never_cut() -> None:
    agent, client = pair()
    request = b"{" + b" " * 9000 + b"}"
    agent.send(PayloadType.HANDSHAKE_REQUEST, request)
    [data] = agent.outgoing(0.0)
    assert client.receive(data, 0.0) == [Data(PayloadType.HANDSHAKE_REQUEST, request)]


def test_only_output_is_sealed() -> None:
    agent, client = stream(Side.AGENT, encrypted=True), stream(Side.CLIENT, encrypted=True)
    for payload_type in range(1, 13):
        agent.send(payload_type, b"payload")
    messages = agent.outgoing(0.0)
    sealed = [decode(data).payload_type for data in messages if decode(data).payload != b"payload"]
    assert sealed == [PayloadType.OUTPUT, PayloadType.STANDARD_ERROR, PayloadType.EXIT_CODE]
    events = [event for data in messages for event in client.receive(data, 0.0)]
    assert events == [Data(payload_type, b"payload") for payload_type in range(1, 13)]


def test_what_is_not_sealed_with_the_sessions_key_is_refused() -> None:
    agent, client = stream(Side.AGENT), stream(Side.CLIENT, encrypted=True)
    agent.send(PayloadType.OUTPUT, b"plain text that pretends to be sealed")
    with pytest.raises(RemoteProtocolError, match="not sealed"):
        client.receive(agent.outgoing(0.0)[0], 0.0)


# One golden file per kind of frame: what is sent as JSON, dashes, then the frame's fields and its whole bytes in hex.
PAYLOADS = {
    "output": (Side.AGENT, PayloadType.OUTPUT),
    "input": (Side.CLIENT, PayloadType.OUTPUT),
    "size": (Side.CLIENT, PayloadType.SIZE),
    "flag": (Side.CLIENT, PayloadType.FLAG),
    "standard_error": (Side.AGENT, PayloadType.STANDARD_ERROR),
    "exit_code": (Side.AGENT, PayloadType.EXIT_CODE),
    "encryption_challenge_request": (Side.AGENT, PayloadType.ENCRYPTION_CHALLENGE_REQUEST),
    "encryption_challenge_response": (Side.CLIENT, PayloadType.ENCRYPTION_CHALLENGE_RESPONSE),
}
FRAMES: dict[str, Callable[[Any], bytes]] = {
    "acknowledge": lambda given: acknowledged(given, None),
    "acknowledge_up_to": lambda given: acknowledged(given, SMALL),
    "agent_session_state": lambda given: stream(Side.AGENT).state_message(**given),
    **{
        name: lambda given, side=side, payload_type=payload_type: sent_alone(side, payload_type, given["payload"])
        for name, (side, payload_type) in PAYLOADS.items()
    },
}


def sent_alone(side: Side, payload_type: int, text: str) -> bytes:
    sender = stream(side)
    sender.send(payload_type, text.encode("latin-1"))
    [data] = sender.outgoing(0.0)
    return data


def acknowledged(given: dict[str, Any], terms: Terms | None) -> bytes:
    """What the client answers to output frames."""
    client = stream(Side.CLIENT, terms)
    for number in range(given["frames"]):
        client.receive(
            encode(Frame("output_stream_data", b"x", uuid.UUID(given["message_id"]), NOW_MS, number, 0, 1)), 0.0
        )
    return client.outgoing(1.0)[-1]


def rendered(data: bytes) -> str:
    frame = decode(data)
    lines = [data[start : start + 32].hex(" ", -4) for start in range(0, len(data), 32)]
    fields = f"{frame.message_type} {frame.sequence_number} flags {frame.flags} payload type {frame.payload_type}"
    return f"{fields}\n{frame.payload!r}\n\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", FRAMES)
def test_frame_on_the_wire_is_the_recorded_one(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    given, expected = path.read_text().split("\n----\n")
    seen = rendered(FRAMES[name](json.loads(given)))
    if os.environ.get("GOLDEN") == "rewrite":
        path.write_text(f"{given}\n----\n{seen}")
    else:
        assert seen == expected


def test_every_golden_frame_is_tested() -> None:
    of_other_tests = ("open_", "handshake_")
    assert {path.stem for path in GOLDEN.glob("*.txt") if not path.stem.startswith(of_other_tests)} == set(FRAMES)


# -- pauses, ends, holds -----------------------------------------------------------------------------------------------


def test_paused_agent_sends_nothing_until_the_client_is_heard_of() -> None:
    for back in (message("start_publication"), input_frame(0), acknowledgement(0)):
        agent = stream(Side.AGENT)
        agent.send(PayloadType.OUTPUT, b"a")
        agent.outgoing(0.0)
        assert agent.receive(message("pause_publication"), 0.0) == [Paused()]
        assert agent.receive(message("pause_publication"), 0.0) == []
        agent.send(PayloadType.OUTPUT, b"b")
        assert agent.paused
        assert agent.outgoing(10.0) == []
        assert agent.due_at() is None
        assert agent.receive(back, 0.05)[0] == Resumed()
        assert not agent.paused
        assert agent.receive(message("start_publication"), 0.05) == []
        payloads = [decode(data).payload for data in agent.outgoing(0.05)]
        assert b"b" in payloads
        assert (b"a" in payloads) == (back != acknowledgement(0))


def test_client_passes_over_pauses() -> None:
    client = stream(Side.CLIENT)
    assert client.receive(message("pause_publication"), 0.0) == []
    assert client.receive(message("start_publication"), 0.0) == []
    assert not client.paused


def test_new_socket_ends_a_pause() -> None:
    agent = stream(Side.AGENT)
    agent.receive(message("pause_publication"), 0.0)
    agent.send(PayloadType.OUTPUT, b"a")
    agent.reconnected(1.0)
    assert len(agent.outgoing(1.0)) == 1


def test_new_socket_tells_our_own_end_at_once_how_far_we_are() -> None:
    agent, client = pair(SMALL)
    agent.send(PayloadType.OUTPUT, b"a")
    client.receive(agent.outgoing(0.0)[0], 0.0)
    client.outgoing(1.0)
    client.reconnected(2.0)
    agent.reconnected(2.0)
    [how_far] = client.outgoing(2.0)
    agent.receive(how_far, 2.0)
    assert agent.is_drained
    assert agent.outgoing(2.0) == []


def test_both_ends_hear_that_the_session_is_closed() -> None:
    for end in pair():
        assert end.receive(message("channel_closed", {"Output": "bye"}), 0.0) == [Closed("bye")]
        assert end.receive(message("channel_closed", {"Output": None}), 0.0) == [Closed("")]


def test_types_nobody_knows_are_passed_over() -> None:
    agent, client = pair()
    assert agent.receive(message("telemetry"), 0.0) == []
    assert agent.receive(message("output_stream_data"), 0.0) == []
    assert client.receive(message("input_stream_data"), 0.0) == []
    assert agent.receive(acknowledgement(5, of="input_stream_data"), 0.0) == []
    assert agent.outgoing(1.0) == client.outgoing(1.0) == []


def test_only_an_agent_tells_the_state_of_a_session() -> None:
    with pytest.raises(LocalProtocolError, match="agent"):
        stream(Side.CLIENT).state_message("Connected", "s")


@pytest.mark.parametrize("terms", [None, SMALL], ids=["official", "ours"])
def test_reader_on_hold_stops_the_sender_but_not_the_other_direction(terms: Terms | None) -> None:
    agent, client = pair(terms)
    link = Link(agent, client, 1, loss=0, repeats=0, jitter=0)
    client.hold()
    sent = bytes(0)
    while agent.room and len(sent) < 8_000_000:
        agent.send(PayloadType.OUTPUT, b"x" * 1000)
        sent += b"x" * 1000
        link.step()
    client.send(PayloadType.OUTPUT, b"still heard")
    for _ in range(50):
        link.step()
    assert len(sent) < 3_000_000
    assert output(link.heard[Side.CLIENT]) == b""
    assert output(link.heard[Side.AGENT]) == b"still heard"
    assert client.is_drained
    assert client.may_read
    link.heard[Side.CLIENT] += client.release(link.now)
    link.run()
    assert output(link.heard[Side.CLIENT]) == sent
    assert agent.is_drained


def test_reader_on_hold_is_not_flooded_with_small_frames() -> None:
    agent, client = pair(Terms())
    link = Link(agent, client, 1, loss=0, repeats=0, jitter=0)
    client.hold()
    for _ in range(30_000):
        agent.send(PayloadType.OUTPUT, b"x")
        link.pump()
    for _ in range(10):
        link.step()
    link.heard[Side.CLIENT] += client.release(link.now)
    link.run(100)
    assert output(link.heard[Side.CLIENT]) == b"x" * 30_000


def test_end_that_hears_nothing_keeps_no_more_than_its_window() -> None:
    for terms, most in ((None, 1000), (Terms(), 40)):
        agent = stream(Side.AGENT, terms)
        frames = 0
        for turn in range(3000):
            if not agent.room:
                break
            agent.send(PayloadType.OUTPUT, bytes(agent.room))
            frames += len(agent.outgoing(turn * 1e-6))
        assert agent.room == 0
        assert frames <= most


# -- attacks -----------------------------------------------------------------------------------------------------------


def test_giant_frame_is_refused_unread() -> None:
    for size in (LARGEST_MESSAGE_BYTES + 1, 50_000_000):
        with pytest.raises(RemoteProtocolError, match="at most"):
            stream(Side.AGENT).receive(bytes(size), 0.0)


@pytest.mark.parametrize("claimed", [0, 1, 5, 2**31, 2**32 - 1])
def test_lie_about_the_payloads_length_is_refused(claimed: int) -> None:
    data = bytearray(input_frame(0, b"four"))
    data[116:120] = claimed.to_bytes(4, "big")
    with pytest.raises(RemoteProtocolError, match="announced"):
        stream(Side.AGENT).receive(bytes(data), 0.0)


def test_payload_with_another_digest_is_refused() -> None:
    data = bytearray(input_frame(0, b"four"))
    data[-1] ^= 1
    with pytest.raises(RemoteProtocolError, match="digest"):
        stream(Side.AGENT).receive(bytes(data), 0.0)


def test_negative_sequence_number_is_refused() -> None:
    for number in (-1, -(2**63)):
        with pytest.raises(RemoteProtocolError, match="numbered from 0"):
            stream(Side.AGENT).receive(input_frame(number), 0.0)


def test_frames_far_ahead_are_neither_kept_nor_acknowledged() -> None:
    agent = stream(Side.AGENT)
    for number in (10_000, 2**40, 2**63 - 1):
        assert agent.receive(input_frame(number), 0.0) == []
    assert agent.outgoing(1.0) == []
    assert agent.receive(input_frame(0), 0.0) == [Data(1, b"x")]


def test_what_is_kept_ahead_of_a_gap_is_bounded_in_bytes() -> None:
    agent = stream(Side.AGENT)
    large = bytes(MOST_FRAME_BYTES)
    for number in range(1, 200):
        agent.receive(input_frame(number, large), 0.0)
    assert len(agent.outgoing(0.0)) == 64
    assert not agent.may_read
    assert len(agent.receive(input_frame(0), 0.0)) == 65


@pytest.mark.parametrize("number", [1, 2, 2**63, -1, 10**30])
@pytest.mark.parametrize("more", [{}, {"Fleetward": {"UpTo": True}}], ids=["each", "up-to"])
def test_acknowledgement_of_a_frame_never_sent_is_refused(number: int, more: dict[str, object]) -> None:
    agent = stream(Side.AGENT)
    agent.send(PayloadType.OUTPUT, b"x")
    agent.outgoing(0.0)
    with pytest.raises(RemoteProtocolError, match="never sent"):
        agent.receive(acknowledgement(number, **more), 0.0)
    assert not agent.is_drained


@pytest.mark.parametrize("side", Side)
def test_what_went_to_a_socket_that_was_dead_goes_out_again_when_the_other_end_has_a_new_one(side: Side) -> None:
    end, other = stream(side, SMALL), stream(Side.CLIENT if side is Side.AGENT else Side.AGENT, SMALL)
    for number in range(3):
        end.send(PayloadType.OUTPUT, bytes([number]) * 2048)
    assert len(end.outgoing(0.0)) == 3  # nobody takes them, and nobody says so
    assert end.receive(message("start_publication"), 0.01) == []
    received = b""
    for now in (0.02, 0.04):  # the first asks how far the other end is; its answer brings the rest
        for data in end.outgoing(now):
            received += output(other.receive(data, now))
        for data in other.outgoing(now + 0.011):
            end.receive(data, now + 0.011)
    assert received == b"".join(bytes([number]) * 2048 for number in range(3))


@pytest.mark.parametrize("number", [None, "0", 0.0, True, [0], {}])
def test_acknowledgement_of_no_number_is_refused(number: object) -> None:
    agent = stream(Side.AGENT)
    agent.send(PayloadType.OUTPUT, b"x")
    agent.outgoing(0.0)
    with pytest.raises(RemoteProtocolError, match="whole number"):
        agent.receive(acknowledgement(number), 0.0)


@pytest.mark.parametrize("marker", [None, True, "UpTo", [], {}, {"UpTo": 1}, {"UpTo": False}])
def test_odd_markers_of_an_acknowledgement_do_not_make_it_count_for_more(marker: object) -> None:
    agent = stream(Side.AGENT)
    for _ in range(2):
        agent.send(PayloadType.OUTPUT, b"x")
    agent.outgoing(0.0)
    try:
        agent.receive(acknowledgement(1, Fleetward=marker), 0.0)
    except RemoteProtocolError:
        return
    assert [decode(data).sequence_number for data in agent.outgoing(5.0)] == [0]


@pytest.mark.parametrize("message_type", ["acknowledge", "channel_closed"])
@pytest.mark.parametrize("payload", [b"[]", b"null", b"\xff", b"{", b"[" * 60_000, b" " * 70_000])
def test_notes_that_are_no_objects_are_refused(message_type: str, payload: bytes) -> None:
    for end in pair():
        with pytest.raises(RemoteProtocolError):
            end.receive(encode(Frame(message_type, payload, uuid.UUID(int=7), NOW_MS)), 0.0)


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_remote_protocol_error(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        stream(Side.AGENT).receive(data, 0.0)
