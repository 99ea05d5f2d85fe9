"""Temporary credentials of roles and of oneself, and who one is with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleetward.protocol.sigv4 import Credentials
from tests.serving import ACCOUNT, ServerProcess

ROLE = f"arn:aws:iam::{ACCOUNT}:role/ReadOnly"


def keys_of(answer: dict[str, Any]) -> Credentials:
    """The credentials of an answer."""
    given = answer["Credentials"]
    return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


def refusal(call: Any, **members: Any) -> str:
    """The error's name."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    return str(caught.value.response["Error"]["Code"])


def test_root_is_who_it_is(serving: ServerProcess) -> None:
    told = serving.client("sts").get_caller_identity()
    assert (told["Account"], told["UserId"], told["Arn"]) == (ACCOUNT, ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")


def test_an_assumed_role_acts_under_its_own_name_with_its_own_rights(serving: ServerProcess) -> None:
    answer = serving.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="reader")
    told = serving.client("sts", keys_of(answer)).get_caller_identity()
    assert told["Arn"] == answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/ReadOnly/reader"
    assert told["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]
    reader = serving.client("ssm", keys_of(answer))
    reader.list_documents(MaxResults=1)
    assert refusal(reader.create_activation, IamRole="SSMServiceRole") == "AccessDeniedException"


def test_a_session_policy_takes_rights_away_and_gives_none(serving: ServerProcess) -> None:
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}}
    narrow = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ssm:ListNodes", "Resource": "*"}}
    sts = serving.client("sts")
    wide_keys = keys_of(sts.assume_role(RoleArn=ROLE, RoleSessionName="wide", Policy=json.dumps(policy)))
    narrow_keys = keys_of(sts.assume_role(RoleArn=ROLE, RoleSessionName="narrow", Policy=json.dumps(narrow)))
    wide, small = serving.client("ssm", wide_keys), serving.client("ssm", narrow_keys)
    wide.list_documents(MaxResults=1)
    assert refusal(wide.create_activation, IamRole="SSMServiceRole") == "AccessDeniedException"
    small.list_nodes()
    assert refusal(small.list_documents) == "AccessDeniedException"
    assert refusal(sts.assume_role, RoleArn=ROLE, RoleSessionName="none", Policy="{}") == "MalformedPolicyDocument"


def test_a_session_of_root_is_root(serving: ServerProcess) -> None:
    keys = keys_of(serving.client("sts").get_session_token(DurationSeconds=900))
    told = serving.client("sts", keys).get_caller_identity()
    assert told["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    assert refusal(serving.client("sts", keys).get_session_token) == "AccessDenied"


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:iam::{ACCOUNT}:role/Nobody",
        "arn:aws:iam::210987654321:role/ReadOnly",
        f"arn:aws:iam::{ACCOUNT}:role/SSMServiceRole",
        f"arn:aws:iam::{ACCOUNT}:user/ReadOnly",
    ],
)
def test_roles_that_do_not_trust_the_caller_are_not_assumed(serving: ServerProcess, arn: str) -> None:
    assert refusal(serving.client("sts").assume_role, RoleArn=arn, RoleSessionName="nobody") == "AccessDenied"
