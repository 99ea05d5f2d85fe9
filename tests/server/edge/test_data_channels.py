"""Data channels: both ends of sessions over real sockets, by both implementations of WebSocket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from fleetward.protocol.control_channel import SessionClosed, SessionRequested
from fleetward.protocol.data_channel.opening import agent_open_message
from tests.channel import Channel
from tests.serving import Node, ServerProcess, StartServer, eventually
from tests.sessions import (
    ClientEnd,
    NodeEnd,
    complete,
    described,
    frame,
    node_socket,
    node_token,
    opened,
    recording,
    shown,
    start,
    status,
    terminate,
)

TUNNEL = {"DocumentName": "AWS-StartPortForwardingSession", "Parameters": {"portNumber": ["5432"]}}


@pytest.fixture
def channel(machine: Node) -> Iterator[Channel]:
    """Its control channel."""
    with Channel(machine) as control:
        eventually(lambda: is_connected(machine))
        yield control


def is_connected(node: Node) -> bool:
    """GetConnectionStatus."""
    answer = node.server.call("GetConnectionStatus", {"Target": node.node_id}, node.server.root)
    return bool(answer.json["Status"] == "connected")


def in_full(node: Node, session_id: str) -> dict[str, object]:
    """The session as an auditor sees it."""
    answer = node.server.call("DescribeSession", {"SessionId": session_id}, node.server.root, service="fleetward")
    return dict(answer.json)


def test_a_session_carries_bytes_both_ways_until_it_is_terminated(machine: Node, channel: Channel) -> None:
    """StartSession, the node's end, the client's, TerminateSession: the whole of it."""
    started = start(machine, Reason="to look around")
    asked = channel.event(SessionRequested)
    assert asked.session_id == started.session_id
    assert status(machine, started.session_id) == "Connecting"
    with NodeEnd(machine, started.session_id) as agent, ClientEnd(machine.server, started) as client:
        agent.send(b"$ ")
        client.read(b"$ ")
        client.send(b"ls\n")
        agent.read(b"ls\n")
        assert status(machine, started.session_id) == "Connected"
        begun = time.monotonic()
        assert terminate(machine, started.session_id).json == {"SessionId": started.session_id}
        assert "Terminated by" in client.closed(5)
        agent.closed(5)
        assert channel.event(SessionClosed, 5).session_id == started.session_id
        assert time.monotonic() - begun < 2
        assert client.closing_code() == 1000
    ended = described(machine, started.session_id)
    assert (ended["Status"], ended["Reason"]) == ("Terminated", "to look around")


@pytest.mark.parametrize("first", ["node", "client"])
def test_what_comes_before_the_other_end_is_kept_for_it(machine: Node, channel: Channel, first: str) -> None:
    """In order and once, whichever end is first."""
    started = start(machine)
    channel.event(SessionRequested)
    pieces = [b"%d," % number for number in range(50)]
    if first == "node":
        with NodeEnd(machine, started.session_id) as agent:
            for piece in pieces:
                agent.send(piece)
            with ClientEnd(machine.server, started) as client:
                client.read(b"".join(pieces))
                agent.drained()
        return
    with ClientEnd(machine.server, started) as client:
        for piece in pieces:
            client.send(piece)
        with NodeEnd(machine, started.session_id) as agent:
            agent.read(b"".join(pieces))
            client.drained()


def test_a_client_comes_back_after_a_cut_and_misses_nothing(machine: Node, channel: Channel) -> None:
    """AP 11.7: paused meanwhile, a new token, the same address; bytes of both directions arrive once."""
    with opened(machine, channel) as session:
        session.echo()
        for number in range(20):
            session.agent.send(b"%d;" % number)
        session.client.cut()
        session.agent.noted("pause_publication")
        session.agent.notes.clear()
        eventually(lambda: status(machine, session.session_id) == "Disconnected")
        session.client.come_again(machine)
        session.agent.noted("start_publication")
        session.client.read(b"".join(b"%d;" % number for number in range(20)))
        session.client.send(b"on we go")
        session.agent.read(b"on we go")
        assert status(machine, session.session_id) == "Connected"


def test_a_node_comes_back_after_a_cut_and_misses_nothing(machine: Node, channel: Channel) -> None:
    """Its client is told to wait; what it typed meanwhile is kept for the node."""
    with opened(machine, channel) as session:
        session.echo()
        session.agent.cut()
        session.client.noted("pause_publication")
        for number in range(20):
            session.client.send(b"%d;" % number)
        session.agent.come_again()
        session.agent.read(b"".join(b"%d;" % number for number in range(20)))
        session.client.noted("start_publication")
        session.echo(b"more", b"and more")


def test_a_newer_connection_of_an_end_takes_its_place(machine: Node, channel: Channel) -> None:
    """The former one is closed, and nothing that it sends still reaches the other end."""
    with opened(machine, channel) as session:
        former = session.client.socket
        session.client.come_again(machine)
        assert closing_code(former) == 1000
        session.echo()


def test_a_late_client_hears_how_its_session_ended(machine: Node, channel: Channel) -> None:
    """AP 25.16: it failed on the node before anybody came."""
    started = start(machine)
    channel.event(SessionRequested)
    complete(channel, started.session_id, "Failed", "no such user: deploy")
    with ClientEnd(machine.server, started) as client:
        assert client.closed() == "no such user: deploy"
        assert client.closing_code() == 1000
    assert status(machine, started.session_id) == "Failed"


def test_a_node_ends_its_session_and_says_so_again(machine: Node, channel: Channel) -> None:
    """AP 11.6: acknowledged each time; the client gets the text of the first."""
    with opened(machine, channel) as session:
        session.agent.tell("Terminating")
        message_id = complete(channel, session.session_id, output="logout")
        complete(channel, session.session_id, output="", message_id=message_id)
        complete(channel, session.session_id, output="another")
        assert session.client.closed() == "logout"
        assert "agent_session_state" not in session.client.notes


def test_a_session_ends_although_the_word_of_its_end_was_lost(machine: Node, channel: Channel) -> None:
    """An official agent says it for 3 s, on a control channel that may be down for longer."""
    with opened(machine, channel) as session:
        session.agent.tell("Terminating")
        session.agent.socket.close()
        assert session.client.closed() == ""
    assert status(machine, session.session_id) == "Terminated"


def test_nothing_goes_on_once_a_session_is_over(machine: Node, channel: Channel) -> None:
    """A client that does not leave is not heard any more, nor for long."""
    with opened(machine, channel) as session:
        session.echo()
        terminate(machine, session.session_id)
        session.agent.closed()
        session.client.send(b"rm -rf /\n")
        assert session.client.closing_code(5) == 1000
        assert session.agent.closing_code(10) == 1000
        assert session.agent.received == {}


def test_traffic_is_counted_both_ways(machine: Node, channel: Channel) -> None:
    """Payload alone, of a tunnel too, with where it led and who opened it."""
    with opened(machine, channel, **TUNNEL) as session:
        session.echo(b"i" * 3000, b"o" * 5000)
        terminate(machine, session.session_id)
        session.ends_within(5)
    found = eventually(lambda: in_full(machine, session.session_id) if counted(machine, session.session_id) else None)
    assert (found["BytesIn"], found["BytesOut"]) == (3000, 5000)
    assert (found["Host"], found["Port"], found["Owner"]) == ("localhost", "5432", "arn:aws:iam::123456789012:root")


def counted(node: Node, session_id: str) -> bool:
    """Whether its traffic has been written down."""
    return bool(in_full(node, session_id).get("BytesOut"))


def test_a_shell_is_recorded_with_its_sizes(machine: Node, channel: Channel) -> None:
    """An asciicast of what its client saw; a tunnel has none."""
    with opened(machine, channel) as session:
        session.client.resize(132, 50)
        for piece in ("zażó".encode()[:4], "zażó".encode()[4:], b" ok\r\n"):
            session.agent.send(piece)
        session.client.read("zażó ok\r\n".encode())
        terminate(machine, session.session_id)
        session.ends_within(5)
    header, *events = recording(machine.server, session.session_id)
    assert (header["version"], header["width"], header["height"]) == (2, 132, 50)
    assert shown([header, *events]) == "zażó ok\r\n"


def test_what_an_absent_end_is_owed_is_bounded(machine: Node, channel: Channel) -> None:
    """A flood of small frames to a client that never comes: its sender is held back, memory is not filled."""
    started = start(machine)
    channel.event(SessionRequested)
    with NodeEnd(machine, started.session_id) as agent:
        sent = flood(agent.socket, b"x" * 8)
        assert sent < 16 * 1024 * 1024
        assert is_connected(machine)
    terminate(machine, started.session_id)


@pytest.mark.parametrize("slow", ["client", "node"])
def test_a_slow_reader_holds_its_sender_back(machine: Node, channel: Channel, slow: str) -> None:
    """Nothing piles up in the server: after what sockets hold, the sender has to wait; others do not."""
    with opened(machine, channel) as session:
        kind, sender = (
            ("output_stream_data", session.agent) if slow == "client" else ("input_stream_data", session.client)
        )
        memory = resident(machine.server)
        sent = flood(sender.socket, b"x" * 60_000, kind)
        assert sent < 64 * 1024 * 1024
        assert resident(machine.server) - memory < 48 * 1024 * 1024
        terminate(machine, session.session_id)
    with opened(machine, channel) as another:
        another.echo()


def flood(socket_: ClientConnection, payload: bytes, kind: str = "output_stream_data", most: int = 1 << 28) -> int:
    """Send frames until no more are taken for two seconds; how many bytes were."""
    raw = socket_.socket
    raw.settimeout(2)
    sent = 0
    try:
        for number in range(most // len(payload)):
            socket_.send(frame(kind, payload, number))
            sent += len(payload) + 120
    except (TimeoutError, ConnectionClosed, OSError):
        return sent
    return sent


def closing_code(raw: ClientConnection) -> int:
    """The code with which the server closes a socket; what comes before is read away."""
    try:
        while True:
            raw.recv(timeout=10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else 0


def resident(server: ServerProcess) -> int:
    """The server's memory in bytes."""
    assert server.process is not None
    with open(f"/proc/{server.process.pid}/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def test_ends_that_stay_silent_are_asked_for_life(machine: Node, channel: Channel) -> None:
    """A client pings; the server answers, and its own end is not in the way of bytes."""
    with opened(machine, channel) as session:
        assert session.client.socket.ping().wait(5)
        assert session.agent.socket.ping().wait(5)
        session.echo()


def test_a_node_that_is_deregistered_ends_its_sessions(machine: Node, channel: Channel) -> None:
    """At once, with a word to the client."""
    with opened(machine, channel) as session:
        session.echo()
        request = {"InstanceId": machine.node_id}
        assert machine.server.call("DeregisterManagedInstance", request, machine.server.root).status == 200
        assert session.client.closed(2) == "The node was deregistered."


def test_sessions_survive_the_server_that_carries_them(start_server: StartServer) -> None:
    """`kill -9` in mid-session: both ends come again, nothing is lost, the recording goes on."""
    server = start_server(requests_per_node=1_000_000)
    machine = server.join(4)
    with Channel(machine) as control:
        eventually(lambda: is_connected(machine))
        with opened(machine, control) as session:
            session.echo(b"before", b"shown before")
            session.agent.send(b" on the way")
            eventually(lambda: b"shown before" in recorded(server))
            server.kill()
            server.start()
            with Channel(machine) as again:
                session.agent.come_again()
                eventually(lambda: status(machine, session.session_id) in ("Disconnected", "Connected"))
                session.client.come_again(machine)
                session.client.read(b" on the way")
                session.echo(b"after", b" shown after")
                terminate(machine, session.session_id)
                session.client.closed(5)
                assert again.event(SessionClosed).session_id == session.session_id
    events = recording(server, session.session_id)
    assert shown(events).startswith("shown before")
    assert shown(events).endswith(" shown after")
    assert list(map(type, events)).count(dict) == 1
    assert server.stop() == 0


def recorded(server: ServerProcess) -> bytes:
    """What lies in the folder of recordings that are being written."""
    return b"".join(file.read_bytes() for file in (server.data / "recordings").glob("*.cast"))


def test_a_session_that_nobody_comes_back_to_ends(start_server: StartServer) -> None:
    """Within the setting; client and node alike; the server stops in good order beside running sessions."""
    server = start_server(session_resume=1, requests_per_node=1_000_000)
    machine = server.join(4)
    with Channel(machine) as control:
        eventually(lambda: is_connected(machine))
        with opened(machine, control) as session:
            session.client.cut()
            assert control.event(SessionClosed, 15).session_id == session.session_id
            session.agent.closed()
        assert described(machine, session.session_id)["Details"] == "The client went away and did not come back."
        with opened(machine, control) as session:
            session.agent.cut()
            assert session.client.closed(15) == "The connection of the node was lost and did not come back."
        with opened(machine, control) as session:
            session.echo()
            assert server.stop() == 0
            assert session.client.closing_code() in (1001, 0)
    failures = [line for line in server.logged() if line["level"] == "error"]
    assert failures == []


def test_a_full_disk_costs_the_recording_and_not_the_session(start_server: StartServer) -> None:
    """What stands in the way of the recordings' folder is told once."""
    server = start_server(requests_per_node=1_000_000)
    (server.data / "recordings").write_text("in the way")
    machine = server.join(4)
    with Channel(machine) as control:
        eventually(lambda: is_connected(machine))
        with opened(machine, control) as session:
            for number in range(3):
                session.echo(b"%d" % number, b"shown %d" % number)
                time.sleep(1.1)  # each is flushed by itself
    told = [line for line in server.logged() if line["level"] == "error"]
    assert [line["message"] for line in told] == ["a session is not recorded"], json.dumps(told)


def test_a_frame_may_come_with_the_message_that_opens(machine: Node, channel: Channel) -> None:
    """Frames that follow at once wait until the token was looked at."""
    started = start(machine)
    channel.event(SessionRequested)
    with ClientEnd(machine.server, started) as client:
        client.send(b"early")
        token = node_token(machine, started.session_id)
        with closing(node_socket(machine, started.session_id)) as raw:
            raw.send(agent_open_message(token, machine.node_id, "1"))
            raw.send(frame("output_stream_data", b"also early"))
            client.read(b"also early")


def test_a_client_that_is_back_gets_at_once_what_was_lost_on_its_way(machine: Node, channel: Channel) -> None:
    """The agent gives nothing again meanwhile: an official one would, one frame in 100 ms."""
    pieces = [b"piece %d;" % number for number in range(200)]
    with opened(machine, channel) as session:
        for piece in pieces[:100]:
            session.agent.send(piece)
        session.client.socket.recv(timeout=10)  # on its way, and lost with the connection
        session.client.cut()
        session.agent.noted("pause_publication")
        session.client.come_again(machine)
        session.client.read(b"".join(pieces[:100]))
        session.agent.drained()
        for piece in pieces[100:]:
            session.agent.send(piece)
        session.client.read(b"".join(pieces[100:]))
        session.agent.drained()
