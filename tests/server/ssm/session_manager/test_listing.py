"""DescribeSessions: active and history, filters, pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import paging
from fleetward.server.ssm.errors import InvalidFilterKey

ALL: dict[str, Any] = {"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}


def ids(board: Any, state: str, **filters: str) -> list[str]:
    """The sessions that a list shows."""
    given = [{"key": key, "value": value} for key, value in filters.items()]
    request = {"State": state, **({"Filters": given} if given else {})}
    return [each["SessionId"] for each in board.world.call("DescribeSessions", request)["Sessions"]]


def test_active_and_history_are_apart_and_the_newest_comes_first(board: Any) -> None:
    """By the state of each."""
    sessions = []
    for _ in range(4):
        sessions.append(board.open())
        board.world.clock.advance(timedelta(seconds=1))
    for session_id in sessions[:2]:
        board.world.call("TerminateSession", {"SessionId": session_id})
    assert ids(board, "Active") == [sessions[3], sessions[2]]
    assert ids(board, "History") == [sessions[1], sessions[0]]


def test_filters_must_all_fit(board: Any) -> None:
    """Target, Owner, Status, SessionId, AccessType, times."""
    other = board.new_node()
    mine = board.open()
    theirs = board.start(board.user("alice", ALL), Target=other)["SessionId"]
    alice = f"arn:aws:iam::{board.world.account}:user/alice"
    assert ids(board, "Active", Target=other) == [theirs]
    assert ids(board, "Active", Owner=alice) == [theirs]
    assert ids(board, "Active", Owner=alice, Target=board.node) == []
    assert ids(board, "Active", Status="Connected") == [mine]
    assert ids(board, "Active", SessionId=mine) == [mine]
    assert ids(board, "Active", AccessType="JustInTime") == []
    assert sorted(ids(board, "Active", AccessType="Standard")) == sorted([mine, theirs])


def test_times_are_bounds(board: Any) -> None:
    """From InvokedAfter on, before InvokedBefore; with a zone or in UTC."""
    session_id = board.open()
    assert ids(board, "Active", InvokedAfter="2030-01-01T12:00:00Z") == [session_id]
    assert ids(board, "Active", InvokedAfter="2030-01-01T13:00:00+01:00") == [session_id]
    assert ids(board, "Active", InvokedAfter="2030-01-01T12:00:01") == []
    assert ids(board, "Active", InvokedBefore="2030-01-01T12:00:00Z") == []
    assert ids(board, "Active", InvokedBefore="2030-01-02") == [session_id]
    assert ids(board, "Active", InvokedAfter="0001-01-01T00:00:00+14:00") == [session_id]
    assert ids(board, "Active", InvokedAfter="9999-12-31T23:59:59-14:00") == []


@pytest.mark.parametrize(
    "filters",
    [
        {"InvokedAfter": "yesterday"},
        {"InvokedBefore": "2030-01-01T25:00:00Z"},
        {"Status": "Sleeping"},
    ],
)
def test_values_that_cannot_be_are_refused(board: Any, filters: dict[str, str]) -> None:
    """With what would be right."""
    with pytest.raises(InvalidFilterKey):
        ids(board, "Active", **filters)


def test_a_key_is_given_once(board: Any) -> None:
    """Twice is refused."""
    twice = [{"key": "Target", "value": "a"}, {"key": "Target", "value": "b"}]
    with pytest.raises(InvalidFilterKey):
        board.world.call("DescribeSessions", {"State": "Active", "Filters": twice})


def test_pages_miss_and_repeat_nothing(board: Any) -> None:
    """Also of sessions of one moment."""
    sessions = []
    for number in range(7):
        sessions.append(board.start()["SessionId"])
        if number % 3 == 2:
            board.world.clock.advance(timedelta(milliseconds=1))
    pages = board.world.pages("DescribeSessions", {"State": "Active", "MaxResults": 2}, "Sessions")
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert sorted(each["SessionId"] for page in pages for each in page) == sorted(sessions)


@pytest.mark.parametrize("key", [[2**62, "x"], [-1, "x"], ["x", "x"], [1], [1, 2], [1.5, "x"]])
def test_forged_tokens_are_refused(board: Any, key: list[Any]) -> None:
    """Never an error of ours."""
    token = paging.encode("DescribeSessions", key)
    with pytest.raises(paging.InvalidNextToken):
        board.world.call("DescribeSessions", {"State": "Active", "NextToken": token})


def test_what_is_not_known_is_left_out(board: Any) -> None:
    """No empty members."""
    found = board.described(board.start()["SessionId"])
    assert set(found) == {"SessionId", "Target", "Status", "StartDate", "DocumentName", "Owner", "AccessType"}


def test_other_accounts_see_nothing(board: Any) -> None:
    """A list is of one tenant."""
    board.open()
    other = board.world.as_root(board.world.other_account)
    assert board.world.call("DescribeSessions", {"State": "Active"}, other)["Sessions"] == []
