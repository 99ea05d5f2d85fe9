"""Writing over the wire: checksums, conditions, metadata, copies."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.storage import new_bucket, refused


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def test_the_tag_is_the_md5_of_the_bytes(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    assert put["ETag"] == '"5d41402abc4b2a76b9719d911017c592"'
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_a_checksum_is_worked_out_kept_and_told(s3: Any, bucket: str, algorithm: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    member = f"Checksum{algorithm}"
    assert put[member]
    assert put["ChecksumType"] == "FULL_OBJECT"
    found = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert found[member] == put[member]
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == b"hello"
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ChecksumAlgorithm"] == [algorithm]


def test_wrong_checksums_are_refused_and_leave_nothing(s3: Any, bucket: str) -> None:
    refused("BadDigest", s3.put_object, 400, Bucket=bucket, Key="k", Body=b"hello", ContentMD5=md5(b"other"))
    refused("InvalidDigest", s3.put_object, 400, Bucket=bucket, Key="k", Body=b"hello", ContentMD5="short")
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    refused("BadDigest", s3.put_object, 400, Bucket=bucket, Key="k", Body=b"hello", ChecksumSHA256=wrong)
    refused("InvalidRequest", s3.put_object, 400, Bucket=bucket, Key="k", Body=b"hello", ChecksumCRC32="x")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ContentMD5=md5(b"hello"))
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_writing_only_what_is_not_there_or_unchanged(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", s3.put_object, 412, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, 412, Bucket=bucket, Key="k", Body=b"2", IfMatch='"x"')
    refused("NoSuchKey", s3.put_object, 404, Bucket=bucket, Key="none", Body=b"2", IfMatch=etag)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


def test_of_many_that_create_one_succeeds(s3: Any, bucket: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def create(number: int) -> str:
        try:
            s3.put_object(Bucket=bucket, Key="once", Body=str(number).encode(), IfNoneMatch="*")
        except s3.exceptions.ClientError as fault:
            return str(fault.response["Error"]["Code"])
        return "created"

    with ThreadPoolExecutor(6) as pool:
        outcomes = sorted(pool.map(create, range(12)))
    assert outcomes == ["PreconditionFailed"] * 11 + ["created"]


def test_what_this_server_does_not_do_is_refused(s3: Any, bucket: str) -> None:
    put = {"Bucket": bucket, "Key": "k", "Body": b"x"}
    refused("NotImplemented", s3.put_object, 501, **put, ServerSideEncryption="aws:kms")
    refused("NotImplemented", s3.put_object, 501, **put, ObjectLockMode="GOVERNANCE")
    refused("InvalidStorageClass", s3.put_object, 400, **put, StorageClass="GLACIER")
    refused("InvalidArgument", s3.put_object, 400, **put, ACL="public-read")
    refused("MetadataTooLarge", s3.put_object, 400, **put, Metadata={"a": "x" * 3000})
    s3.put_object(**put, ServerSideEncryption="AES256", StorageClass="STANDARD_IA", ACL="private")
    assert s3.head_object(Bucket=bucket, Key="k")["StorageClass"] == "STANDARD_IA"


def test_a_copy_has_the_same_bytes_and_outlives_its_source(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a key/ü", Body=b"hello", ContentType="text/plain", Metadata={"a": "1"})
    source = {"Bucket": bucket, "Key": "a key/ü"}
    made = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    assert made["CopyObjectResult"]["ETag"] == '"5d41402abc4b2a76b9719d911017c592"'
    s3.delete_object(**source)
    found = s3.get_object(Bucket=bucket, Key="copy")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (b"hello", "text/plain", {"a": "1"})


def test_a_copy_may_replace_metadata_and_tags(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "1"}, Tagging="t=1")
    source = {"Bucket": bucket, "Key": "k"}
    s3.copy_object(
        Bucket=bucket, Key="c", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"},
        ContentType="text/css", TaggingDirective="REPLACE", Tagging="u=2",
    )  # fmt: skip
    found = s3.head_object(Bucket=bucket, Key="c")
    assert (found["Metadata"], found["ContentType"]) == ({"b": "2"}, "text/css")
    assert s3.get_object_tagging(Bucket=bucket, Key="c")["TagSet"] == [{"Key": "u", "Value": "2"}]
    s3.copy_object(Bucket=bucket, Key="d", CopySource=source)
    assert s3.get_object_tagging(Bucket=bucket, Key="d")["TagSet"] == [{"Key": "t", "Value": "1"}]


def test_a_copy_onto_itself_must_change_something(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    source = {"Bucket": bucket, "Key": "k"}
    refused("InvalidRequest", s3.copy_object, 400, Bucket=bucket, Key="k", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "1"})
    found = s3.get_object(Bucket=bucket, Key="k")
    assert (found["Metadata"], found["Body"].read()) == ({"n": "1"}, b"x")


def test_a_copy_goes_between_buckets_and_takes_a_version(s3: Any, bucket: str) -> None:
    other = new_bucket(s3)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"two")
    made = s3.copy_object(Bucket=other, Key="k", CopySource={"Bucket": bucket, "Key": "k", "VersionId": first})
    assert made["CopySourceVersionId"] == first
    assert s3.get_object(Bucket=other, Key="k")["Body"].read() == b"one"
    s3.delete_object(Bucket=other, Key="k")
    s3.delete_bucket(Bucket=other)


def test_a_copy_of_nothing_is_refused(s3: Any, bucket: str) -> None:
    refused("NoSuchKey", s3.copy_object, 404, Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "none"})
    refused("NoSuchBucket", s3.copy_object, 404, Bucket=bucket, Key="c", CopySource="no-such-bucket-x/k")
    refused("InvalidArgument", s3.copy_object, 400, Bucket=bucket, Key="c", CopySource="nokey")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused(
        "PreconditionFailed", s3.copy_object, 412, Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"},
        CopySourceIfMatch='"x"',
    )  # fmt: skip
