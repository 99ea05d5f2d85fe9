"""Peers: a client's end that came here is taken to the server of its node. The test is that other server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from fleetward.protocol.control_channel import SessionRequested
from fleetward.protocol.frame import PayloadType, decode
from fleetward.server.edge.peer_port import path_of
from fleetward.server.peer_trust import server_id_of
from fleetward.server.ssm.session_manager.table import Key
from tests.channel import Channel
from tests.peers import OTHER, ServerWithPeers
from tests.serving import ACCOUNT, REGION, StartServer, eventually
from tests.sessions import ClientEnd, Started, frame, start, terminate

WAIT = 10.0
PIECE = b"x" * 60_000
PIECES = 500
"""More than the sockets between the three hold."""


@pytest.fixture(scope="module", params=["picows", "websockets"])
def server(request: pytest.FixtureRequest, start_server_of_module: StartServer) -> Iterator[ServerWithPeers]:
    """A server that is not reached by others itself."""
    made = ServerWithPeers(start_server_of_module(websockets=request.param))
    yield made
    failures = [line for line in made.process.logged() if line["level"] == "error"]
    assert failures == [], failures[0]


@pytest.fixture
def started(server: ServerWithPeers) -> Iterator[Started]:
    """A session whose node's end is, by the store, at the other server."""
    node = server.process.join(7)
    with Channel(node) as channel:
        server.connected(node)
        begun = start(node)
        channel.event(SessionRequested)
        server.add_other("")  # lives, or its end would be taken for gone
        server.set_row(begun.session_id, node_server=OTHER, node_epoch=1, node_left_at=None)
        yield begun
        terminate(node, begun.session_id)


class OtherServer:
    """The other server's port: who connected, and the WebSocket of each."""

    def __init__(self, server: ServerWithPeers, *, server_id: str = OTHER) -> None:
        self.paths: list[str] = []
        self.peers: list[str] = []
        self.links: SimpleQueue[ServerConnection] = SimpleQueue()
        self._ending = threading.Event()
        self._serving: Server = serve(
            self._handle, "127.0.0.1", 0, ssl=server.trust(server_id).server(), compression=None, ping_interval=None
        )
        threading.Thread(target=self._serving.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it is reached."""
        return f"127.0.0.1:{self._serving.socket.getsockname()[1]}"

    def _handle(self, link: ServerConnection) -> None:
        assert link.request is not None
        self.paths.append(link.request.path)
        self.peers.append(server_id_of(link.socket.getpeercert()))  # type: ignore[attr-defined]  # of TLS
        self.links.put(link)
        self._ending.wait(60)

    def link(self) -> ServerConnection:
        """The next link that was made."""
        return self.links.get(timeout=3 * WAIT)  # a dial that goes unanswered is made again after some seconds

    def close(self) -> None:
        """End it."""
        self._ending.set()
        self._serving.shutdown()


@contextmanager
def other_server(server: ServerWithPeers, **options: Any) -> Iterator[OtherServer]:
    """The other server, living."""
    made = OtherServer(server, **options)
    server.add_other(made.address)
    yield made
    made.close()


def test_a_client_is_taken_to_the_server_of_its_node(server: ServerWithPeers, started: Started) -> None:
    with other_server(server) as other, ClientEnd(server.process, started) as client:
        link = other.link()
        assert other.paths == [path_of(Key(ACCOUNT, REGION, started.session_id), 1)]
        assert other.peers == [server.server_id]
        client.send(b"ls\n")
        sent = link.recv(WAIT)
        assert isinstance(sent, bytes)
        assert (decode(sent).message_type, decode(sent).payload) == ("input_stream_data", b"ls\n")
        link.send(frame("output_stream_data", b"file"))
        client.read(b"file")
        assert b"acknowledge" in as_bytes(link.recv(WAIT))

        # A link that breaks is made again, and an official client's acknowledgements are given again.
        link.close()
        client.noted("pause_publication")
        link = other.link()
        assert b"acknowledge" in as_bytes(link.recv(WAIT))
        # What the other server says at the end reaches the client.
        link.send(frame("output_stream_data", b"bye", 1))
        client.read(b"bye")


def as_bytes(message: str | bytes) -> bytes:
    assert isinstance(message, bytes)
    return message


def test_frames_wait_for_a_link(server: ServerWithPeers, started: Started) -> None:
    server.add_other("127.0.0.1:1")  # where nobody listens
    with ClientEnd(server.process, started) as client:
        client.send(b"early")
        eventually(lambda: server.process.logged_request(message="a peer cannot be reached"))
        with other_server(server) as other:
            link = other.link()
            assert decode(as_bytes(link.recv(WAIT))).payload == b"early"


def test_a_slow_client_holds_the_other_server_back(server: ServerWithPeers, started: Started) -> None:
    sent = 0

    def send(link: ServerConnection) -> None:
        nonlocal sent
        for sent in range(1, PIECES + 1):
            link.send(frame("output_stream_data", PIECE, sent - 1))

    with other_server(server) as other, ClientEnd(server.process, started) as client:
        sending = threading.Thread(target=send, args=(other.link(),), daemon=True)
        sending.start()
        before = -1

        def stands_still() -> bool:
            nonlocal before
            before, now = sent, before
            sending.join(0.5)
            return before == now

        eventually(stands_still, 30)
        assert 0 < sent < PIECES
        client.until(lambda: len(client.received.get(PayloadType.OUTPUT, b"")) == PIECES * len(PIECE), 60)


def test_a_server_in_the_place_of_another_gets_no_client(server: ServerWithPeers, started: Started) -> None:
    with other_server(server, server_id="A" * 16) as other, ClientEnd(server.process, started):
        assert server.process.logged_request(message="a peer cannot be reached", server=OTHER)
        assert other.paths == []


def test_a_client_is_sent_away_when_the_other_server_has_no_address(server: ServerWithPeers, started: Started) -> None:
    server.add_other("")
    before = len(told(server))
    with ClientEnd(server.process, started) as client:
        assert client.closing_code() == 1013  # try again later: perhaps at the other server
    assert len(told(server)) - before <= 1
    assert any("--peer-listen" in line["reason"] for line in told(server))


def told(server: ServerWithPeers) -> list[dict[str, Any]]:
    """What the log says of servers that cannot be reached."""
    return [line for line in server.process.logged() if line["message"] == "a peer cannot be reached"]


def test_a_dead_server_is_not_asked(server: ServerWithPeers, started: Started) -> None:
    server.forget_other()
    with ClientEnd(server.process, started) as client:
        client.send(b"x", PayloadType.OUTPUT)
        server.await_row(started.session_id, "node_left_at IS NOT NULL")  # it counts as away, and may come here
        server.await_row(started.session_id, "client_left_at IS NULL")
