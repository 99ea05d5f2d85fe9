"""Who may: identity policies, bucket policies, conditions, strangers, and what those who may not are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetward.server.s3.access import is_public
from tests.serving import ACCOUNT, Node, ServerProcess
from tests.storage import allow, limited, refused, unsigned


def put_policy(s3: Any, bucket: str, *statements: dict[str, Any]) -> None:
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))


def statement(bucket: str, action: str, principal: Any, path: str = "/*", **more: Any) -> dict[str, Any]:
    resource = f"arn:aws:s3:::{bucket}{path}"
    return {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": resource, **more}


READER = {"AWS": f"arn:aws:iam::{ACCOUNT}:role/ReadOnly"}


def test_keys_reach_only_what_their_policies_name(serving: ServerProcess, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="mine/a", Body=b"x")
    s3.put_object(Bucket=bucket, Key="yours/b", Body=b"x")
    mine = serving.client(
        "s3", limited(serving, allow(["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::{bucket}/mine/*"))
    )
    assert mine.get_object(Bucket=bucket, Key="mine/a")["Body"].read() == b"x"
    mine.put_object(Bucket=bucket, Key="mine/c", Body=b"y")
    for call, key in ((mine.get_object, "yours/b"), (mine.delete_object, "mine/a")):
        fault = refused("AccessDenied", call, 403, Bucket=bucket, Key=key)
        assert f"arn:aws:s3:::{bucket}/{key}" in fault["Error"]["Message"]
    refused("AccessDenied", mine.put_object, 403, Bucket=bucket, Key="yours/d", Body=b"y")
    refused("AccessDenied", mine.list_objects_v2, 403, Bucket=bucket)


def test_a_list_may_be_bound_to_a_prefix(serving: ServerProcess, s3: Any, bucket: str) -> None:
    within = {"StringLike": {"s3:prefix": ["home/me/*"]}}
    mine = serving.client("s3", limited(serving, allow("s3:ListBucket", f"arn:aws:s3:::{bucket}", Condition=within)))
    assert mine.list_objects_v2(Bucket=bucket, Prefix="home/me/")["KeyCount"] == 0
    refused("AccessDenied", mine.list_objects_v2, 403, Bucket=bucket, Prefix="home/you/")
    refused("AccessDenied", mine.list_objects_v2, 403, Bucket=bucket)


def test_a_version_needs_a_permission_of_its_own(serving: ServerProcess, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    mine = serving.client(
        "s3", limited(serving, allow(["s3:GetObject", "s3:DeleteObject"], f"arn:aws:s3:::{bucket}/*"))
    )
    assert mine.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    refused("AccessDenied", mine.get_object, 403, Bucket=bucket, Key="k", VersionId=first)
    refused("AccessDenied", mine.delete_object, 403, Bucket=bucket, Key="k", VersionId=first)


def test_a_bucket_policy_grants_what_identity_policies_do_not(serving: ServerProcess, s3: Any, bucket: str) -> None:
    reader = serving.client("s3", serving.role("ReadOnly"))
    refused("AccessDenied", reader.put_object, 403, Bucket=bucket, Key="in/k", Body=b"x")
    put_policy(s3, bucket, statement(bucket, "s3:PutObject", READER, "/in/*"))
    reader.put_object(Bucket=bucket, Key="in/k", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="in/k")["Body"].read() == b"x"
    refused("AccessDenied", reader.put_object, 403, Bucket=bucket, Key="out/k", Body=b"x")


def test_a_denial_of_the_bucket_binds_administrators_and_root(serving: ServerProcess, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    put_policy(s3, bucket, {**statement(bucket, "s3:GetObject", "*"), "Effect": "Deny"})
    refused("AccessDenied", s3.get_object, 403, Bucket=bucket, Key="k")
    refused("AccessDenied", serving.client("s3", serving.role("Administrator")).get_object, 403, Bucket=bucket, Key="k")
    put_policy(s3, bucket, {**statement(bucket, "s3:*", "*", ""), "Effect": "Deny"})
    refused("AccessDenied", s3.list_objects_v2, 403, Bucket=bucket)
    s3.delete_bucket_policy(Bucket=bucket)  # root never locks itself out
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_strangers_get_in_by_an_unblocked_public_policy_alone(serving: ServerProcess, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="open/k", Body=b"hello", ContentType="text/html")
    s3.put_object(Bucket=bucket, Key="shut/k", Body=b"x")
    path = f"/{bucket}/open/k"
    assert unsigned(serving, "GET", path).code == "AccessDenied"
    s3.delete_public_access_block(Bucket=bucket)
    assert unsigned(serving, "GET", path).code == "AccessDenied"
    put_policy(s3, bucket, statement(bucket, "s3:GetObject", "*", "/open/*"))
    answer = unsigned(serving, "GET", path)
    assert (answer.status, answer.body) == (200, b"hello")
    assert unsigned(serving, "GET", f"/{bucket}/shut/k").code == "AccessDenied"
    assert unsigned(serving, "GET", f"/{bucket}/open/none").code == "AccessDenied"
    assert unsigned(serving, "PUT", path, b"x").code == "AccessDenied"
    assert unsigned(serving, "DELETE", path).code == "AccessDenied"
    assert unsigned(serving, "GET", f"{path}?response-content-type=text/plain").code == "InvalidRequest"
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    assert unsigned(serving, "GET", path).code == "AccessDenied"
    assert s3.get_object(Bucket=bucket, Key="open/k")["Body"].read() == b"hello"


def test_tags_that_an_object_has_decide(serving: ServerProcess, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="secret", Body=b"x", Tagging="class=secret")
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x", Tagging="class=plain")
    kept = {"StringEquals": {"s3:ExistingObjectTag/class": "secret"}}
    put_policy(s3, bucket, {**statement(bucket, "s3:GetObject", READER, Condition=kept), "Effect": "Deny"})
    reader = serving.client("s3", serving.role("ReadOnly"))
    assert reader.get_object(Bucket=bucket, Key="plain")["Body"].read() == b"x"
    refused("AccessDenied", reader.get_object, 403, Bucket=bucket, Key="secret")


def test_tags_that_a_request_brings_need_a_permission(serving: ServerProcess, s3: Any, bucket: str) -> None:
    mine = serving.client("s3", limited(serving, allow("s3:PutObject", f"arn:aws:s3:::{bucket}/*")))
    mine.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused("AccessDenied", mine.put_object, 403, Bucket=bucket, Key="k", Body=b"x", Tagging="a=1")


def test_what_is_not_there_is_hidden_from_those_who_may_not_list(serving: ServerProcess, bucket: str) -> None:
    mine = serving.client("s3", limited(serving, allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*")))
    refused("AccessDenied", mine.get_object, 403, Bucket=bucket, Key="none")
    both = limited(
        serving, allow(["s3:GetObject", "s3:ListBucket"], [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"])
    )
    refused("NoSuchKey", serving.client("s3", both).get_object, 404, Bucket=bucket, Key="none")


def test_a_copy_needs_its_source_read_and_its_place_written(serving: ServerProcess, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="from/k", Body=b"x")
    writes = serving.client("s3", limited(serving, allow("s3:PutObject", f"arn:aws:s3:::{bucket}/to/*")))
    source = {"Bucket": bucket, "Key": "from/k"}
    refused("AccessDenied", writes.copy_object, 403, Bucket=bucket, Key="to/k", CopySource=source)
    both = limited(
        serving,
        allow("s3:PutObject", f"arn:aws:s3:::{bucket}/to/*"),
        allow("s3:GetObject", f"arn:aws:s3:::{bucket}/from/*"),
    )
    client = serving.client("s3", both)
    client.copy_object(Bucket=bucket, Key="to/k", CopySource=source)
    refused("AccessDenied", client.copy_object, 403, Bucket=bucket, Key="other/k", CopySource=source)


def test_a_bucket_of_another_owner_than_expected_is_refused(s3: Any, bucket: str) -> None:
    s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=ACCOUNT)
    refused("AccessDenied", s3.list_objects_v2, 403, Bucket=bucket, ExpectedBucketOwner="210987654321")


def test_a_node_reaches_buckets_by_policy_only(serving: ServerProcess, s3: Any, bucket: str, node: Node) -> None:
    refused("AccessDenied", serving.client("s3", node.keys).put_object, 403, Bucket=bucket, Key="k", Body=b"x")


EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}


@pytest.mark.parametrize(
    ("change", "public"),
    [
        ({}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}, True),
        ({"Effect": "Deny"}, False),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}, True),
        ({"Condition": {"StringLike": {"aws:SourceVpc": "vpc-*"}}}, True),
        ({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
        ({"Condition": {"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}}, True),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, True),
    ],
)
def test_what_makes_a_policy_public(change: dict[str, Any], public: bool) -> None:
    assert is_public(json.dumps({"Version": "2012-10-17", "Statement": {**EVERYBODY, **change}})) is public
