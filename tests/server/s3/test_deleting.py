"""Deleting over the wire: one, many, under conditions."""

from __future__ import annotations

from typing import Any

from tests.serving import ServerProcess
from tests.storage import allow, limited, refused


def test_a_deleted_object_is_gone_and_may_be_deleted_again(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for _ in range(2):
        answer = s3.delete_object(Bucket=bucket, Key="k")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")


def test_many_are_deleted_at_once_and_told(s3: Any, bucket: str) -> None:
    keys = [f"k{number}<&>ü" for number in range(20)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    named = [{"Key": key} for key in [*keys[:15], "never there"]]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": named})
    assert [each["Key"] for each in done["Deleted"]] == [each["Key"] for each in named]
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == sorted(keys[15:])
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": keys[15]}], "Quiet": True})
    assert "Deleted" not in quiet


def test_a_thousand_is_the_most_and_one_the_least(s3: Any, bucket: str) -> None:
    named = [{"Key": f"{number}"} for number in range(1001)]
    refused("MalformedXML", s3.delete_objects, 400, Bucket=bucket, Delete={"Objects": named})
    refused("MalformedXML", s3.delete_objects, 400, Bucket=bucket, Delete={"Objects": []})
    assert len(s3.delete_objects(Bucket=bucket, Delete={"Objects": named[:1000]})["Deleted"]) == 1000


def test_one_that_is_denied_does_not_keep_the_others(serving: ServerProcess, s3: Any, bucket: str) -> None:
    for key in ("mine/a", "yours/b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    keys = limited(serving, allow("s3:DeleteObject", f"arn:aws:s3:::{bucket}/mine/*"))
    done = serving.client("s3", keys).delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "mine/a"}, {"Key": "yours/b"}]}
    )
    assert [each["Key"] for each in done["Deleted"]] == ["mine/a"]
    assert [(each["Key"], each["Code"]) for each in done["Errors"]] == [("yours/b", "AccessDenied")]
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["yours/b"]


def test_a_deletion_under_a_condition(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    refused("PreconditionFailed", s3.delete_object, 412, Bucket=bucket, Key="k", IfMatch='"x"')
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    refused("NoSuchKey", s3.delete_object, 404, Bucket=bucket, Key="k", IfMatch=etag)


def test_a_delete_marker_deleted_in_bulk_brings_the_object_back(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    (marked,) = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})["Deleted"]
    assert marked["DeleteMarker"] is True
    named = {"Key": "k", "VersionId": marked["DeleteMarkerVersionId"]}
    (removed,) = s3.delete_objects(Bucket=bucket, Delete={"Objects": [named]})["Deleted"]
    assert removed["DeleteMarkerVersionId"] == marked["DeleteMarkerVersionId"]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
