"""A session's end: who is let in, what it may send, and what an attacker gets for his pains."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from fleetward.protocol.control_channel import SessionRequested
from fleetward.protocol.data_channel.opening import agent_open_message
from tests.channel import Channel
from tests.identities import allow, new_user
from tests.serving import Node, ServerProcess, StartServer, eventually
from tests.sessions import (
    ClientEnd,
    NodeEnd,
    Started,
    client_opening,
    client_socket,
    create_data_channel,
    described,
    frame,
    node_socket,
    node_token,
    opened,
    resume,
    start,
    terminate,
)


@pytest.fixture
def channel(machine: Node) -> Iterator[Channel]:
    """Its control channel."""
    with Channel(machine) as control:
        request = {"Target": machine.node_id}
        server = machine.server
        eventually(lambda: server.call("GetConnectionStatus", request, server.root).json["Status"] == "connected")
        yield control


def closing_code(raw: ClientConnection, within: float = 10.0) -> int:
    """The code with which the server closes a socket; what comes before is read away."""
    try:
        while True:
            raw.recv(timeout=within)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else 0


def knock(server: ServerProcess, url: str, *messages: str | bytes) -> int:
    """Open a client's socket, send these; the code with which it is closed."""
    with closing(client_socket(server, url)) as raw:
        for message in messages:
            raw.send(message)
        return closing_code(raw)


def begun(machine: Node, channel: Channel) -> Started:
    """A session whose node has been asked."""
    started = start(machine)
    assert channel.event(SessionRequested).session_id == started.session_id
    return started


def test_a_used_token_opens_nothing(machine: Node, channel: Channel) -> None:
    """Whoever overheard it comes too late; whoever it was for is not disturbed."""
    with opened(machine, channel) as session:
        assert knock(machine.server, session.started.url, client_opening(session.started.token)) == 1008
        session.echo()


def test_a_token_of_another_session_opens_nothing(machine: Node, channel: Channel) -> None:
    """Another user's, for his own session; nor does a node's open a client's end."""
    mine, other = begun(machine, channel), begun(machine, channel)
    assert knock(machine.server, mine.url, client_opening(other.token)) == 1008
    assert knock(machine.server, mine.url, client_opening(node_token(machine, mine.session_id))) == 1008
    with ClientEnd(machine.server, mine) as client, NodeEnd(machine, mine.session_id):
        client.noted("start_publication")


def test_a_guessed_session_id_is_answered_like_a_wrong_token(machine: Node, channel: Channel) -> None:
    """Nobody learns which sessions there are."""
    started = begun(machine, channel)
    guessed = started.url.replace(started.session_id, "root-0123456789abcdef0")
    codes = {knock(machine.server, url, client_opening("x" * 100)) for url in (started.url, guessed)}
    codes.add(knock(machine.server, guessed, client_opening(started.token)))
    assert codes == {1008}


def test_a_node_cannot_open_the_session_of_another(machine: Node, channel: Channel) -> None:
    """Neither get a token for it nor open its socket, even with the right node's token."""
    started = begun(machine, channel)
    other = machine.server.join(5)
    answer = create_data_channel(other, started.session_id)
    assert (answer.status, answer.code) == (403, "AccessDeniedException")
    with pytest.raises(InvalidStatus) as refused:
        node_socket(machine, started.session_id, keys=other.keys)
    assert refused.value.response.status_code == 403
    token = node_token(machine, started.session_id)
    assert knock(machine.server, started.url, agent_open_message(token, machine.node_id, "1")) == 1002
    with NodeEnd(machine, started.session_id) as agent, ClientEnd(machine.server, started):
        agent.noted("start_publication")


def test_an_operator_is_no_node(machine: Node, channel: Channel) -> None:
    """Not even root opens the node's end of a session."""
    started = begun(machine, channel)
    assert create_data_channel(machine, started.session_id, machine.server.root).status == 403
    with pytest.raises(InvalidStatus) as refused:
        node_socket(machine, started.session_id, keys=machine.server.root)
    assert refused.value.response.status_code == 403


def test_a_client_that_claims_to_be_a_node_is_none(machine: Node, channel: Channel) -> None:
    """And a node opens its end as one."""
    started = begun(machine, channel)
    claim = json.loads(client_opening(started.token)) | {"ClientInstanceId": machine.node_id}
    assert knock(machine.server, started.url, json.dumps(claim)) == 1002
    with closing(node_socket(machine, started.session_id)) as raw:
        raw.send(client_opening(started.token))
        assert closing_code(raw) == 1002


def test_a_nodes_used_token_opens_nothing(machine: Node, channel: Channel) -> None:
    """Its keys alone are not enough."""
    started = begun(machine, channel)
    opening = agent_open_message(node_token(machine, started.session_id), machine.node_id, str(uuid.uuid4()))
    with (
        closing(node_socket(machine, started.session_id)) as first,
        closing(node_socket(machine, started.session_id)) as second,
    ):
        first.send(opening)
        with ClientEnd(machine.server, started) as client:
            client.noted("start_publication")
            second.send(opening)
            assert closing_code(second) == 1008


