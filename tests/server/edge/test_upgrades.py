"""Upgrades: sockets that are refused before they are answered."""

from __future__ import annotations

import pytest

from tests.serving import ACCOUNT, REGION, Node, ServerProcess

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@pytest.mark.parametrize(
    "path", ["/", "/v1/data-channel/x", "/v1/control-channel/", "/healthz", "/v1/control-channel/%ff"]
)
def test_there_are_no_sockets_elsewhere(serving: ServerProcess, node: Node, path: str) -> None:
    """A 4xx instead of 101; the connection ends."""
    answer = serving.send("GET", path, b"", UPGRADE, node.keys, service="ssmmessages")
    assert 400 <= answer.status < 500, answer
    assert serving.raw("GET", "/healthz").status == 200


def test_an_unknown_host_is_misdirected(serving: ServerProcess) -> None:
    """As for every request."""
    answer = serving.raw("GET", "/v1/control-channel/mi-1", headers={**UPGRADE, "Host": "evil.example"})
    assert answer.status == 421


@pytest.mark.parametrize("headers", [{"Sec-WebSocket-Version": "7"}, {"Sec-WebSocket-Key": ""}])
def test_a_handshake_that_is_none_is_refused(serving: ServerProcess, node: Node, headers: dict[str, str]) -> None:
    """Signed, but not WebSocket."""
    path = f"/v1/control-channel/{node.node_id}"
    answer = serving.send("GET", path, b"", {**UPGRADE, **headers}, node.keys, service="ssmmessages")
    assert 400 <= answer.status < 500, answer


def test_a_denied_channel_is_logged_with_its_request(serving: ServerProcess, node: Node, other_node: Node) -> None:
    """Operation, caller and error."""
    path = f"/v1/control-channel/{other_node.node_id}"
    answer = serving.send("GET", path, b"", UPGRADE, node.keys, service="ssmmessages")
    assert answer.status == 403
    caller = f"arn:aws:ssm:{REGION}:{ACCOUNT}:managed-instance/{node.node_id}"
    line = serving.logged_request(operation="ssmmessages:OpenControlChannel", caller=caller)
    assert (line["error"], line["status"]) == ("AccessDeniedException", 403)
