"""Approvals, rejections and revocations: by those whom the policy names, never by who asked, once each."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.iam import principals
from fleetward.server.ssm.errors import ResourceNotFoundException


def made(office: Any, *approvers: tuple[str, str], **members: Any) -> tuple[Any, str]:
    """bob, who asked for access to a node under a policy with these approvers, and his request."""
    bob = office.user("bob", *members.pop("groups", ()))
    office.policy("Everything", *approvers, **members)
    return bob, office.ask(bob, office.fleet.admit())


def test_an_approver_gives_access(office: Any) -> None:
    alice = office.user("alice")
    bob, request_id = made(office, ("IamUser", "alice"))
    assert office.status(bob, request_id) == "Pending"
    shown = office.answer("ApproveAccessRequest", alice, request_id, Comment="go on")
    assert shown["Status"] == "Approved"
    assert (shown["AccessUntil"] - office.world.clock.now()).total_seconds() == 7200
    assert shown["Answers"][0]["Comment"] == "go on"
    assert office.status(bob, request_id) == "Approved"


def test_an_approver_refuses_access_for_good(office: Any) -> None:
    alice, carol = office.user("alice"), office.user("carol")
    bob, request_id = made(office, ("IamUser", "alice"), ("IamUser", "carol"))
    assert office.answer("RejectAccessRequest", alice, request_id, Comment="why")["Status"] == "Rejected"
    answer = office.token(bob, request_id)
    assert (answer["AccessRequestStatus"], answer.get("Credentials")) == ("Rejected", None)
    for what in ("ApproveAccessRequest", "RejectAccessRequest"):
        with pytest.raises(ValidationException, match="waits for no answer: Rejected"):
            office.answer(what, carol, request_id)
    with pytest.raises(ValidationException, match="has ended"):
        office.answer("RevokeAccess", carol, request_id)


def test_who_is_not_named_cannot_answer(office: Any) -> None:
    office.user("alice")
    bob, request_id = made(office, ("IamUser", "alice"))
    for other in (office.user("eve"), "root"):
        for what in ("ApproveAccessRequest", "RejectAccessRequest"):
            with pytest.raises(AccessDeniedException, match="no approver"):
                office.answer(what, other, request_id)
    assert office.status(bob, request_id) == "Pending"


def test_a_new_user_of_an_approvers_name_is_somebody_else(office: Any) -> None:
    office.user("alice")
    _, request_id = made(office, ("IamUser", "alice"))
    office.world.call("iam:DeleteUser", {"UserName": "alice"})
    again = office.user("alice")
    with pytest.raises(AccessDeniedException, match="no approver"):
        office.answer("ApproveAccessRequest", again, request_id)


def test_nobody_approves_his_own_request(office: Any) -> None:
    office.group("Operators")
    bob, request_id = made(office, ("IamGroup", "Operators"), ("IamUser", "bob"), groups=("Operators",))
    for what in ("ApproveAccessRequest", "RejectAccessRequest"):
        with pytest.raises(AccessDeniedException, match="his own"):
            office.answer(what, bob, request_id)
    assert office.queue(bob) == []


def test_nobody_approves_his_own_request_by_assuming_a_role(office: Any) -> None:
    role_id = office.role("Approvers")
    bob, request_id = made(office, ("IamRole", "Approvers"))
    disguised = office.session("Approvers", role_id, "alice", bob.caller.user_id)
    with pytest.raises(AccessDeniedException, match="his own"):
        office.answer("ApproveAccessRequest", disguised, request_id)
    assert office.queue(disguised) == []
    other = office.session("Approvers", role_id, "carol", "AIDACAROL")
    assert office.answer("ApproveAccessRequest", other, request_id)["Status"] == "Approved"


def test_one_person_under_two_names_counts_once(office: Any) -> None:
    role_id = office.role("Approvers")
    bob, request_id = made(office, ("IamRole", "Approvers"), minimum=2)
    office.answer("ApproveAccessRequest", office.session("Approvers", role_id, "one", "AIDAALICE"), request_id)
    with pytest.raises(ValidationException, match="already"):
        office.answer("ApproveAccessRequest", office.session("Approvers", role_id, "two", "AIDAALICE"), request_id)
    assert office.status(bob, request_id) == "Pending"
    office.answer("ApproveAccessRequest", office.session("Approvers", role_id, "one", "AIDACAROL"), request_id)
    assert office.status(bob, request_id) == "Approved"


def test_members_of_a_group_approve_while_they_are(office: Any) -> None:
    office.group("Leads")
    alice, carol = office.user("alice", "Leads"), office.user("carol", "Leads")
    bob, request_id = made(office, ("IamGroup", "Leads"), minimum=2)
    office.answer("ApproveAccessRequest", alice, request_id)
    office.world.call("iam:RemoveUserFromGroup", {"GroupName": "Leads", "UserName": "carol"})
    with pytest.raises(AccessDeniedException, match="no approver"):
        office.answer("ApproveAccessRequest", carol, request_id)
    office.world.call("iam:AddUserToGroup", {"GroupName": "Leads", "UserName": "carol"})
    office.answer("ApproveAccessRequest", carol, request_id)
    assert office.status(bob, request_id) == "Approved"


def test_levels_approve_one_after_another_and_by_different_people(office: Any) -> None:
    alice, carol, dave = (office.user(name) for name in ("alice", "carol", "dave"))
    people = [{"type": "IamUser", "name": name} for name in ("alice", "carol")]
    levels = [{"approvers": people}, {"approvers": [*people, {"type": "IamUser", "name": "dave"}]}]
    bob, request_id = made(office, levels=levels)
    with pytest.raises(AccessDeniedException, match="level 1"):
        office.answer("ApproveAccessRequest", dave, request_id)
    shown = office.answer("ApproveAccessRequest", alice, request_id)
    assert (shown["Status"], [level["Approvals"] for level in shown["Levels"]]) == ("Pending", [1, 0])
    with pytest.raises(ValidationException, match="already"):
        office.answer("ApproveAccessRequest", alice, request_id)
    office.answer("ApproveAccessRequest", carol, request_id)
    assert office.status(bob, request_id) == "Approved"


def test_revoking_ends_the_keys(office: Any) -> None:
    bob = office.user("bob")
    request_id = office.approved(bob, office.fleet.admit())
    keys = office.token(bob, request_id)["Credentials"]
    assert office.lives(keys)
    office.world.wakes.clear()
    shown = office.answer("RevokeAccess", "root", request_id, Comment="enough")
    assert (shown["Status"], shown["Comment"]) == ("Revoked", "enough")
    assert shown["EndedBy"].endswith(":root")
    assert principals.STANDINGS_TOPIC in office.world.wakes
    assert not office.lives(keys)
    assert office.status(bob, request_id) == "Revoked"
    with pytest.raises(ValidationException, match="has ended: Revoked"):
        office.answer("RevokeAccess", "root", request_id)


def test_access_that_is_over_can_still_be_revoked_with_its_sessions(office: Any) -> None:
    bob = office.user("bob")
    request_id = office.approved(bob, office.fleet.admit())
    keys = office.token(bob, request_id)["Credentials"]
    office.pass_time(hours=3)
    assert office.status(bob, request_id) == "Expired"
    assert office.lives(keys)
    office.answer("RevokeAccess", "root", request_id)
    assert not office.lives(keys)


def test_aws_s_policy_for_approvers_is_enough(office: Any) -> None:
    alice = office.user("alice")
    bob, request_id = made(office, ("IamUser", "alice"))
    condition = {"StringEquals": {"aws:ResourceTag/SystemsManagerJustInTimeNodeAccessManaged": "true"}}
    every_run = {"Effect": "Allow", "Action": "ssm:SendAutomationSignal", "Resource": "arn:aws:ssm:*:*:automation-execution/*"}  # fmt: skip # noqa: E501
    listing = {"Effect": "Allow", "Action": "ssm:DescribeOpsItems", "Resource": "*"}
    with pytest.raises(AccessDeniedException, match="SendAutomationSignal"):
        office.answer("ApproveAccessRequest", office.may(alice, listing), request_id)
    approver = office.may(alice, listing, {**every_run, "Condition": condition})
    assert office.queue(approver) == [request_id]
    office.answer("ApproveAccessRequest", approver, request_id)
    assert office.status(bob, request_id) == "Approved"


def test_unknown_requests_are_named_as_such(office: Any) -> None:
    for what in ("ApproveAccessRequest", "RejectAccessRequest", "RevokeAccess"):
        with pytest.raises(ResourceNotFoundException, match="oi-000000000000"):
            office.answer(what, "root", "oi-000000000000")
