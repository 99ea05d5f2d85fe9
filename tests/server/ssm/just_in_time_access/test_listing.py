"""The approvers' queue: what waits for whom, page by page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.paging import InvalidNextToken, encode

ALICE = ("IamUser", "alice")


def test_a_queue_holds_what_waits_for_ones_answer(office: Any) -> None:
    alice, carol, bob = office.user("alice"), office.user("carol"), office.user("bob")
    office.policy("Everything", ALICE, ("IamUser", "carol"), minimum=2)
    first, second = (office.ask(bob, office.fleet.admit()) for _ in range(2))
    assert set(office.queue(alice)) == {first, second}
    assert office.queue(bob) == []
    office.answer("ApproveAccessRequest", alice, first)
    assert office.queue(alice) == [second]
    assert set(office.queue(carol)) == {first, second}
    office.answer("ApproveAccessRequest", carol, first)
    assert office.queue(carol) == [second]


def test_requests_are_listed_by_state_and_maker(office: Any) -> None:
    alice, bob = office.user("alice"), office.user("bob")
    office.policy("Everything", ALICE, answerWithinHours=1)
    node_id = office.fleet.admit()
    approved, rejected, waiting = (office.ask(bob, node_id) for _ in range(3))
    office.answer("ApproveAccessRequest", alice, approved)
    office.answer("RejectAccessRequest", alice, rejected)
    assert office.queue(alice, "Own") == []
    assert set(office.queue(bob, "Own")) == {approved, rejected, waiting}
    assert office.queue(bob, "All", Status="Pending") == [waiting]
    assert office.queue(bob, "All", Status="Rejected") == [rejected]
    assert office.queue(bob, "All", Status="Expired") == []


def test_what_time_has_ended_shows_so_before_it_is_written_down(office: Any) -> None:
    bob = office.user("bob")
    office.policy("Everything", ALICE, answerWithinHours=1)
    request_id = office.ask(bob, office.fleet.admit())
    office.world.clock.advance(timedelta(hours=1))
    assert office.queue(bob, "All", Status="Expired") == [request_id]
    assert office.queue(bob, "All", Status="Pending") == []
    assert office.status(bob, request_id) == "Expired"


def test_a_request_is_shown_with_its_policy_and_answers(office: Any) -> None:
    alice, bob, node_id = office.user("alice"), office.user("bob"), office.fleet.admit()
    office.policy("Everything", ALICE, ("IamUser", "carol"), minimum=2)
    office.ask(bob, node_id, Reason="the disk is full")
    office.answer("ApproveAccessRequest", alice, office.queue(alice)[0], Comment="fine")
    (shown,) = office.world.call("fleetward:ListAccessRequests", {}, alice)["AccessRequests"]
    assert (shown["Reason"], shown["InstanceIds"], shown["PolicyName"]) == ("the disk is full", [node_id], "Everything")
    assert shown["Requester"] == bob.caller.arn
    (level,) = shown["Levels"]
    assert (level["MinimumApprovals"], level["Approvals"]) == (2, 1)
    assert [each["Name"] for each in level["Approvers"]] == ["alice", "carol"]
    (answer,) = shown["Answers"]
    assert (answer["Arn"], answer["Answer"], answer["Level"], answer["Comment"]) == (
        alice.caller.arn,
        "Approve",
        1,
        "fine",
    )
    assert shown["CanAnswer"] is False
    assert "EndedAt" not in shown


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_pages_hold_every_request_once(office: Any) -> None:
    bob, node_id = office.user("bob"), office.fleet.admit()
    office.policy("Everything", ALICE)
    made = []
    for number in range(5):
        made.append(office.ask(bob, node_id))
        office.pass_time(seconds=number % 2)
    pages = office.world.pages("fleetward:ListAccessRequests", {"MaxResults": 2}, "AccessRequests")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(each["AccessRequestId"] for page in pages for each in page) == sorted(made)


@pytest.mark.parametrize("key", [[], [1], ["x", "y"], [-1, "x"], [2**62, "x"], [1, 2], [1, "x", 3]])
def test_tokens_of_nobody_are_refused(office: Any, key: list[Any]) -> None:
    with pytest.raises(InvalidNextToken):
        office.queue("root", "All", NextToken=encode("ListAccessRequests", key))
