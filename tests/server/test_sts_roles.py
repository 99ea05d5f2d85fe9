"""Assuming roles: trust policies with conditions, sessions with policies and tags, chains, limits of time."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleetward.protocol.sigv4 import Credentials
from tests.identities import (
    ROOT_TRUST,
    allow,
    deny,
    document,
    fresh,
    keys_of,
    new_role,
    new_user,
    refusal,
    refused,
    trust,
)
from tests.one_time_codes import codes_of, enable_device
from tests.serving import ACCOUNT, ServerProcess, eventually

TAGGING = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")


def arn_of(name: str) -> str:
    """A user's ARN."""
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"


def assume(server: ServerProcess, keys: Credentials | None, arn: str, **members: Any) -> Any:
    """AssumeRole as somebody."""
    return server.client("sts", keys).assume_role(RoleArn=arn, **{"RoleSessionName": "tester", **members})


def denied(server: ServerProcess, keys: Credentials | None, arn: str, **members: Any) -> str:
    """The code of a refused AssumeRole."""
    return refusal(lambda: assume(server, keys, arn, **members))


def test_a_user_named_by_the_trust_policy_needs_no_policy_of_its_own(serving: ServerProcess) -> None:
    name, keys = new_user(serving)
    _, other = new_user(serving)
    arn = new_role(serving, trust({"AWS": arn_of(name)}), allow("ssm:ListNodes"))
    session = keys_of(assume(serving, keys, arn))
    assert serving.call("ListNodes", {}, session).status == 200
    assert denied(serving, other, arn) == "AccessDenied"


def test_a_trusted_account_leaves_it_to_its_own_policies(serving: ServerProcess, iam: Any) -> None:
    arn = new_role(serving, ROOT_TRUST)
    name, keys = new_user(serving)
    assert denied(serving, keys, arn) == "AccessDenied"
    iam.put_user_policy(UserName=name, PolicyName="x", PolicyDocument=document(allow("sts:AssumeRole", on=arn)))

    def allowed() -> bool:
        with contextlib.suppress(ClientError):
            return bool(assume(serving, keys, arn))
        return False

    assert eventually(allowed, within=1.0)


def test_a_deny_of_ones_own_policies_wins_over_trust(serving: ServerProcess) -> None:
    name, keys = new_user(serving, deny("sts:AssumeRole"))
    arn = new_role(serving, trust({"AWS": arn_of(name)}))
    code, status, message = refused(lambda: assume(serving, keys, arn))
    assert (code, status) == ("AccessDenied", 403)
    assert "explicit deny" in message


def test_an_external_id_is_asked_for(serving: ServerProcess) -> None:
    name, keys = new_user(serving)
    secret = {"StringEquals": {"sts:ExternalId": "agreed"}}
    arn = new_role(serving, trust({"AWS": arn_of(name)}, Condition=secret))
    assert denied(serving, keys, arn) == "AccessDenied"
    assert denied(serving, keys, arn, ExternalId="guessed") == "AccessDenied"
    assert assume(serving, keys, arn, ExternalId="agreed")["Credentials"]


def test_a_second_factor_can_be_asked_for(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving)
    factor = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    arn = new_role(serving, trust({"AWS": arn_of(name)}, Condition=factor))
    serial, seed = enable_device(iam, name, fresh("device"))
    assert denied(serving, keys, arn) == "AccessDenied"
    assert denied(serving, keys, arn, SerialNumber=serial, TokenCode="000000") == "AccessDenied"
    assert assume(serving, keys, arn, SerialNumber=serial, TokenCode=codes_of(seed)[1])["Credentials"]


def test_a_new_user_of_a_trusted_name_is_another(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving)
    arn = new_role(serving, trust({"AWS": arn_of(name)}))
    assert assume(serving, keys, arn)
    iam.delete_access_key(UserName=name, AccessKeyId=keys.access_key_id)
    iam.delete_user(UserName=name)
    iam.create_user(UserName=name)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    impostor = Credentials(made["AccessKeyId"], made["SecretAccessKey"])
    assert denied(serving, impostor, arn) == "AccessDenied"


def test_a_session_lasts_as_long_as_the_role_allows(serving: ServerProcess) -> None:
    arn = new_role(serving, ROOT_TRUST, MaxSessionDuration=7200)
    made = assume(serving, None, arn, DurationSeconds=7200)["Credentials"]
    assert made["Expiration"]
    code, _, message = refused(lambda: assume(serving, None, arn, DurationSeconds=7201))
    assert code == "ValidationError"
    assert message == "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."


def test_roles_after_roles_last_an_hour(serving: ServerProcess) -> None:
    first = new_role(serving, ROOT_TRUST, allow("sts:AssumeRole"))
    second = new_role(serving, trust({"AWS": first}), allow("ssm:ListNodes"), MaxSessionDuration=7200)
    keys = keys_of(assume(serving, None, first))
    chained = keys_of(assume(serving, keys, second, DurationSeconds=3600))
    assert serving.call("ListNodes", {}, chained).status == 200
    code, _, message = refused(lambda: assume(serving, keys, second, DurationSeconds=3601))
    assert (code, "role chaining" in message) == ("ValidationError", True)


