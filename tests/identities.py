"""Users and roles of tests' own: what a caller with certain policies may do, asked of a real server."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fleetward.protocol.sigv4 import Credentials
from tests.serving import ACCOUNT, ServerProcess

_numbers = itertools.count(1)


def fresh(word: str = "Test") -> str:
    """A name nobody has."""
    return f"{word}-{os.getpid()}-{next(_numbers)}"


def document(*statements: Mapping[str, Any]) -> str:
    """A policy of these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(*actions: str, on: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    """A statement that allows actions."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": on, **more}


def deny(*actions: str, on: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    """A statement that denies actions."""
    return {"Effect": "Deny", "Action": list(actions), "Resource": on, **more}


def trust(principal: Mapping[str, Any] | str, *actions: str, **more: Any) -> str:
    """A trust policy; actions default to sts:AssumeRole."""
    statement = {"Effect": "Allow", "Principal": principal, "Action": list(actions) or "sts:AssumeRole", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


ROOT_TRUST = trust({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})


def keys_of(answer: Mapping[str, Any]) -> Credentials:
    """The credentials of an answer of STS."""
    given = answer["Credentials"]
    return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


def new_user(server: ServerProcess, *statements: Mapping[str, Any], **members: Any) -> tuple[str, Credentials]:
    """A user with an access key and, where statements are given, one inline policy of them; name and key."""
    client, name = server.client("iam"), fresh("user")
    client.create_user(UserName=name, **members)
    if statements:
        client.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
    made = client.create_access_key(UserName=name)["AccessKey"]
    return name, Credentials(made["AccessKeyId"], made["SecretAccessKey"])


def new_role(server: ServerProcess, trusted: str, *statements: Mapping[str, Any], **members: Any) -> str:
    """A role with a trust policy and, where statements are given, one inline policy of them; its ARN."""
    client, name = server.client("iam"), fresh("role")
    made = client.create_role(RoleName=name, AssumeRolePolicyDocument=trusted, **members)["Role"]
    if statements:
        client.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(*statements))
    return str(made["Arn"])


def refusal(call: Any, **members: Any) -> str:
    """The error's code."""
    return refused(call, **members)[0]


def refused(call: Any, **members: Any) -> tuple[str, int, str]:
    """The error's code, HTTP status and message."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    error = caught.value.response
    return str(error["Error"]["Code"]), int(error["ResponseMetadata"]["HTTPStatusCode"]), str(error["Error"]["Message"])
