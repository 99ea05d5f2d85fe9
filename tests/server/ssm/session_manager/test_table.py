"""The rows of sessions: what of them is sealed, and what is stored of tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fleetward.server.ssm.session_manager import SEALED
from fleetward.server.ssm.session_manager.table import Key, token_identity

ALL: dict[str, Any] = {"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}


def test_tokens_are_stored_as_hashes_and_those_of_owners_sealed(board: Any) -> None:
    """Nothing that opens anything can be read from the store; the seal is bound to the row."""
    context = replace(board.user("alice", ALL), session_token="the token of temporary keys")
    started = board.start(context)
    token = board.node_token(started["SessionId"])
    row = board.row(started["SessionId"])
    stored = repr(tuple(row))
    assert started["TokenValue"] not in stored
    assert token not in stored
    assert "temporary" not in stored
    key = Key(board.world.account, board.world.region, row.session_id)
    keys = board.world.runner.keys
    assert keys.open(row.session_token, token_identity(key)) == b"the token of temporary keys"
    (column,) = SEALED
    assert column.identity(row) == token_identity(key)


def test_the_end_forgets_the_keys_of_the_owner(board: Any) -> None:
    """They have nothing more to carry."""
    context = replace(board.user("alice", ALL), session_token="the token of temporary keys")
    session_id = board.open(context)
    board.world.call("TerminateSession", {"SessionId": session_id})
    row = board.row(session_id)
    assert (row.session_token, row.node_token, row.client_token) == (None, None, None)


def test_topics_name_the_tenant(board: Any) -> None:
    """Sessions of the same id in two accounts are two."""
    assert Key("1", "r", "s").topic != Key("2", "r", "s").topic
