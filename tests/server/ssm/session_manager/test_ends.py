"""Ends: tokens that open them once, who may open them, what the store knows of them."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException
from fleetward.server.ssm.errors import ResourceNotFoundException
from fleetward.server.ssm.session_manager import ends
from fleetward.server.ssm.session_manager.table import Key


@pytest.mark.parametrize("first", ["node", "client"])
def test_the_ends_join_in_either_order(board: Any, first: str) -> None:
    """Connected once both are there."""
    started = board.start()
    joins = [lambda: board.node_joins(started["SessionId"]), lambda: board.client_joins(started)]
    for join in joins if first == "node" else reversed(joins):
        assert board.status(started["SessionId"]) == "Connecting"
        assert join().epoch == 1
    assert board.status(started["SessionId"]) == "Connected"


def test_tokens_open_once(board: Any) -> None:
    """The node's and the client's."""
    started = board.start()
    session_id = started["SessionId"]
    token = board.node_token(session_id)
    board.node_joins(session_id, token)
    with pytest.raises(AccessDeniedException):
        board.node_joins(session_id, token)
    board.client_joins(started)
    with pytest.raises(AccessDeniedException):
        board.client_joins(started)


def test_only_the_newest_token_of_a_node_counts(board: Any) -> None:
    """An agent that asked twice has one good token."""
    session_id = board.start()["SessionId"]
    first, second = board.node_token(session_id), board.node_token(session_id)
    with pytest.raises(AccessDeniedException):
        board.node_joins(session_id, first)
    board.node_joins(session_id, second)


def test_a_node_opens_its_own_sessions_only(board: Any) -> None:
    """With neither its keys nor a token of the right node; and is not told whether there is such a session."""
    session_id = board.start()["SessionId"]
    other = board.new_node()
    texts = []
    for name in (session_id, "root-0123456789abcdef0"):
        with pytest.raises(AccessDeniedException) as refused:
            board.node_token(name, other)
        texts.append(str(refused.value).replace(name, "NAME"))
    assert texts[0] == texts[1]
    with pytest.raises(AccessDeniedException):
        board.node_joins(session_id, board.node_token(session_id), node_id=other)


def test_a_clients_token_opens_no_other_session(board: Any) -> None:
    """Nor one of the same name elsewhere: it carries its tenant, sealed."""
    one, other = board.start(), board.start()
    keys = board.world.runner.keys
    key = ends.tenant_of(keys, one["TokenValue"], one["SessionId"])
    assert key == Key(board.world.account, board.world.region, one["SessionId"])
    assert ends.tenant_of(keys, one["TokenValue"], other["SessionId"]) is None
    for odd in ("", "x", "ä", one["TokenValue"][:-4], one["TokenValue"].swapcase()):
        assert ends.tenant_of(keys, odd, one["SessionId"]) is None
    with pytest.raises(AccessDeniedException):
        board.client_joins({**other, "TokenValue": one["TokenValue"]})


def test_a_session_that_ended_refuses_its_node_in_the_words_agents_know(board: Any) -> None:
    """AP 11.3: then they do not try again."""
    session_id = board.open()
    board.world.call("TerminateSession", {"SessionId": session_id})
    with pytest.raises(ResourceNotFoundException, match="Session is already terminated"):
        board.node_token(session_id)


def test_a_late_client_is_told_how_it_ended(board: Any) -> None:
    """AP 25.16: the session failed before its client came."""
    started = board.start()
    board.completes(started["SessionId"], "Failed", "no such user")
    joined = board.client_joins(started)
    assert joined.ended == "no such user"
    assert board.status(started["SessionId"]) == "Failed"


def test_a_client_that_leaves_is_disconnected_until_it_is_back(board: Any) -> None:
    """Status; the node that leaves changes none."""
    session_id = board.open()
    board.node_leaves(session_id)
    assert board.status(session_id) == "Connected"
    board.node_joins(session_id)
    board.client_leaves(session_id)
    assert board.status(session_id) == "Disconnected"
    assert board.client_joins(board.world.call("ResumeSession", {"SessionId": session_id})).epoch == 2
    assert board.status(session_id) == "Connected"


def test_an_old_connection_that_leaves_changes_nothing(board: Any) -> None:
    """Its news comes after a newer one has joined."""
    session_id = board.open()
    board.node_joins(session_id)
    board.client_joins(board.world.call("ResumeSession", {"SessionId": session_id}))
    board.node_leaves(session_id, 1)
    board.client_leaves(session_id, 1)
    row = board.row(session_id)
    assert (row.node_left_at, row.client_left_at, row.status) == (None, None, "Connected")


def test_ends_that_leave_after_the_end_do_not_wake_the_timer(board: Any) -> None:
    """Nothing is due of a session that is over."""
    session_id = board.open()
    board.world.call("TerminateSession", {"SessionId": session_id})
    board.node_leaves(session_id)
    board.client_leaves(session_id)
    assert board.row(session_id).due_at is None


def test_traffic_adds_up(board: Any) -> None:
    """Bytes to the node and from it."""
    session_id = board.open()
    board.counts(session_id, 3, 5)
    board.counts(session_id, 10, 20)
    row = board.row(session_id)
    assert (row.bytes_in, row.bytes_out) == (13, 25)


def test_joining_wakes_whoever_holds_the_session(board: Any) -> None:
    """Servers that hold an older connection of it close that."""
    started = board.start()
    board.world.wakes.clear()
    board.client_joins(started)
    assert Key(board.world.account, board.world.region, started["SessionId"]).topic in board.world.wakes


def test_a_node_that_is_back_has_not_ended_its_session(board: Any) -> None:
    """Only one that stays away after it said so."""
    session_id = board.open()
    for status in ("Connected", "Terminated"):
        board.world.entry(ends.node_ended)(session_id)
        assert board.status(session_id) == status
        board.node_leaves(session_id)
