"""Data channels: both ends of sessions over real sockets, by both implementations of WebSocket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleetward.protocol.control_channel import SessionClosed, SessionRequested
from tests.channel import Channel
from tests.serving import Node, ServerProcess, eventually
from tests.sessions import ClientEnd, NodeEnd, described, opened, start, status, terminate


@pytest.fixture(scope="module", params=["picows", "websockets"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server with each implementation."""
    if request.param == "picows":
        yield request.getfixturevalue("serving")
        return
    plain = request.getfixturevalue("start_server_of_module")(websockets="websockets", requests_per_node=1_000_000)
    yield plain
    failures = [line for line in plain.logged() if line["level"] == "error"]
    assert failures == [], failures[0]


@pytest.fixture
def machine(server: ServerProcess) -> Node:
    """A node of the test's own."""
    return server.join(4)


@pytest.fixture
def channel(machine: Node) -> Iterator[Channel]:
    """Its control channel."""
    with Channel(machine) as opened_channel:
        eventually(lambda: connected(machine))
        yield opened_channel


def connected(node: Node) -> bool:
    """GetConnectionStatus."""
    answer = node.server.call("GetConnectionStatus", {"Target": node.node_id}, node.server.root)
    return bool(answer.json["Status"] == "connected")


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
        assert terminate(machine, started.session_id).json == {"SessionId": started.session_id}
        assert "Terminated by" in client.closed(2)
        agent.closed(2)
        assert channel.event(SessionClosed, 2).session_id == started.session_id
        assert client.closing_code() == 1000
    ended = described(machine, started.session_id)
    assert (ended["Status"], ended["Reason"]) == ("Terminated", "to look around")


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