def test_session_policies_inline_and_managed_limit_together(serving: ServerProcess, iam: Any) -> None:
    arn = new_role(serving, ROOT_TRUST, allow("ssm:ListNodes", "ssm:ListDocuments", "ssm:ListCommands"))
    text = document(allow("ssm:ListDocuments", "ssm:DescribeActivations"))
    managed = iam.create_policy(PolicyName=fresh("session"), PolicyDocument=text)["Policy"]["Arn"]
    inline = document(allow("ssm:ListNodes"))
    made = assume(serving, None, arn, Policy=inline, PolicyArns=[{"arn": managed}])
    assert 0 < made["PackedPolicySize"] <= 100
    keys = keys_of(made)
    answers = {name: serving.call(name, {}, keys).status for name in ("ListNodes", "ListDocuments", "ListCommands")}
    assert answers == {"ListNodes": 200, "ListDocuments": 200, "ListCommands": 400}
    assert serving.call("DescribeActivations", {}, keys).code == "AccessDeniedException"
    assert denied(serving, None, arn, PolicyArns=[{"arn": managed + "x"}]) == "ValidationError"
    assert denied(serving, None, arn, Policy="{}") == "MalformedPolicyDocument"


def test_session_policies_and_tags_have_room_in_the_token(serving: ServerProcess) -> None:
    arn = new_role(serving, trust({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, *TAGGING))
    tags = [{"Key": f"{number:02}" + "k" * 60, "Value": "v" * 200} for number in range(50)]
    assert denied(serving, None, arn, Tags=tags) == "PackedPolicyTooLarge"
    made = assume(serving, None, arn, Tags=tags[:20])
    assert 80 < made["PackedPolicySize"] <= 100
    assert serving.client("sts", keys_of(made)).get_caller_identity()["Arn"].endswith("/tester")


def test_tags_of_a_session_stand_before_the_roles_and_go_on_when_told(serving: ServerProcess) -> None:
    red = {"StringEquals": {"aws:PrincipalTag/Team": "red"}}
    root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    blue = [{"Key": "team", "Value": "blue"}, {"Key": "stage", "Value": "one"}]
    second_statements = allow("ssm:ListNodes", Condition=red)
    first = new_role(serving, trust(root, *TAGGING), allow("sts:*"), allow("ssm:ListNodes", Condition=red), Tags=blue)
    second = new_role(serving, trust({"AWS": first}, *TAGGING), second_statements)
    plain = keys_of(assume(serving, None, first))
    assert serving.call("ListNodes", {}, plain).code == "AccessDeniedException"
    given = [{"Key": "TEAM", "Value": "red"}]
    tagged = keys_of(assume(serving, None, first, Tags=given))
    assert serving.call("ListNodes", {}, tagged).status == 200
    assert serving.call("ListNodes", {}, keys_of(assume(serving, tagged, second))).code == "AccessDeniedException"
    handing_on = keys_of(assume(serving, None, first, Tags=given, TransitiveTagKeys=["TEAM"]))
    assert serving.call("ListNodes", {}, keys_of(assume(serving, handing_on, second))).status == 200
    assert denied(serving, handing_on, second, Tags=[{"Key": "team", "Value": "blue"}]) == "ValidationError"
    assert denied(serving, None, first, Tags=given, TransitiveTagKeys=["other"]) == "ValidationError"


def test_tags_need_the_trust_policys_leave(serving: ServerProcess) -> None:
    arn = new_role(serving, ROOT_TRUST)
    code, _, message = refused(lambda: assume(serving, None, arn, Tags=[{"Key": "a", "Value": "b"}]))
    assert (code, "sts:TagSession" in message) == ("AccessDenied", True)
    assert denied(serving, None, arn, SourceIdentity="alice") == "AccessDenied"


def test_a_source_identity_stays_through_a_chain(serving: ServerProcess) -> None:
    root, alice = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, {"StringEquals": {"aws:SourceIdentity": "alice"}}
    first = new_role(serving, trust(root, *TAGGING), allow("sts:*"))
    second = new_role(serving, trust({"AWS": first}, *TAGGING), allow("ssm:ListNodes", Condition=alice))
    keys = keys_of(assume(serving, None, first, SourceIdentity="alice"))
    made = assume(serving, keys, second)
    assert made["SourceIdentity"] == "alice"
    assert serving.call("ListNodes", {}, keys_of(made)).status == 200
    assert denied(serving, keys, second, SourceIdentity="bob") == "AccessDenied"


@pytest.mark.parametrize(
    ("condition", "session", "allowed"),
    [
        ({"StringLike": {"sts:RoleSessionName": "${aws:username}"}}, "own", True),
        ({"StringLike": {"sts:RoleSessionName": "${aws:username}"}}, "other", False),
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, "other", True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, "other", False),
        ({"DateLessThan": {"aws:CurrentTime": "2000-01-01T00:00:00Z"}}, "other", False),
        ({"StringEquals": {"aws:PrincipalTag/team": "red"}}, "other", True),
    ],
)
def test_conditions_of_the_trust_policy_count(
    serving: ServerProcess, condition: dict[str, Any], session: str, allowed: bool
) -> None:
    name, keys = new_user(serving, Tags=[{"Key": "team", "Value": "red"}])
    arn = new_role(serving, trust({"AWS": arn_of(name)}, Condition=condition))
    wanted = name if session == "own" else session
    if allowed:
        assert assume(serving, keys, arn, RoleSessionName=wanted)["Credentials"]
    else:
        assert denied(serving, keys, arn, RoleSessionName=wanted) == "AccessDenied"


def test_a_path_belongs_to_the_arn(serving: ServerProcess) -> None:
    arn = new_role(serving, ROOT_TRUST, Path="/app/")
    assert assume(serving, None, arn)["AssumedRoleUser"]["Arn"].count("/") == 2
    assert denied(serving, None, arn.replace("/app/", "/")) == "AccessDenied"
