"""Peer port: who is let in, and to which sessions. The tests are the other server: they have the ring, or not."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fleetward.protocol.control_channel import SessionRequested
from fleetward.protocol.frame import Frame, decode
from fleetward.server.edge.peer_port import path_of
from fleetward.server.keys import KeyRing, add_key, load_ring
from fleetward.server.peer_trust import PeerTrust, peer_name
from fleetward.server.ssm.session_manager.table import Key
from tests.channel import Channel
from tests.peers import OTHER, ServerWithPeers
from tests.serving import ACCOUNT, REGION, StartServer, eventually
from tests.sessions import NodeEnd, frame, start

REFUSED = (ssl.SSLError, ConnectionError, EOFError, InvalidMessage, ConnectionClosed)


@pytest.fixture(scope="module", params=["picows", "websockets"])
def server(request: pytest.FixtureRequest, start_server_of_module: StartServer) -> ServerWithPeers:
    """A server that others reach."""
    return ServerWithPeers(start_server_of_module(peer_listen="127.0.0.1:0", websockets=request.param))


@pytest.fixture
def session(server: ServerWithPeers) -> Iterator[tuple[NodeEnd, str]]:
    """A session with the node's end here and, by the store, its client's at the other server."""
    node = server.process.join(6)
    with Channel(node) as channel:
        server.connected(node)
        started = start(node)
        channel.event(SessionRequested)
        with NodeEnd(node, started.session_id) as agent:
            server.await_row(started.session_id, "node_epoch = 1")
            server.add_other("")  # lives, or its end would be taken for gone
            server.set_row(started.session_id, client_server=OTHER, client_epoch=1, client_left_at=None)
            yield agent, started.session_id


def dial(server: ServerWithPeers, path: str, context: ssl.SSLContext, name: str = "") -> ClientConnection:
    return connect(
        f"wss://{server.address}{path}",
        ssl=context,
        server_hostname=name or peer_name(server.server_id),
        compression=None,
        open_timeout=10,
        close_timeout=2,
        ping_interval=None,
        max_size=None,
    )


def taken(message: str | bytes) -> Frame:
    """A message of the link as the frame that it is."""
    assert isinstance(message, bytes)
    return decode(message)


def path(session_id: str, epoch: int = 1, account: str = ACCOUNT) -> str:
    return path_of(Key(account, REGION, session_id), epoch)


def test_a_peer_brings_a_clients_end(server: ServerWithPeers, session: tuple[NodeEnd, str]) -> None:
    agent, session_id = session
    with dial(server, path(session_id), server.trust(OTHER).client()) as link:
        agent.noted("start_publication")
        assert taken(link.recv(10)).message_type == "start_publication"
        sent = frame("input_stream_data", b"ls\n")
        link.send(sent)
        agent.read(b"ls\n")
        assert taken(link.recv(10)).message_type == "acknowledge"
        agent.send(b"file")
        assert taken(link.recv(10)).payload == b"file"
        # The client has connected anew: that server's link, or another's, takes this one's place.
        server.set_row(session_id, client_epoch=2)
        with pytest.raises(ConnectionClosed):
            link.recv(5)
        agent.noted("pause_publication")
        server.set_row(session_id, client_epoch=1)
    with dial(server, path(session_id), server.trust(OTHER).client()) as link:
        agent.noted("start_publication")
        link.socket.close()
    agent.noted("pause_publication")


def test_a_new_link_takes_the_place_of_the_one_before(server: ServerWithPeers, session: tuple[NodeEnd, str]) -> None:
    agent, session_id = session
    context = server.trust(OTHER).client()
    with dial(server, path(session_id), context) as first, dial(server, path(session_id), context) as second:
        assert "start_publication" in [taken(message).message_type for message in first]  # until it is closed
        agent.send(b"$ ")
        assert "$ " in (taken(message).payload.decode() for message in second)


def test_strangers_are_refused(server: ServerWithPeers, session: tuple[NodeEnd, str], tmp_path: Path) -> None:
    _, session_id = session
    without = ssl.create_default_context()
    without.check_hostname, without.verify_mode = False, ssl.CERT_NONE
    other_ring = PeerTrust(KeyRing({1: b"\7" * 32}), OTHER, tmp_path).client()
    other_ring.check_hostname, other_ring.verify_mode = False, ssl.CERT_NONE
    of_a_public_port = ssl.create_default_context(cafile=str(server.process.ca))
    for context in (without, other_ring, of_a_public_port):
        with pytest.raises(REFUSED):
            dial(server, path(session_id), context)


def test_the_public_port_is_no_peers(server: ServerWithPeers, session: tuple[NodeEnd, str]) -> None:
    _, session_id = session
    url = f"wss://{server.process.host}:{server.process.port}{path(session_id)}"
    with pytest.raises(InvalidStatus) as refused:
        connect(url, ssl=server.process.tls(), open_timeout=10)
    assert refused.value.response.status_code in (400, 403, 404)


@pytest.mark.parametrize("wrong", ["/", "/v1/control-channel/mi-1", "/v1/peer/sessions/1/us-east-1/x/1", "/healthz"])
def test_there_is_nothing_else(server: ServerWithPeers, wrong: str) -> None:
    context = server.trust(OTHER).client()
    with pytest.raises(InvalidStatus) as refused:
        dial(server, wrong, context)
    assert refused.value.response.status_code == 404
    host, _, port = server.address.rpartition(":")
    context.check_hostname = False
    plain = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
    plain.request("GET", wrong)
    assert plain.getresponse().status == 404
    plain.close()


def test_a_peer_gets_no_session_that_is_not_between_the_two(
    server: ServerWithPeers, session: tuple[NodeEnd, str]
) -> None:
    _, session_id = session

    def status_of(asked: str, by: str = OTHER) -> int:
        with pytest.raises(InvalidStatus) as refused:
            dial(server, asked, server.trust(by).client())
        return refused.value.response.status_code

    assert status_of(path("no-such-session")) == 403
    assert status_of(path(session_id, account="210987654321")) == 403
    assert status_of(path(session_id, epoch=2)) == 403
    assert status_of(path(session_id), by="A" * 16) == 403  # whose client it is not
    server.set_row(session_id, node_server=OTHER)
    assert status_of(path(session_id)) == 403


def test_keys_are_trusted_as_long_as_they_are_in_the_ring(server: ServerWithPeers) -> None:
    file = server.process.data / "keys.json"
    before = file.read_bytes()
    add_key(file, 2)
    ring = load_ring(server.process.data)
    ring.use(2)
    by_the_new = server.trust(OTHER, ring).client()
    eventually(lambda: answers(server, by_the_new))
    fresh = file.with_suffix(".old")
    fresh.touch(0o600)
    fresh.write_bytes(before)
    fresh.replace(file)
    eventually(lambda: not answers(server, by_the_new))
    assert answers(server, server.trust().client())


def answers(server: ServerWithPeers, context: ssl.SSLContext) -> bool:
    """Whether a peer with these certificates gets past TLS."""
    try:
        dial(server, "/", context)
    except InvalidStatus:
        return True
    except REFUSED:
        return False
    except (
        TimeoutError
    ):  # one that came in the moment of the change can stay unanswered: a server that dials tries again
        return answers(server, context)
    raise AssertionError("there is a WebSocket at /")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "127.0.0.1"])
def test_an_address_that_others_could_not_use_is_refused(start_server: StartServer, address: str) -> None:
    process = start_server(run=False, peer_listen=address).spawn()
    assert process.wait(30) != 0
