"""Sessions across servers: the node's end at one of two servers, the client at the other."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetward import client
from fleetward.client import Timing
from fleetward.protocol.control_channel import SessionClosed, SessionRequested
from fleetward.protocol.frame import PayloadType
from fleetward.server.edge.link import DROP_AFTER
from tests.channel import Channel
from tests.identities import allow, new_user
from tests.server.test_two_servers import Forwarder, Pair
from tests.services import Nats, Postgres
from tests.serving import REGION, Node, ServerProcess, eventually
from tests.sessions import (
    ClientEnd,
    NodeEnd,
    SocketEnd,
    client_opening,
    client_socket,
    frame,
    recording,
    resume,
    shown,
    start,
    status,
    terminate,
)
from tests.test_sessions_client import Target, echoed, with_digest

pytestmark = pytest.mark.slow

MOST_AT_ONCE = 256 * 1024


class Linked(Pair):
    """Two servers that reach each other through forwarders, and share their objects."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, peer_listen="127.0.0.1:0", **settings)
        self.links: list[Forwarder] = []
        for server_id, address in self.query("SELECT server_id, peer_address FROM presence_servers"):
            link = Forwarder(int(address.rpartition(":")[2]))
            self.links.append(link)
            where = f"WHERE server_id = '{server_id}'"
            self.execute(f"UPDATE presence_servers SET peer_address = '127.0.0.1:{link.port}' {where}")

    def _server(self, name: str, options: dict[str, Any]) -> ServerProcess:
        server = super()._server(name, options)
        shared = self.folder / "objects"
        shared.mkdir(exist_ok=True)
        (server.data / "objects").symlink_to(shared)
        return server

    def cut(self) -> int:
        """Cut every link; how many ends of connections there were."""
        return sum(link.cut() for link in self.links)

    def stop(self) -> None:
        super().stop()
        for link in self.links:
            link.close()


@pytest.fixture(scope="module")
def pair(postgres_server: Postgres, nats_server: Nats) -> Iterator[Linked]:
    """Two servers that reach each other."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fleetward-across-", dir=memory if memory.is_dir() else None))
    database = postgres_server.new_database()
    made = Linked(folder, postgres_server, database, nats_server)
    yield made
    made.stop()
    failures = [line for server in (made.a, made.b) for line in server.logged() if line["level"] == "error"]
    assert failures == [], failures[0]
    postgres_server.drop_database(database)
    shutil.rmtree(folder, ignore_errors=True)


class Machine:
    """A machine whose agent can be with either server."""

    def __init__(self, pair: Linked, number: int) -> None:
        self.pair = pair
        self.at_a = pair.a.join(number)
        self.at_b = replace(self.at_a, server=pair.b)
        self.channel = self.connect(self.at_a)

    def connect(self, node: Node) -> Channel:
        """Open the control channel at a server."""
        before = self.held_by()
        channel = Channel(node)
        eventually(lambda: self.held_by() not in (None, before), 20)
        return channel

    def held_by(self) -> Any:
        """The server and the epoch of the control channel."""
        rows = self.pair.query(
            f"SELECT server_id, epoch FROM presence_connections WHERE node_id = '{self.at_a.node_id}'"
        )
        return rows[0] if rows else None

    def row(self, session_id: str) -> Any:
        """What the store knows of a session's ends."""
        columns = "node_server, node_epoch, client_server, client_epoch, bytes_in, bytes_out"
        (row,) = self.pair.query(f"SELECT {columns} FROM session_manager_sessions WHERE session_id = '{session_id}'")
        return row


@pytest.fixture
def machine(pair: Linked) -> Iterator[Machine]:
    """A machine whose channel is with server a."""
    made = Machine(pair, 5)
    yield made
    made.channel.socket.close()


