"""Condition keys: which there are for whom, and which are left out where they do not apply."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetward.server.call import Caller, Context, Resource, anonymous
from fleetward.server.iam import context as keys_of
from fleetward.server.iam import evaluate
from tests.server.conftest import ACCOUNT, REGION, World

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
SESSION, ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/x", f"arn:aws:iam::{ACCOUNT}:role/team/Reader"
USER = f"arn:aws:iam::{ACCOUNT}:user/team/ana"


def test_a_user_with_long_lived_keys_has_a_name_and_no_word_about_a_second_factor() -> None:
    assert keys_of.of_principal(kind="user", arn=USER, account=ACCOUNT, user_id="AIDA1", tags={"team": "a"}) == {
        "aws:PrincipalArn": USER,
        "aws:PrincipalAccount": ACCOUNT,
        "aws:PrincipalType": "User",
        "aws:PrincipalIsAWSService": "false",
        "aws:PrincipalTag/team": "a",
        "aws:userid": "AIDA1",
        "aws:username": "ana",
    }


def test_a_session_is_named_by_its_role_and_tells_its_age_and_that_of_the_second_factor() -> None:
    session: Any = {"kind": "role", "arn": SESSION, "account": ACCOUNT, "user_id": "AROA1:x", "role_arn": ROLE}
    plain = keys_of.of_principal(**session, issued_at=NOW, now=NOW)
    assert plain["aws:PrincipalArn"] == ROLE
    assert plain["aws:MultiFactorAuthPresent"] == "false"
    assert plain["aws:TokenIssueTime"] == "2030-01-01T12:00:00Z"
    assert not {"aws:username", "aws:MultiFactorAuthAge"} & set(plain)
    shown = keys_of.of_principal(**session, issued_at=NOW, mfa_at=NOW - timedelta(minutes=2), now=NOW)
    assert (shown["aws:MultiFactorAuthPresent"], shown["aws:MultiFactorAuthAge"]) == ("true", "120")


def test_an_empty_header_is_no_key() -> None:
    given: Any = {"now": NOW, "region": REGION, "source_ip": "10.0.0.1", "secure": False, "user_agent": "aws-cli/2"}
    assert keys_of.of_request(**given, referer="") == {
        "aws:CurrentTime": "2030-01-01T12:00:00Z",
        "aws:EpochTime": str(int(NOW.timestamp())),
        "aws:RequestedRegion": REGION,
        "aws:SecureTransport": "false",
        "aws:SourceIp": "10.0.0.1",
        "aws:UserAgent": "aws-cli/2",
        "aws:ViaAWSService": "false",
    }
    assert keys_of.of_request(**given, referer="https://x/")["aws:Referer"] == "https://x/"


def test_requested_tags_come_from_lists_and_maps_and_none_leave_tag_keys_out() -> None:
    listed = keys_of.tags_of("Tags")(None, {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]})
    assert listed == {"aws:RequestTag/a": "1", "aws:RequestTag/b": "", "aws:TagKeys": ("a", "b")}
    assert keys_of.tags_of("tags")(None, {"tags": {"a": "1"}}) == {"aws:RequestTag/a": "1", "aws:TagKeys": ("a",)}
    assert keys_of.tags_of("Tags")(None, {}) == {}
    assert keys_of.tag_keys_of("TagKeys")(None, {"TagKeys": ["a"]}) == {"aws:TagKeys": ("a",)}


def test_what_request_keys_are_asked_for_are_those_that_requests_give() -> None:
    given: Any = {"now": NOW, "region": "r", "source_ip": "i", "secure": True, "user_agent": "u", "referer": "r"}
    assert {key.lower() for key in keys_of.of_request(**given)} | {"aws:resourceaccount"} == keys_of.REQUEST_KEYS


WHERE = "arn:aws:ssm:us-east-1:123456789012:document/Setup"
ASKED: list[tuple[str, str, bool]] = [
    ("aws:SourceIp", "192.0.2.7", True),
    ("aws:SourceIp", "192.0.2.8", False),
    ("aws:SecureTransport", "true", True),
    ("aws:CurrentTime", "2030-01-01T12:00:00Z", True),
    ("aws:EpochTime", "1893499200", True),
    ("aws:RequestedRegion", REGION, True),
    ("aws:UserAgent", "aws-cli/2", True),
    ("aws:Referer", "https://console/", True),
    ("aws:ResourceAccount", ACCOUNT, True),
    ("aws:ViaAWSService", "false", True),
    ("aws:ViaAWSService", "true", False),
    ("aws:PrincipalType", "User", True),
    ("aws:PrincipalArn", USER, True),
    ("aws:PrincipalAccount", ACCOUNT, True),
    ("aws:userid", "AIDA1", True),
    ("aws:username", "ana", True),
    ("aws:ResourceTag/env", "prod", True),
    ("ssm:resourceTag/env", "prod", True),
    ("aws:RequestTag/env", "prod", False),
    ("iam:PassedToService", "ssm.amazonaws.com", False),
]


@pytest.mark.parametrize(("key", "value", "holds"), ASKED)
def test_a_decision_sees_the_keys_of_caller_request_and_resource(
    world: World, key: str, value: str, holds: bool
) -> None:
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {key: value}}}
    policy = evaluate.compile_policy({"Version": "2012-10-17", "Statement": statement})
    caller = Caller(
        kind="user",
        arn=USER,
        account=ACCOUNT,
        policies=evaluate.PolicySet((policy,)),
        context=keys_of.of_principal(kind="user", arn=USER, account=ACCOUNT, user_id="AIDA1"),
    )
    context = Context(
        account=ACCOUNT,
        region=REGION,
        caller=caller,
        source_ip="192.0.2.7",
        user_agent="aws-cli/2",
        referer="https://console/",
    )
    resource = Resource(WHERE, {"env": "prod"})
    decision = world.do(lambda call: call.decide("ssm:GetDocument", resource), context=context)
    assert decision.allowed is holds
    plain = world.do(lambda call: call.decide("ssm:GetDocument", Resource(WHERE)), context=context)
    assert plain.allowed is (holds and "esourceTag/" not in key)


def test_what_code_adds_where_it_decides_counts(world: World) -> None:
    condition = {
        "StringEquals": {"iam:PassedToService": "ssm.amazonaws.com", "aws:RequestTag/env": "prod"},
        "ForAnyValue:StringEquals": {"aws:CalledVia": "ssm.amazonaws.com"},
        "Bool": {"aws:ViaAWSService": "true"},
    }
    statement = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*", "Condition": condition}
    policy = evaluate.compile_policy({"Version": "2012-10-17", "Statement": statement})
    stranger = replace(anonymous(ACCOUNT), kind="user", policies=evaluate.PolicySet((policy,)))
    context = Context(account=ACCOUNT, region=REGION, caller=stranger)
    given = {
        **keys_of.passed_to("ssm.amazonaws.com"),
        **keys_of.via("cloudformation.amazonaws.com", "ssm.amazonaws.com"),
        **keys_of.requested_tags([{"Key": "env", "Value": "prod"}]),
    }
    for missing in (None, *given):
        keys = {key: value for key, value in given.items() if key != missing}
        decision = world.do(lambda call, keys=keys: call.decide("iam:PassRole", Resource(ROLE), keys), context=context)
        needed = {"iam:PassedToService", "aws:RequestTag/env", "aws:CalledVia", "aws:ViaAWSService"}
        assert decision.allowed is (missing not in needed)
