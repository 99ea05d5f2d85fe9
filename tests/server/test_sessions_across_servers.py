"""Sessions across servers: the node's end at one of two servers, the client at the other."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetward.protocol.control_channel import SessionClosed, SessionRequested
from fleetward.protocol.frame import PayloadType
from tests.channel import Channel
from tests.server.test_two_servers import Pair
from tests.services import Nats, Postgres
from tests.serving import Node, eventually
from tests.sessions import ClientEnd, NodeEnd, recording, shown, start, status, terminate

pytestmark = pytest.mark.slow

MOST_AT_ONCE = 256 * 1024


@pytest.fixture(scope="module")
def pair(postgres_server: Postgres, nats_server: Nats) -> Iterator[Pair]:
    """Two servers that reach each other, each through a forwarder."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fleetward-across-", dir=memory if memory.is_dir() else None))
    database = postgres_server.new_database()
    made = Pair(folder, postgres_server, database, nats_server, peer_listen="127.0.0.1:0", session_resume=20)
    yield made
    made.stop()
    postgres_server.drop_database(database)
    shutil.rmtree(folder, ignore_errors=True)


class Machine:
    """A machine with a control channel to one of the servers."""

    def __init__(self, pair: Pair, number: int) -> None:
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
def machine(pair: Pair) -> Iterator[Machine]:
    """A machine whose channel is with server a."""
    made = Machine(pair, 5)
    yield made
    made.channel.socket.close()


def some_text(size: int) -> bytes:
    return random.Random(size).randbytes(size // 2).hex().encode()


def send_all(source: NodeEnd | ClientEnd, sink: NodeEnd | ClientEnd, payload: bytes, within: float = 60.0) -> None:
    """Send a payload from one end to the other, driving both; it must come intact."""
    got, sent, until = bytearray(), 0, time.monotonic() + within
    while len(got) < len(payload):
        assert time.monotonic() < until, f"{len(got)} of {len(payload)} bytes within {within} s"
        room = min(source.stream.room, MOST_AT_ONCE, len(payload) - sent)
        if room > 0:
            source.send(payload[sent : sent + room])
            sent += room
        for end in (source, sink):
            end.turn(time.monotonic() + 0.002)
        got += sink.received.pop(PayloadType.OUTPUT, b"")
    assert hashlib.sha256(got).digest() == hashlib.sha256(payload).digest()


def echo(agent: NodeEnd, client: ClientEnd) -> None:
    """Bytes go both ways."""
    client.send(b"there")
    agent.read(b"there")
    agent.send(b"and back")
    client.read(b"and back")


def test_bytes_go_both_ways_between_servers_until_the_session_is_terminated_at_the_clients(
    pair: Pair, machine: Machine
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
    assert shown(recording(pair.a, started.session_id)).startswith("and back")
