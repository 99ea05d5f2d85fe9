"""What time does to access requests: nobody answered, the access is over, they are forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from fleetward.server.errors import ValidationException
from fleetward.server.ssm.just_in_time_access import table

ALICE = ("IamUser", "alice")


def written(office: Any, request_id: str) -> Any:
    """The row as it stands."""
    return office.world.do(lambda call: table.find(call, request_id))


def test_a_request_that_nobody_answers_expires(office: Any) -> None:
    alice, bob = office.user("alice"), office.user("bob")
    office.policy("Everything", ALICE, answerWithinHours=2)
    request_id = office.ask(bob, office.fleet.admit())
    asked_at = office.world.clock.now()
    office.pass_time(minutes=119)
    assert written(office, request_id).status == "Pending"
    office.pass_time(minutes=2)
    row = written(office, request_id)
    assert (row.status, row.ended_at - asked_at, row.due_at) == ("Expired", timedelta(hours=2), None)
    with pytest.raises(ValidationException, match="Expired"):
        office.answer("ApproveAccessRequest", alice, request_id)
    with pytest.raises(ValidationException, match="has ended"):
        office.answer("RevokeAccess", "root", request_id)


def test_an_answer_that_comes_too_late_counts_no_more(office: Any) -> None:
    alice, bob = office.user("alice"), office.user("bob")
    office.policy("Everything", ALICE, answerWithinHours=1)
    request_id = office.ask(bob, office.fleet.admit())
    office.world.clock.advance(timedelta(hours=1))  # no timer has run
    with pytest.raises(ValidationException, match="Expired"):
        office.answer("ApproveAccessRequest", alice, request_id)


def test_the_time_to_answer_covers_all_levels(office: Any) -> None:
    alice, bob, _ = office.user("alice"), office.user("bob"), office.user("carol")
    levels = [{"approvers": [{"type": "IamUser", "name": name}]} for name in ("alice", "carol")]
    office.policy("Everything", levels=levels, answerWithinHours=1)
    request_id = office.ask(bob, office.fleet.admit())
    office.pass_time(minutes=50)
    office.answer("ApproveAccessRequest", alice, request_id)
    office.pass_time(minutes=11)
    assert office.status(bob, request_id) == "Expired"


def test_access_ends_when_its_time_is_over(office: Any) -> None:
    bob = office.user("bob")
    request_id = office.approved(bob, office.fleet.admit(), accessDurationHours=1)
    office.pass_time(minutes=59)
    assert office.status(bob, request_id) == "Approved"
    office.pass_time(minutes=1)
    assert written(office, request_id).status == "Expired"


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_requests_are_forgotten_after_a_year_with_their_answers(office: Any) -> None:
    alice, bob = office.user("alice"), office.user("bob")
    office.policy("Everything", ALICE)
    first = office.ask(bob, office.fleet.admit())
    office.answer("RejectAccessRequest", alice, first)
    office.pass_time(days=200)
    second = office.ask(bob, office.fleet.admit())
    office.answer("RejectAccessRequest", alice, second)
    office.pass_time(days=166)
    assert written(office, first) is None
    assert written(office, second) is not None
    assert office.world.do(lambda call: call.db.value(select(func.count()).select_from(table.answers))) == 1
