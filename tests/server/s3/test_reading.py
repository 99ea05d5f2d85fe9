"""Reading over the wire: ranges, conditions, overrides, parts, attributes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.storage import refused

BODY = bytes(range(256)) * 20


@pytest.fixture
def stored(s3: Any, bucket: str) -> str:
    s3.put_object(
        Bucket=bucket, Key="k", Body=BODY, ContentType="text/plain", CacheControl="no-cache", ContentLanguage="de",
        Metadata={"Owner": "me", "x": "1"}, Expires=datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC),
    )  # fmt: skip
    return bucket


def test_an_object_comes_back_with_what_was_said_of_it(s3: Any, stored: str) -> None:
    for found in (s3.get_object(Bucket=stored, Key="k"), s3.head_object(Bucket=stored, Key="k")):
        assert found["ContentLength"] == len(BODY)
        assert (found["ContentType"], found["CacheControl"], found["ContentLanguage"]) == (
            "text/plain",
            "no-cache",
            "de",
        )
        assert found["Metadata"] == {"owner": "me", "x": "1"}
        assert found["ExpiresString"] == "Thu, 02 Jan 2031 03:04:05 GMT"
        assert found["ServerSideEncryption"] == "AES256"
        assert abs(found["LastModified"] - datetime.now(UTC)) < timedelta(minutes=5)
    assert s3.get_object(Bucket=stored, Key="k")["Body"].read() == BODY


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5000-99999", 5000, None)],
)
def test_a_range_is_that_slice(s3: Any, stored: str, header: str, start: int, end: int | None) -> None:
    found = s3.get_object(Bucket=stored, Key="k", Range=header)
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert found["Body"].read() == BODY[start:end]
    first = start % len(BODY)
    assert found["ContentRange"] == f"bytes {first}-{first + found['ContentLength'] - 1}/{len(BODY)}"


def test_a_range_beyond_the_end_is_refused(s3: Any, stored: str) -> None:
    fault = refused("InvalidRange", s3.get_object, 416, Bucket=stored, Key="k", Range=f"bytes={len(BODY)}-")
    assert fault["Error"]["ActualObjectSize"] == str(len(BODY))


def test_conditions_are_heeded(s3: Any, stored: str) -> None:
    etag = s3.head_object(Bucket=stored, Key="k")["ETag"]
    assert s3.get_object(Bucket=stored, Key="k", IfMatch=etag)["ETag"] == etag
    refused("PreconditionFailed", s3.get_object, 412, Bucket=stored, Key="k", IfMatch='"other"')
    refused("304", s3.get_object, 304, Bucket=stored, Key="k", IfNoneMatch=etag)
    later, earlier = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)
    refused("304", s3.head_object, 304, Bucket=stored, Key="k", IfModifiedSince=later)
    refused("PreconditionFailed", s3.get_object, 412, Bucket=stored, Key="k", IfUnmodifiedSince=earlier)
    assert s3.get_object(Bucket=stored, Key="k")["Body"].read() == BODY


def test_the_answers_headers_can_be_chosen(s3: Any, stored: str) -> None:
    found = s3.get_object(
        Bucket=stored, Key="k", ResponseContentType="application/json", ResponseCacheControl="max-age=5",
        ResponseContentDisposition='attachment; filename="a.txt"',
    )  # fmt: skip
    assert (found["ContentType"], found["CacheControl"]) == ("application/json", "max-age=5")
    assert found["ContentDisposition"] == 'attachment; filename="a.txt"'


def test_attributes_are_told_as_asked(s3: Any, stored: str) -> None:
    found = s3.get_object_attributes(
        Bucket=stored, Key="k", ObjectAttributes=["ETag", "ObjectSize", "StorageClass", "Checksum"]
    )
    assert (found["ObjectSize"], found["StorageClass"]) == (len(BODY), "STANDARD")
    assert found["ETag"] == s3.head_object(Bucket=stored, Key="k")["ETag"].strip('"')
    assert found["Checksum"]["ChecksumType"] == "FULL_OBJECT"
    assert "LastModified" in found
    only = s3.get_object_attributes(Bucket=stored, Key="k", ObjectAttributes=["ObjectSize"])
    assert "ETag" not in only


def test_what_is_not_there_is_not_found(s3: Any, bucket: str) -> None:
    assert refused("NoSuchKey", s3.get_object, 404, Bucket=bucket, Key="none")["Error"]["Key"] == "none"
    refused("404", s3.head_object, 404, Bucket=bucket, Key="none")
    refused("NoSuchBucket", s3.get_object, 404, Bucket="no-such-bucket-here", Key="none")


def test_an_empty_object_is_an_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    found = s3.get_object(Bucket=bucket, Key="empty")
    assert (found["ContentLength"], found["Body"].read(), found["ETag"]) == (
        0, b"", '"d41d8cd98f00b204e9800998ecf8427e"',
    )  # fmt: skip
    refused("InvalidRange", s3.get_object, 416, Bucket=bucket, Key="empty", Range="bytes=0-0")
