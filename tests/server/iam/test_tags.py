"""Tags of users, roles, policies and devices: put over each other, taken away, seen by conditions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.identities import ROOT_TRUST, allow, document, fresh, new_user, refusal, refused
from tests.one_time_codes import new_device
from tests.serving import ACCOUNT, ServerProcess, eventually

KINDS = ("user", "role", "policy", "device")


def operations(iam: Any, kind: str) -> tuple[dict[str, str], Any, Any, Any]:
    """A new thing of a kind as the member that names it, and how it is tagged, untagged and its tags are listed."""
    name = fresh(kind)
    if kind == "user":
        iam.create_user(UserName=name)
        return {"UserName": name}, iam.tag_user, iam.untag_user, iam.list_user_tags
    if kind == "role":
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=ROOT_TRUST)
        return {"RoleName": name}, iam.tag_role, iam.untag_role, iam.list_role_tags
    if kind == "policy":
        text = document(allow("ssm:ListNodes"))
        arn = iam.create_policy(PolicyName=name, PolicyDocument=text)["Policy"]["Arn"]
        return {"PolicyArn": arn}, iam.tag_policy, iam.untag_policy, iam.list_policy_tags
    serial, _ = new_device(iam, name)
    return {"SerialNumber": serial}, iam.tag_mfa_device, iam.untag_mfa_device, iam.list_mfa_device_tags


def tag(key: str, value: str) -> dict[str, str]:
    """One tag."""
    return {"Key": key, "Value": value}


@pytest.mark.parametrize("kind", KINDS)
def test_tags_are_put_over_each_other_whatever_their_case_and_taken_away(iam: Any, kind: str) -> None:
    one, put, remove, listing = operations(iam, kind)
    put(**one, Tags=[tag("Team", "red"), tag("b", "2")])
    put(**one, Tags=[tag("team", "blue")])
    assert listing(**one)["Tags"] == [tag("b", "2"), tag("team", "blue")]
    first = listing(**one, MaxItems=1)
    assert (first["Tags"], first["IsTruncated"]) == ([tag("b", "2")], True)
    assert listing(**one, Marker=first["Marker"])["Tags"] == [tag("team", "blue")]
    remove(**one, TagKeys=["TEAM", "unknown"])
    assert listing(**one)["Tags"] == [tag("b", "2")]


@pytest.mark.parametrize("kind", KINDS)
def test_tags_beyond_fifty_doubled_or_reserved_are_refused(iam: Any, kind: str) -> None:
    one, put, _, _ = operations(iam, kind)
    assert refusal(put, **one, Tags=[tag("a", "1"), tag("A", "2")]) == "InvalidInput"
    assert refusal(put, **one, Tags=[tag("aws:a", "1")]) == "InvalidInput"
    put(**one, Tags=[tag(f"k{number}", "") for number in range(50)])
    assert refused(put, **one, Tags=[tag("one more", "")])[:2] == ("LimitExceeded", 409)


def test_conditions_see_tags_of_the_caller_the_request_and_the_user(serving: ServerProcess, iam: Any) -> None:
    users = f"arn:aws:iam::{ACCOUNT}:user/*"
    own_team = {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}
    asked = {"StringEquals": {"aws:RequestTag/team": "red"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}
    _, keys = new_user(
        serving,
        allow("iam:GetUser", on=users, Condition=own_team),
        allow("iam:CreateUser", on=users, Condition=asked),
        Tags=[tag("team", "red")],
    )
    delegate, red, blue = serving.client("iam", keys), fresh("red"), fresh("blue")
    assert refusal(delegate.create_user, UserName=blue, Tags=[tag("team", "blue")]) == "AccessDenied"
    assert refusal(delegate.create_user, UserName=red, Tags=[tag("team", "red"), tag("x", "")]) == "AccessDenied"
    delegate.create_user(UserName=red, Tags=[tag("team", "red")])
    iam.create_user(UserName=blue, Tags=[tag("team", "blue")])
    assert delegate.get_user(UserName=red)["User"]["UserName"] == red
    assert refusal(delegate.get_user, UserName=blue) == "AccessDenied"
    iam.tag_user(UserName=blue, Tags=[tag("team", "red")])
    eventually(lambda: serving.client("iam", keys).get_user(UserName=blue), within=1.0)