def some_text(size: int) -> bytes:
    """Text that no part of is like another."""
    return random.Random(size).randbytes(size // 2).hex().encode()


def send_all(
    source: SocketEnd,
    sink: SocketEnd,
    payload: bytes,
    disturb: Callable[[], object] = lambda: None,
    already: bytes = b"",
    within: float = 90.0,
) -> None:
    """Send a payload from one end to the other, driving both; it must come intact whatever happens half-way.

    Behind what was sent `already`.
    """
    got, sent, until = bytearray(), len(already), time.monotonic() + within
    payload = already + payload
    half_way: list[Callable[[], object]] = [disturb]
    while len(got) < len(payload):
        assert time.monotonic() < until, f"{len(got)} of {len(payload)} bytes within {within} s"
        if half_way and len(got) > len(payload) // 2:
            half_way.pop()()
        room = min(source.stream.room, MOST_AT_ONCE, len(payload) - sent)
        if room > 0:
            source.send(payload[sent : sent + room])
            sent += room
        for end in (source, sink):
            end.turn(time.monotonic() + 0.002)
        got += sink.received.pop(PayloadType.OUTPUT, b"")
    assert hashlib.sha256(got).digest() == hashlib.sha256(payload).digest()


def echo(agent: SocketEnd, client: SocketEnd) -> None:
    """Bytes go both ways."""
    client.send(b"there")
    agent.read(b"there")
    agent.send(b"and back")
    client.read(b"and back")


def test_bytes_go_both_ways_between_servers_until_the_session_is_terminated_at_the_clients(
    pair: Linked, machine: Machine
) -> None:
    started = start(machine.at_b)
    assert machine.channel.event(SessionRequested).session_id == started.session_id
    with NodeEnd(machine.at_a, started.session_id) as agent, ClientEnd(pair.b, started) as client:
        echo(agent, client)
        node_server, _, client_server, *_ = machine.row(started.session_id)
        assert {node_server, client_server} == {row[0] for row in pair.query("SELECT server_id FROM presence_servers")}
        assert status(machine.at_a, started.session_id) == "Connected"
        send_all(agent, client, some_text(5_000_000))
        send_all(client, agent, some_text(1_000_000))

        began = time.monotonic()
        terminate(machine.at_b, started.session_id)
        assert "Terminated by" in client.closed(2)
        agent.closed(2)
        assert time.monotonic() - began < 2
        assert machine.channel.event(SessionClosed, 2).session_id == started.session_id
        assert client.closing_code() == 1000
    counted = eventually(lambda: (row := machine.row(started.session_id)[4:])[1] and row)
    for bytes_counted, sent in zip(counted, (1_000_000, 5_000_000), strict=True):  # at one of the servers, repeats too
        assert sent < bytes_counted < 1.5 * sent
    assert shown(recording(pair.b, started.session_id)).startswith("and back")


@contextmanager
def between(pair: Linked, machine: Machine, **request: Any) -> Iterator[tuple[NodeEnd, ClientEnd]]:
    """A session with the node's end at server a and the client's at b."""
    started = start(machine.at_b, **request)
    assert machine.channel.event(SessionRequested).session_id == started.session_id
    with NodeEnd(machine.at_a, started.session_id) as agent, ClientEnd(pair.b, started) as client:
        client.noted("start_publication")
        agent.noted("start_publication")
        yield agent, client


def test_limits_and_lost_rights_end_both_ends(pair: Linked, machine: Machine) -> None:
    name, keys = new_user(pair.a, allow("ssm:StartSession"))
    with between(pair, machine, keys=keys) as (agent, client):
        echo(agent, client)
        pair.b.client("iam").delete_access_key(UserName=name, AccessKeyId=keys.access_key_id)
        assert "taken away" in client.closed(5)
        agent.closed(2)
    with between(pair, machine) as (agent, client):
        began = "started_at = started_at - 61000000, max_duration = '1', due_at = started_at"
        pair.execute(f"UPDATE session_manager_sessions SET {began} WHERE session_id = '{client.started.session_id}'")
        assert "maximum duration" in client.closed(5)
        agent.closed(2)


def test_a_link_that_breaks_is_made_again_and_loses_no_byte(pair: Linked, machine: Machine) -> None:
    with between(pair, machine) as (agent, client):
        for source, sink in ((agent, client), (client, agent)):
            assert pair.cut() > 0
            client.noted("pause_publication")
            agent.noted("pause_publication")
            client.noted("start_publication")
            agent.noted("start_publication")
            send_all(source, sink, some_text(600_000), disturb=pair.cut)
        echo(agent, client)
        assert machine.row(client.started.session_id)[1::2][:2] == (1, 1)  # neither end had to open anew
        terminate(machine.at_a, client.started.session_id)
        assert "Terminated by" in client.closed(2)


def test_a_link_that_swallows_everything_is_noticed(pair: Linked, machine: Machine) -> None:
    """By pings: within 15 seconds."""
    with between(pair, machine) as (agent, client):
        for link in pair.links:
            link.swallow()
        client.send(b"lost on the way")
        client.noted("pause_publication", 25)
        client.noted("start_publication")
        send_all(client, agent, b" and back", already=b"lost on the way")
        echo(agent, client)


def test_a_client_that_takes_nothing_for_long_keeps_its_link(pair: Linked, machine: Machine) -> None:
    """What is held back is not taken for what has gone."""
    pieces, piece = 1000, b"x" * 200_000
    with between(pair, machine) as (agent, client):

        def send() -> None:
            for number in range(pieces):
                agent.socket.send(frame("output_stream_data", piece, number))

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        sending.join(DROP_AFTER + 3)
        assert sending.is_alive()
        client.until(lambda: len(client.received.get(PayloadType.OUTPUT, b"")) == pieces * len(piece), 90)
        assert client.notes == []


def test_a_client_that_comes_to_the_nodes_server_and_back_goes_on(pair: Linked, machine: Machine) -> None:
    with between(pair, machine) as (agent, client):
        client.server, at_b = pair.a, client.started
        client.started = resume(machine.at_a, at_b.session_id)
        client.again(client_socket(pair.a, client.started.url), client_opening(client.started.token))
        echo(agent, client)
        assert machine.row(at_b.session_id)[0] == machine.row(at_b.session_id)[2]
        client.come_again(machine.at_b)
        echo(agent, client)
        client.cut()
        agent.noted("pause_publication")
        client.come_again(machine.at_b)
        echo(agent, client)


def test_a_node_that_moves_to_the_other_server_and_back_goes_on_with_its_client(pair: Linked, machine: Machine) -> None:
    with between(pair, machine) as (agent, client):
        for there in (machine.at_b, machine.at_a):
            agent.node = there

            def move() -> None:
                agent.cut()
                agent.come_again()

            send_all(agent, client, some_text(600_000), disturb=move)
            echo(agent, client)
            agent.send(f"now at {there.server.folder.name}\n".encode())
            client.until(lambda: client.received.pop(PayloadType.OUTPUT, b"").endswith(b"\n"))
        session_id = client.started.session_id
        assert machine.row(session_id)[1::2][:2] == (3, 1)  # the client's socket stayed
        terminate(machine.at_b, session_id)
        assert "Terminated by" in client.closed(2)

    # Each server has recorded a part; once both are stored they are one, which either gives. What was under way when
    # the node moved may be in both.
    def put_together() -> str:
        seen = shown(recording(pair.b, session_id))
        return seen if "now at a" in seen and "now at b" in seen else ""

    whole = eventually(put_together)
    assert whole.index("now at b") < whole.index("now at a")
    assert whole.count("and back") >= 2


def test_a_session_goes_on_at_the_clients_server_when_the_other_one_is_killed(pair: Linked, machine: Machine) -> None:
    """Server a is gone then."""
    with between(pair, machine) as (agent, client):
        echo(agent, client)
        agent.send(b"never seen by a client")
        pair.a.kill()
        client.noted("pause_publication")
        agent.node = machine.at_b
        agent.come_again()
        client.read(b"never seen by a client")
        echo(agent, client)
        terminate(machine.at_b, client.started.session_id)
        assert "Terminated by" in client.closed(2)


def test_a_tunnel_of_our_own_ends_loses_no_byte_whatever_breaks(pair: Linked) -> None:
    """Links break, the node moves to the client's server and back, the node's server is killed."""
    if pair.a.process is None or pair.a.process.poll() is not None:
        pair.a.start()
    pair.start_node()
    operator = pair.b.client()
    eventually(lambda: operator.get_connection_status(Target=pair.node_id)["Status"] == "connected", 20)
    target, data = Target(), some_text(16_000_000)

    def move(server: ServerProcess) -> None:
        pair.forwarder.target = server.port
        assert pair.forwarder.cut() > 0

    async def tunnel() -> None:
        fleet = client.connect(pair.b.url, pair.b.root, region=REGION, ca=pair.b.ca, timing=Timing(quiet=1.0))
        async with fleet, fleet.tunnel(pair.node_id, target.port) as address:
            stream = asyncio.create_task(echoed(address, data, pace=0.2))
            for disturb in (pair.cut, pair.cut, lambda: move(pair.b), lambda: move(pair.a), pair.a.kill):
                await asyncio.sleep(3)
                assert not stream.done()
                await asyncio.to_thread(disturb)
            pair.forwarder.target = pair.b.port
            assert await stream == with_digest(data)

    asyncio.run(asyncio.wait_for(tunnel(), 120))
    target.close()
