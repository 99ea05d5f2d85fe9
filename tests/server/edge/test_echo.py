"""Echo: the WebSocket by which a client tries the way; for whoever signs, and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fleetward.protocol import sigv4
from fleetward.protocol.sigv4 import Credentials
from fleetward.server.edge.echo import MOST_BYTES, PATH
from tests.serving import REGION, Node, ServerProcess, StartServer


@contextmanager
def dial(server: ServerProcess, keys: Credentials | None, service: str = "sts") -> Iterator[ClientConnection]:
    """The socket, open."""
    headers = {"Host": f"{server.host}:{server.port}"}
    if keys is not None:
        headers = sigv4.sign_headers(
            keys,
            method="GET",
            url_path=PATH,
            query="",
            headers=headers,
            region=REGION,
            service=service,
            now=datetime.now(UTC),
        )
    else:
        headers = {}
    url = f"wss://{server.host}:{server.port}{PATH}"
    with connect(url, ssl=server.tls(), additional_headers=headers, compression=None) as connection:
        assert isinstance(connection, ClientConnection)
        yield connection


def test_messages_come_back_as_they_went(serving: ServerProcess, node: Node) -> None:
    """To operators and nodes, text and bytes, small and large."""
    for keys in (serving.root, serving.role("ReadOnly"), node.keys):
        with dial(serving, keys) as socket:
            for message in ("text", b"bytes", b"x" * 300_000):
                socket.send(message)
                assert socket.recv(timeout=10) == message


def test_it_speaks_by_the_other_library_too(start_server: StartServer) -> None:
    server = start_server(websockets="websockets")
    with dial(server, server.root) as socket:
        socket.send(b"x" * 300_000)
        assert socket.recv(timeout=10) == b"x" * 300_000


@pytest.mark.parametrize("keys", [None, Credentials("AKIANOBODY", "secret")])
def test_strangers_are_refused(serving: ServerProcess, keys: Credentials | None) -> None:
    with pytest.raises(InvalidStatus) as refused, dial(serving, keys):
        pass
    assert refused.value.response.status_code in (400, 403)


def test_too_much_ends_it(serving: ServerProcess) -> None:
    """A client that only wants to keep us busy."""
    with dial(serving, serving.root) as socket:
        for _ in range(MOST_BYTES // 500_000):
            socket.send(b"x" * 500_000)
            assert len(socket.recv(timeout=10)) == 500_000
        socket.send(b"x" * 500_000)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
