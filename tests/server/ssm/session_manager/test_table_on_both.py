"""The statements of sessions on SQLite and on PostgreSQL: one whole life of a session on each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.ssm.session_manager import ending


@pytest.mark.parametrize("world", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_a_session_lives_and_is_forgotten_on_both_databases(board: Any) -> None:
    """Started, joined, counted, cut, resumed, listed, ended by its limit, located, forgotten."""
    session_id = board.open(DocumentName="AWS-StartPortForwardingSession", Parameters={"portNumber": ["22"]})
    shell = board.open()
    board.world.call("ssmmessages:OpenDataChannel", {"SessionId": session_id}, board.node)
    board.counts(session_id, 2**33, 5)
    board.client_leaves(session_id)
    board.client_joins(board.world.call("ResumeSession", {"SessionId": session_id}))
    filters = [{"key": "Target", "value": board.node}, {"key": "InvokedAfter", "value": "2030-01-01T00:00:00Z"}]
    request = {"State": "Active", "Filters": filters, "MaxResults": 1}
    pages = board.world.pages("DescribeSessions", request, "Sessions")
    assert sorted(each["SessionId"] for page in pages for each in page) == sorted([session_id, shell])
    board.world.clock.advance(timedelta(minutes=1))
    board.keep_alive("another")
    board.tick()
    assert board.status(shell) == "Disconnected"
    board.pass_time(minutes=6)
    found = board.world.call("fleetward:DescribeSession", {"SessionId": session_id})
    assert (found["Status"], found["BytesIn"]) == ("Terminated", 2**33)
    board.completes(shell, s3_bucket="logs", s3_url_suffix="x.log")
    board.world.clock.advance(timedelta(days=100))
    board.world.do(ending.forget)
    assert (board.row(session_id), board.row(shell)) == (None, None)
