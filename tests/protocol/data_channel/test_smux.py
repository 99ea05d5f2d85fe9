"""Many connections in one byte stream: nothing is lost wherever the bytes are cut; no stranger's frame counts."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.data_channel import smux
from fleetward.protocol.data_channel.smux import MOST_STREAMS, Closed, Data, Mux, MuxEvent, Opened, Reset
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

SYN, FIN, PSH, NOP = range(4)


def frame(command: int, stream_id: int, payload: bytes = b"", *, version: int = 1, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack("<BBHI", version, command, size, stream_id) + payload


def pair(streams: int = 1) -> tuple[Mux, Mux, list[int]]:
    """Client and agent with streams that both know."""
    client, agent = Mux(True), Mux(False)
    ids = []
    for _ in range(streams):
        stream_id, data = client.open()
        assert agent.receive(data) == [Opened(stream_id)]
        ids.append(stream_id)
    return client, agent, ids


def merged(events: list[MuxEvent]) -> list[MuxEvent]:
    """Events with neighbouring Data of one stream joined."""
    result: list[MuxEvent] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, Data) and isinstance(last, Data) and last.stream_id == event.stream_id:
            result[-1] = Data(event.stream_id, last.payload + event.payload)
        else:
            result.append(event)
    return result


def test_bytes_on_the_wire_are_those_of_version_1() -> None:
    client, agent = Mux(True), Mux(False)
    stream_id, opened = client.open()
    assert opened.hex(" ") == "01 00 00 00 03 00 00 00"
    assert client.send(stream_id, b"ab").hex(" ") == "01 02 02 00 03 00 00 00 61 62"
    assert client.close(stream_id).hex(" ") == "01 01 00 00 03 00 00 00"
    assert agent.open()[1].hex(" ") == "01 00 00 00 02 00 00 00"


def test_ids_of_a_client_are_odd_and_of_an_agent_even() -> None:
    client, agent = Mux(True), Mux(False)
    assert [client.open()[0] for _ in range(3)] == [3, 5, 7]
    assert [agent.open()[0] for _ in range(3)] == [2, 4, 6]


commands = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.just(0), st.just(0)),
        st.tuples(st.just("send"), st.integers(0, 5), st.integers(1, 70_000)),
        st.tuples(st.just("close"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("nop"), st.just(0), st.just(0)),
    ),
    max_size=20,
)


@given(commands, st.lists(st.integers(1, 40_000), min_size=1, max_size=10))
def test_what_one_end_does_the_other_hears_wherever_the_bytes_are_cut(
    steps: list[tuple[str, int, int]], cuts: list[int]
) -> None:
    client, agent = Mux(True), Mux(False)
    wire, expected, alive = bytearray(), list[MuxEvent](), list[int]()
    for number, (what, which, size) in enumerate(steps):
        stream_id = alive[which % len(alive)] if alive else None
        if what == "open":
            opened, data = client.open()
            alive.append(opened)
            expected.append(Opened(opened))
            wire += data
        elif what == "nop":
            wire += frame(NOP, 0)
        elif stream_id is not None and what == "send":
            payload = bytes([number]) * size
            wire += client.send(stream_id, payload)
            expected.append(Data(stream_id, payload))
        elif stream_id is not None:
            alive.remove(stream_id)
            wire += client.close(stream_id)
            expected.append(Closed(stream_id))
    heard: list[MuxEvent] = []
    for number in range(len(wire)):
        size = cuts[number % len(cuts)]
        heard += agent.receive(memoryview(wire)[:size])
        wire = wire[size:]
    assert merged(heard) == merged(expected)


def test_large_payload_travels_in_frames_an_official_end_reads_and_comes_as_one() -> None:
    client, agent, [stream_id] = pair()
    payload = bytes(range(256)) * 1000
    wire = client.send(stream_id, memoryview(payload))
    assert struct.unpack("<H", wire[2:4]) == (32768,)
    assert agent.receive(wire) == [Data(stream_id, payload)]


def test_payload_is_told_as_far_as_it_has_come() -> None:
    client, agent, [stream_id] = pair()
    wire = client.send(stream_id, b"abcdef")
    assert agent.receive(wire[:10]) == [Data(stream_id, b"ab")]
    assert agent.receive(b"") == []
    assert agent.receive(wire[10:]) == [Data(stream_id, b"cdef")]


def test_close_ends_one_direction_only() -> None:
    client, agent, [stream_id] = pair()
    assert agent.receive(client.close(stream_id)) == [Closed(stream_id)]
    assert client.receive(agent.send(stream_id, b"late")) == [Data(stream_id, b"late")]
    assert client.receive(agent.close(stream_id)) == [Closed(stream_id)]
    assert client.receive(frame(PSH, stream_id, b"later")) == []
    assert agent.close(stream_id) == client.close(stream_id) == b""


def test_nothing_is_sent_on_a_stream_that_is_closed_or_unknown() -> None:
    client, _, [stream_id] = pair()
    client.close(stream_id)
    for unknown in (stream_id, 99):
        with pytest.raises(LocalProtocolError, match="not open"):
            client.send(unknown, b"x")
    assert client.close(99) == client.reset(99) == b""


def test_data_after_the_peers_end_of_a_stream_is_passed_over() -> None:
    client, agent, [stream_id] = pair()
    agent.receive(client.close(stream_id))
    assert agent.receive(frame(PSH, stream_id, b"late")) == []


@pytest.mark.parametrize("closed_before", [False, True])
def test_reset_ends_both_directions_at_both_ends(closed_before: bool) -> None:
    client, agent, [stream_id] = pair()
    wire = client.close(stream_id) if closed_before else b""
    wire += client.reset(stream_id)
    assert agent.receive(wire) == [Closed(stream_id), Reset(stream_id)]
    assert client.receive(frame(PSH, stream_id, b"under way") + frame(FIN, stream_id)) == []
    with pytest.raises(LocalProtocolError, match="not open"):
        agent.send(stream_id, b"x")


def test_frames_of_unknown_streams_are_passed_over() -> None:
    client, agent, [stream_id] = pair()
    strangers = frame(PSH, 77, b"x" * 500) + frame(FIN, 77) + frame(FIN, 0) + frame(PSH, 2**32 - 1, b"y")
    assert agent.receive(strangers + client.send(stream_id, b"ok")) == [Data(stream_id, b"ok")]


def test_second_opening_of_a_stream_is_passed_over() -> None:
    _, agent, [stream_id] = pair()
    assert agent.receive(frame(SYN, stream_id)) == []


def test_empty_payload_is_no_event() -> None:
    _, agent, [stream_id] = pair()
    assert agent.receive(frame(PSH, stream_id)) == []


@pytest.mark.parametrize(
    "data",
    [
        frame(SYN, 3, version=2),
        frame(SYN, 3, version=0),
        frame(4, 3, b"\0" * 8),
        frame(255, 3),
        frame(SYN, 3, length=1),
        frame(FIN, 3, length=1),
        frame(NOP, 0, length=65535),
        frame(SYN, 2),
        frame(SYN, 0),
    ],
    ids=lambda data: data.hex(),
)
def test_frame_of_another_protocol_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Mux(False).receive(data)


def test_streams_are_bounded_at_both_ends() -> None:
    client, agent, ids = pair(MOST_STREAMS)
    with pytest.raises(LocalProtocolError, match="1024"):
        client.open()
    with pytest.raises(RemoteProtocolError, match="1024"):
        agent.receive(frame(SYN, 9999))
    agent.reset(ids[0])
    assert agent.receive(frame(SYN, 9999)) == [Opened(9999)]


def test_ids_are_never_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smux, "_LARGEST_ID", 6)
    client = Mux(True)
    assert [client.open()[0] for _ in range(2)] == [3, 5]
    with pytest.raises(LocalProtocolError, match="another session"):
        client.open()


@pytest.mark.parametrize("client_is_first", [True, False])
def test_stream_closed_at_both_ends_is_forgotten(client_is_first: bool) -> None:
    client, agent = Mux(True), Mux(False)
    for _ in range(MOST_STREAMS + 1):
        stream_id, data = client.open()
        agent.receive(data)
        for closing, other in (
            [(client, agent), (agent, client)] if client_is_first else [(agent, client), (client, agent)]
        ):
            assert other.receive(closing.close(stream_id)) == [Closed(stream_id)]


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_garbage_raises_nothing_but_remote_protocol_error(chunks: list[bytes]) -> None:
    _, agent, _ = pair(2)
    try:
        for chunk in chunks:
            agent.receive(chunk)
    except RemoteProtocolError:
        pass
