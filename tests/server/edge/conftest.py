"""Servers for tests of WebSockets: one with each implementation that there is a choice of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving import Node, ServerProcess


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
    """A node of the test's own, which has no channel yet."""
    return server.join(4)