ODD_OPENINGS: dict[str, tuple[str | bytes, ...]] = {
    "frames first": (frame("input_stream_data", b"x"),),
    "no JSON": ("hello",),
    "no object": ("[]",),
    "no token": ('{"ClientVersion":"1.2.0.0"}',),
    "a token that is none": ('{"TokenValue":17,"ClientVersion":"1.2.0.0"}',),
    "neither node nor client": ('{"TokenValue":"x"}',),
    "an endless one": ('{"TokenValue":"' + "x" * 100_000 + '","ClientVersion":"1.2.0.0"}',),
    "nested": ("[" * 50_000,),
    "text twice": (client_opening("x"), client_opening("x")),
}


@pytest.mark.parametrize("messages", ODD_OPENINGS.values(), ids=ODD_OPENINGS.keys())
def test_what_does_not_open_an_end_closes_it(machine: Node, channel: Channel, messages: tuple[str, ...]) -> None:
    """With a protocol error, or as a wrong token; the session is not touched."""
    started = begun(machine, channel)
    assert knock(machine.server, started.url, *messages) in (1002, 1008)
    with ClientEnd(machine.server, started) as client, NodeEnd(machine, started.session_id):
        client.noted("start_publication")


@pytest.mark.parametrize("which", ["node", "client"])
def test_text_after_the_first_message_closes_an_end(machine: Node, channel: Channel, which: str) -> None:
    """The other end goes on, and the one may come again."""
    with opened(machine, channel) as session:
        end: Any = session.agent if which == "node" else session.client
        end.socket.send("more text")
        assert end.closing_code() == 1002
        if which == "node":
            session.agent.come_again()
        else:
            session.client.come_again(machine)
        session.echo()


@pytest.mark.parametrize(
    ("data", "code"),
    [(bytes(1024 * 1024 + 1), 1009), (b"short", 1002), (b"", 1002), (bytes(120), 1002)],
)
def test_frames_of_impossible_size_close_an_end(machine: Node, channel: Channel, data: bytes, code: int) -> None:
    """Giant ones, and what cannot be one; nothing of them reaches the other end."""
    with opened(machine, channel) as session:
        session.client.socket.send(data)
        assert session.client.closing_code() in (code, 0)  # 0: it was cut while it still sent
        session.agent.noted("pause_publication")
        session.client.come_again(machine)
        session.echo()


def test_a_message_in_many_frames_is_bounded(machine: Node, channel: Channel) -> None:
    """Cut small, it is not longer for that."""
    with opened(machine, channel) as session:
        with contextlib.suppress(ConnectionClosed):  # by the server, before all is sent
            session.client.socket.send(bytes(64 * 1024) for _ in range(40))
        assert session.client.closing_code() in (1009, 0)


def test_an_official_agents_message_comes_in_pieces(machine: Node, channel: Channel) -> None:
    """4 KiB a frame: one message all the same."""
    with opened(machine, channel) as session:
        session.agent.stream.send(1, b"x" * 1000)
        (message,) = session.agent.stream.outgoing(time.monotonic())
        session.agent.socket.send(message[at : at + 100] for at in range(0, len(message), 100))
        session.client.read(b"x" * 1000)


def test_a_session_is_resumed_by_its_owner_alone(machine: Node, channel: Channel) -> None:
    """Somebody else with every permission gets no token, root neither."""
    _, owner = new_user(machine.server, allow("ssm:*"))
    _, other = new_user(machine.server, allow("ssm:*"))
    with opened(machine, channel, owner) as session:
        for keys in (other, machine.server.root):
            answer = machine.server.call("ResumeSession", {"SessionId": session.session_id}, keys)
            assert (answer.status, answer.code) == (400, "AccessDeniedException")
        session.echo()
        assert resume(machine, session.session_id, owner).token


def test_strangers_that_prove_nothing_are_few_and_short(start_server: StartServer) -> None:
    """They count against their address until they have shown a token, and must do so in time; others get in."""
    server = start_server(connections_per_address=5, header_timeout=2, requests_per_node=1_000_000)
    machine = server.join(4)
    with Channel(machine) as control:
        started = begun(machine, control)
        silent: list[ClientConnection] = []
        with contextlib.suppress(EOFError, OSError):
            while len(silent) < 20:
                silent.append(client_socket(server, started.url))
        assert len(silent) < 8
        assert {closing_code(raw) for raw in silent} == {1008}
        with NodeEnd(machine, started.session_id) as agent:
            clients = []
            for _ in range(8):  # each proves itself, so no number of them is too many
                resumed = resume(machine, started.session_id)
                clients.append(client_socket(server, started.url))
                clients[-1].send(client_opening(resumed.token))
                agent.noted("start_publication")
            for raw in clients:
                raw.close()


@pytest.mark.parametrize("path", ["", "a/b", "%00", "x" * 97, "..%2f.."])
def test_paths_that_name_no_session_are_refused(serving: ServerProcess, path: str) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidStatus) as refused:
        client_socket(serving, f"wss://{serving.host}:{serving.port}/v1/data-channel/{path}")
    assert 400 <= refused.value.response.status_code < 500


def test_tokens_are_not_logged(machine: Node, channel: Channel) -> None:
    """Neither good nor bad ones."""
    started = begun(machine, channel)
    token = node_token(machine, started.session_id)
    knock(machine.server, started.url, client_opening("wrong-token-of-a-stranger"))
    with ClientEnd(machine.server, started) as client, NodeEnd(machine, started.session_id):
        client.noted("start_publication")
    log = machine.server.log.read_text()
    assert started.token not in log
    assert token not in log
    assert "wrong-token-of-a-stranger" not in log
    terminate(machine, started.session_id)
    assert described(machine, started.session_id)["Status"] == "Terminated"
