"""Buckets over the wire: create, head, list, delete, location, versioning."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving import REGION, ServerProcess, StartServer
from tests.storage import allow, limited, new_bucket, refused, unsigned


def test_a_created_bucket_is_there_until_it_is_deleted(s3: Any) -> None:
    name = new_bucket(s3)
    assert s3.head_bucket(Bucket=name)["BucketRegion"] == REGION
    assert name in [each["Name"] for each in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.delete_bucket(Bucket=name)
    refused("404", s3.head_bucket, 404, Bucket=name)
    refused("NoSuchBucket", s3.list_objects_v2, 404, Bucket=name)


def test_creating_a_bucket_again_changes_nothing_and_is_an_error_outside_us_east_1(
    start_server: StartServer, s3: Any, bucket: str
) -> None:
    assert s3.create_bucket(Bucket=bucket)["Location"] == f"/{bucket}"
    elsewhere = start_server(region="eu-west-1").client("s3", region_name="eu-west-1")
    where = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    elsewhere.create_bucket(Bucket="bucket-once", **where)
    refused("BucketAlreadyOwnedByYou", elsewhere.create_bucket, 409, Bucket="bucket-once", **where)


def test_a_name_that_breaks_the_rules_is_refused(serving: ServerProcess) -> None:
    for name in ("ab", "Upper-Case", "a..b", "192.168.5.4", "xn--abc", "%00abc", "..%2f..%2fetc"):
        answer = serving.send("PUT", f"/{name}", b"", {}, serving.root, service="s3")
        assert (answer.status, answer.code) == (400, "InvalidBucketName"), (name, answer.body)


def test_a_bucket_that_holds_something_is_not_deleted(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused("BucketNotEmpty", s3.delete_bucket, 409, Bucket=bucket)


def test_buckets_are_listed_in_pages_and_by_prefix(s3: Any) -> None:
    names = sorted(new_bucket(s3) for _ in range(4))
    pages = list(s3.get_paginator("list_buckets").paginate(Prefix="bucket-", PaginationConfig={"PageSize": 2}))
    assert len(pages) > 1
    listed = [each["Name"] for page in pages for each in page["Buckets"]]
    assert set(names) <= set(listed)
    assert listed == sorted(set(listed))
    assert s3.list_buckets(Prefix="no-such-prefix")["Buckets"] == []
    for name in names:
        s3.delete_bucket(Bucket=name)


def test_versioning_is_told_as_it_was_put(s3: Any, bucket: str) -> None:
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for status in ("Enabled", "Suspended"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status
    refused("MalformedXML", s3.put_bucket_versioning, 400, Bucket=bucket, VersioningConfiguration={"Status": "Maybe"})


def test_a_location_elsewhere_is_refused(s3: Any) -> None:
    refused(
        "IllegalLocationConstraintException", s3.create_bucket, 400, Bucket="elsewhere-bucket",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )  # fmt: skip


def test_grants_to_others_are_not_taken(s3: Any) -> None:
    refused("InvalidArgument", s3.create_bucket, 400, Bucket="granting-bucket", ACL="public-read")


def test_strangers_and_those_without_permission_see_no_buckets(serving: ServerProcess, bucket: str) -> None:
    assert unsigned(serving, "GET", f"/{bucket}").code == "AccessDenied"
    s3 = serving.client("s3", limited(serving, allow("s3:GetObject", "*")))
    refused("AccessDenied", s3.list_buckets, 403)
    refused("403", s3.head_bucket, 403, Bucket=bucket)
    refused("AccessDenied", s3.create_bucket, 403, Bucket="forbidden-bucket")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_method_that_does_not_go_with_buckets_is_refused(serving: ServerProcess, bucket: str, method: str) -> None:
    answer = serving.send(method, f"/{bucket}", b"", {}, serving.root, service="s3")
    assert (answer.status, answer.code) == (405, "MethodNotAllowed")
