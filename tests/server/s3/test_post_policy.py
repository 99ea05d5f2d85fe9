"""POST policies as rules: what they ask for, and what no policy is."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from fleetward.server.s3 import post_policy
from fleetward.server.s3.errors import (
    AccessDenied,
    EntityTooLarge,
    EntityTooSmall,
    InvalidArgument,
    InvalidPolicyDocument,
    MalformedPOSTRequest,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def policy(*conditions: Any, expiration: str = "2030-01-02T00:00:00.000Z") -> post_policy.Policy:
    raw = json.dumps({"expiration": expiration, "conditions": list(conditions)}).encode()
    return post_policy.parse(base64.b64encode(raw).decode())


BUCKET, KEY = {"bucket": "b"}, ["starts-with", "$key", "user/"]


@pytest.mark.parametrize(
    ("conditions", "fields", "allowed"),
    [
        ([BUCKET, KEY], {"key": "user/a"}, True),
        ([BUCKET, KEY], {"key": "other/a"}, False),
        ([{"bucket": "c"}, KEY], {"key": "user/a"}, False),
        ([BUCKET, KEY], {"key": "user/a", "x-amz-meta-extra": "1"}, False),
        ([BUCKET, KEY], {"key": "user/a", "x-ignore-this": "1"}, True),
        ([BUCKET, KEY, {"acl": "private"}], {"key": "user/a", "acl": "private"}, True),
        ([BUCKET, KEY, {"acl": "private"}], {"key": "user/a"}, False),
        ([BUCKET, ["eq", "$key", "user/f.txt"]], {"key": "user/${filename}"}, True),
        (
            [BUCKET, KEY, ["starts-with", "$Content-Type", "image/"]],
            {"key": "user/a", "content-type": "image/png"},
            True,
        ),
        ([BUCKET, KEY, ["starts-with", "$Content-Type", "image/"]], {"key": "user/a", "content-type": "text/a"}, False),
    ],
)
def test_a_form_must_be_as_its_policy_wants_it(conditions: list[Any], fields: dict[str, str], allowed: bool) -> None:
    if allowed:
        assert policy(*conditions).check("b", fields, "f.txt", NOW) is None
        return
    with pytest.raises(AccessDenied):
        policy(*conditions).check("b", fields, "f.txt", NOW)


def test_a_policy_ends() -> None:
    with pytest.raises(AccessDenied, match="expired"):
        policy(BUCKET, KEY, expiration="2029-12-31T23:59:59Z").check("b", {"key": "user/a"}, "", NOW)


def test_the_size_of_the_file_is_bounded() -> None:
    limits = policy(BUCKET, KEY, ["content-length-range", 2, 4]).check("b", {"key": "user/a"}, "", NOW)
    post_policy.check_size(3, limits, ended=True)
    post_policy.check_size(1, limits, ended=False)
    with pytest.raises(EntityTooSmall):
        post_policy.check_size(1, limits, ended=True)
    with pytest.raises(EntityTooLarge):
        post_policy.check_size(5, limits, ended=False)


@pytest.mark.parametrize(
    "text", ["", "!!!", "e30=", base64.b64encode(b'{"expiration":"soon","conditions":[]}').decode(),
             base64.b64encode(b'{"expiration":"2030-01-01T00:00:00Z","conditions":[["odd","$a","b"]]}').decode(),
             base64.b64encode(b"[" * 100_000).decode()],
)  # fmt: skip
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InvalidPolicyDocument):
        post_policy.parse(text)


def test_a_form_without_a_key_or_a_signature_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        post_policy.request_of("b", {"acl": "private"}, "f")
    with pytest.raises(InvalidArgument):
        post_policy.request_of("b", {"key": "k", "content-type": "a\r\nb: c"}, "f")
    for fields in ({}, {"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": "a/b"}, {"awsaccesskeyid": "A"}):
        with pytest.raises(MalformedPOSTRequest):
            post_policy.claim_of(fields, "us-east-1")
    assert post_policy.request_of("b", {"key": "u/${filename}", "x-amz-meta-a": "1"}, "f.txt") == {
        "Bucket": "b", "Key": "u/f.txt", "Metadata": {"a": "1"},
    }  # fmt: skip
