"""Message Gateway: tokens of control channels."""

from __future__ import annotations

import secrets

import pytest

from fleetward.server.keys import KeyRing
from fleetward.server.ssmmessages import TOKEN_SECONDS, seal_token, token_opens
from tests.serving import Node, ServerProcess

ACCOUNT, NODE = "123456789012", "mi-0123456789abcdef0"


@pytest.fixture
def keys() -> KeyRing:
    """A ring of one key."""
    return KeyRing({1: secrets.token_bytes(32)})


def test_a_token_opens_its_own_channel_for_a_minute(keys: KeyRing) -> None:
    """To the second."""
    token = seal_token(keys, ACCOUNT, NODE, 1000.0)
    assert token_opens(keys, token, ACCOUNT, NODE, 1000.0)
    assert token_opens(keys, token, ACCOUNT, NODE, 1000.0 + TOKEN_SECONDS)
    assert not token_opens(keys, token, ACCOUNT, NODE, 1001.0 + TOKEN_SECONDS)


def test_a_token_opens_nothing_else(keys: KeyRing) -> None:
    """Another node, another account, another server's keys, a changed character, no token at all."""
    token = seal_token(keys, ACCOUNT, NODE, 1000.0)
    assert not token_opens(keys, token, ACCOUNT, "mi-00000000000000000", 1000.0)
    assert not token_opens(keys, token, "210987654321", NODE, 1000.0)
    assert not token_opens(KeyRing({1: secrets.token_bytes(32)}), token, ACCOUNT, NODE, 1000.0)
    for wrong in ("", "x", token[:-4], token[:10] + ("A" if token[10] != "A" else "B") + token[11:], "é" * 20):
        assert not token_opens(keys, wrong, ACCOUNT, NODE, 1000.0)


def test_the_answer_is_rest_xml_as_agents_read_it(node: Node) -> None:
    """HTTP 201 with TokenValue and MessageSchemaVersion."""
    answer = node.server.create_channel(node.node_id, node.keys)
    assert answer.status == 201
    assert b"<MessageSchemaVersion>1.0</MessageSchemaVersion>" in answer.body
    assert b"<TokenValue>" in answer.body


def test_a_node_gets_no_token_for_another(serving: ServerProcess, node: Node, other_node: Node) -> None:
    """403, named by the root of the XML as the agent looks for it."""
    answer = serving.create_channel(other_node.node_id, node.keys)
    assert (answer.status, answer.code) == (403, "AccessDeniedException")
