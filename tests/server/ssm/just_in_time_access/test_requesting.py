"""Access requests and the keys they end in: for these nodes, for so long, for who asked, and for nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fleetward.server.call import Call, Caller, Resource
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.iam import principals
from fleetward.server.ssm import just_in_time_access
from fleetward.server.ssm.errors import ResourceNotFoundException, ServiceQuotaExceededException
from fleetward.server.sts import issue

ALICE = ("IamUser", "alice")


def holder(office: Any, credentials: Any) -> Caller:
    """Who has the keys, as the edge sees him: everything that the session policy leaves."""
    opened = office.open(credentials)
    everything = (("root", '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'),)
    return Caller(
        kind=opened.kind,
        arn=opened.principal,
        account=office.account,
        user_id=opened.context["user_id"],
        access_key_id=opened.access_key_id,
        policies=principals.policy_set(everything, None, (("session", opened.session_policy),)),
        context={issue.ACCESS_REQUEST: opened.context["access_request"], issue.ORIGIN: opened.context["origin"]},
    )


def allowed(office: Any, credentials: Any, action: str, resource: str, **keys: str) -> bool:
    """Whether the keys may do something."""
    context = replace(office.world.as_root(), caller=holder(office, credentials))

    def ask(call: Call) -> bool:
        try:
            call.authorize(action, Resource(resource, conditions=keys))
        except AccessDeniedException:
            return False
        return True

    return bool(office.world.do(ask, context=context))


def test_the_keys_open_sessions_to_the_approved_nodes_and_nothing_else(office: Any) -> None:
    bob, node_id, other = office.user("bob"), office.fleet.admit(), office.fleet.admit()
    answer = office.token(bob, office.approved(bob, node_id))
    assert answer["AccessRequestStatus"] == "Approved"
    keys = answer["Credentials"]
    here = f"arn:aws:ssm:us-east-1:{office.account}"
    owner = "ssm:resourceTag/aws:ssmmessages:session-id"
    mine = holder(office, keys).user_id
    assert allowed(office, keys, "ssm:StartSession", f"{here}:managed-instance/{node_id}")
    assert not allowed(office, keys, "ssm:StartSession", f"{here}:managed-instance/{other}")
    assert allowed(office, keys, "ssm:StartSession", "arn:aws:ssm:us-east-1::document/AWS-StartSSHSession")
    assert allowed(office, keys, "ssm:ResumeSession", f"{here}:session/bob-1", **{owner: mine})
    assert not allowed(office, keys, "ssm:ResumeSession", f"{here}:session/bob-1", **{owner: "oi-other:bob"})
    assert not allowed(office, keys, "ssm:TerminateSession", f"{here}:session/bob-1")
    for action in ("ssm:SendCommand", "ssm:StartAccessRequest", "iam:CreateUser", "sts:AssumeRole", "s3:GetObject"):
        assert not allowed(office, keys, action, f"{here}:managed-instance/{node_id}")
        assert not allowed(office, keys, action, "*")
    target = "kms:EncryptionContext:aws:ssm:TargetId"
    key = f"arn:aws:kms:us-east-1:{office.account}:key/1"
    assert allowed(office, keys, "kms:GenerateDataKey", key, **{target: node_id})
    assert not allowed(office, keys, "kms:GenerateDataKey", key, **{target: other})
    assert not allowed(office, keys, "kms:Decrypt", key, **{target: node_id})


def test_the_holder_is_known_by_name_and_way(office: Any) -> None:
    bob = office.user("bob", SSMSessionRunAs="operator")
    keys = office.token(bob, office.approved(bob, office.fleet.admit()))["Credentials"]
    opened = office.open(keys)
    assert opened.principal == f"arn:aws:sts::{office.account}:assumed-role/SSM-JustInTimeAccessTokenRole/bob"
    assert json.loads(opened.context["tags"]) == {"SSMSessionRunAs": "operator"}
    assert len(opened.session_policy) < issue.POLICY_LIMIT
    as_holder = replace(office.world.as_root(), caller=holder(office, keys))
    assert office.world.do(just_in_time_access.access_type, context=as_holder) == "JustInTime"
    assert office.world.do(just_in_time_access.access_type, context=bob) == "Standard"


def test_keys_for_many_nodes_fit_into_a_header(office: Any) -> None:
    bob, node_ids = office.user("bob"), [office.fleet.admit() for _ in range(10)]
    keys = office.token(bob, office.approved(bob, *node_ids))["Credentials"]
    assert len(keys["SessionToken"]) < 4096


def test_keys_last_an_hour_and_never_longer_than_the_access(office: Any) -> None:
    bob = office.user("bob")
    request_id = office.approved(bob, office.fleet.admit(), accessDurationHours=2)
    now = office.world.clock.now()
    first = office.token(bob, request_id)["Credentials"]
    assert (first["ExpirationTime"] - now).total_seconds() == 3600
    office.pass_time(minutes=90)
    second = office.token(bob, request_id)["Credentials"]
    assert (second["ExpirationTime"] - now).total_seconds() == 7200
    office.pass_time(minutes=30)
    answer = office.token(bob, request_id)
    assert (answer["AccessRequestStatus"], answer.get("Credentials")) == ("Expired", None)


def test_nobody_else_gets_the_keys(office: Any) -> None:
    role_id = office.role("Operators")
    bob = office.session("Operators", role_id, "bob", "AIDABOB")
    namesake = office.session("Operators", role_id, "bob", "AIDAEVE")
    request_id = office.approved(bob, office.fleet.admit())
    assert office.status(bob, request_id) == "Approved"
    for other in (namesake, office.session("Operators", role_id, "eve", "AIDABOB"), office.user("eve")):
        with pytest.raises(AccessDeniedException, match="was made by"):
            office.token(other, request_id)
    with pytest.raises(ResourceNotFoundException):
        office.token(bob, "oi-000000000000")


def test_keys_end_with_who_asked_for_them(office: Any) -> None:
    bob = office.user("bob")
    keys = office.token(bob, office.approved(bob, office.fleet.admit()))["Credentials"]
    assert office.lives(keys)
    office.world.call("iam:DeleteUser", {"UserName": "bob"})
    assert not office.lives(keys)


def test_keys_end_with_the_sign_in_that_they_came_by(office: Any) -> None:
    bob = office.user("bob")
    signed_in = {
        **bob.caller.context,
        issue.SIGN_IN: "si-00000000000000000001",
        "aws:SourceIdentity": "bob@example.com",
    }
    bob = replace(bob, caller=replace(bob.caller, context=signed_in))
    sealed = office.open(office.token(bob, office.approved(bob, office.fleet.admit()))["Credentials"]).context
    assert (sealed["sign_in"], sealed["source_identity"]) == ("si-00000000000000000001", "bob@example.com")


def test_keys_end_with_the_person_behind_a_role(office: Any) -> None:
    role_id, bob = office.role("Operators"), office.user("bob")
    session = office.session("Operators", role_id, "bob", bob.caller.user_id)
    keys = office.token(session, office.approved(session, office.fleet.admit()))["Credentials"]
    assert office.lives(keys)
    office.world.call("iam:DeleteUser", {"UserName": "bob"})
    assert not office.lives(keys)


@pytest.mark.parametrize("ends", [False, True])
def test_sessions_outlast_the_access_unless_the_policy_says_otherwise(office: Any, ends: bool) -> None:
    bob = office.user("bob")
    keys = office.token(bob, office.approved(bob, office.fleet.admit(), endSessions=ends))["Credentials"]
    office.pass_time(hours=2, seconds=1)
    assert office.lives(keys) is not ends


def test_iam_decides_who_may_ask_for_which_nodes(office: Any) -> None:
    production, other = office.fleet.admit(tags={"Environment": "Production"}), office.fleet.admit()
    office.policy("Everything", ALICE)
    condition = {"StringEquals": {"aws:ResourceTag/Environment": "Production"}}
    statement = {"Effect": "Allow", "Action": "ssm:StartAccessRequest", "Resource": "*", "Condition": condition}
    bob = office.may(office.user("bob"), statement)
    assert office.ask(bob, production).startswith("oi-")
    with pytest.raises(AccessDeniedException, match="StartAccessRequest"):
        office.ask(bob, other)
    with pytest.raises(AccessDeniedException, match="GetAccessToken"):
        office.token(bob, office.ask(bob, production))


@pytest.mark.parametrize(
    ("targets", "error"),
    [
        ([], ValidationException),
        ([{"Key": "InstanceIds"}], ValidationException),
        ([{"Key": "InstanceIds", "Values": []}], ValidationException),
        ([{"Key": "tag:Environment", "Values": ["x"]}], ValidationException),
        ([{"Key": "InstanceIds", "Values": ["mi-0123456789abcdef0"]}], ResourceNotFoundException),
        ([{"Key": "InstanceIds", "Values": ["NODE", "NODE"]}], ValidationException),
        ([{"Key": "InstanceIds", "Values": [f"mi-{number:017x}" for number in range(11)]}], ValidationException),
    ],
)
def test_targets_are_nodes(office: Any, targets: Any, error: Any) -> None:
    node_id = office.fleet.admit()
    office.policy("Everything", ALICE)
    bob = office.user("bob")
    for target in targets:
        target["Values"] = [node_id if value == "NODE" else value for value in target.get("Values", [])]
    with pytest.raises(error):
        office.ask(bob, Targets=targets)
    assert office.ask(bob, node_id)


def test_so_many_requests_may_wait_for_an_answer(office: Any) -> None:
    bob, eve, node_id = office.user("bob"), office.user("eve"), office.fleet.admit()
    office.policy("Everything", ALICE)
    made = [office.ask(bob, node_id) for _ in range(20)]
    with pytest.raises(ServiceQuotaExceededException):
        office.ask(bob, node_id)
    office.ask(eve, node_id)
    office.answer("RevokeAccess", office.as_user("bob", bob.caller.user_id), made[0])
    office.ask(bob, node_id)


def test_tags_of_a_request_are_kept_and_limited(office: Any) -> None:
    bob, node_id = office.user("bob"), office.fleet.admit()
    office.policy("Everything", ALICE)
    office.ask(bob, node_id, Tags=[{"Key": "ticket", "Value": "7"}])
    (listed,) = office.world.call("fleetward:ListAccessRequests", {})["AccessRequests"]
    assert listed["Tags"] == [{"Key": "ticket", "Value": "7"}]
    for tags in ([{"Key": "aws:x", "Value": ""}], [{"Key": f"k{i}", "Value": ""} for i in range(51)]):
        with pytest.raises(ValidationException):
            office.ask(bob, node_id, Tags=tags)
