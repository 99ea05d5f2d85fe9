"""All of S3 in one journey on both databases, and on somebody else's object store."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.server.s3.conftest import Core
from tests.serving import StartServer

EVERYWHERE = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)


@EVERYWHERE
def test_versions_uploads_lists_and_collection_on_both_databases(core: Core) -> None:
    run, bucket = core.run, {"Bucket": "bucket-b"}
    run("PutBucketVersioning", **bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("a", "a/b", "ü/\0", "\U0001f600", "\uffee"):
        core.put(key, key.encode(), Tagging="t=1")
    core.put("a", b"second")
    assert core.listed() == sorted(["a", "a/b", "ü/\0", "\U0001f600", "\uffee"], key=str.encode)
    page = run("ListObjectsV2", **bucket, MaxKeys=2, Delimiter="/")
    assert (page["KeyCount"], page["IsTruncated"]) == (2, True)
    rest = run("ListObjectsV2", **bucket, Delimiter="/", ContinuationToken=page["NextContinuationToken"])
    assert rest["KeyCount"] == 3
    assert len(run("ListObjectVersions", **bucket, Prefix="a")["Versions"]) == 3
    run("DeleteObject", **bucket, Key="a")
    assert "a" not in core.listed()
    run("CopyObject", **bucket, Key="copy", CopySource="bucket-b/a%2Fb")
    upload = run("CreateMultipartUpload", **bucket, Key="m")["UploadId"]
    etags = []
    for number in (1, 2):
        stored = core.store(b"%d" % number * (5 * 1024 * 1024 if number == 1 else 3))
        run("UploadPart", **bucket, Key="m", UploadId=upload, PartNumber=number, Body=stored)
        etags.append({"PartNumber": number, "ETag": stored.md5})
    assert len(run("ListMultipartUploads", **bucket)["Uploads"]) == 1
    made = run("CompleteMultipartUpload", **bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": etags})
    found = run("GetObject", **bucket, Key="m", Range="bytes=5242878-")
    assert (found["ETag"], found["Body"].size_bytes, len(found["Body"].slices)) == (made["ETag"], 5, 2)
    run("PutBucketPolicy", **bucket, Policy=POLICY)
    run("PutObjectTagging", **bucket, Key="copy", Tagging={"TagSet": [{"Key": "x", "Value": "y"}]})
    named = run("ListObjectVersions", **bucket)
    every = [*named["Versions"], *named["DeleteMarkers"]]
    gone = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in every]
    assert len(run("DeleteObjects", **bucket, Delete={"Objects": gone})["Deleted"]) == len(every)
    run("DeleteBucket", **bucket)
    from datetime import timedelta

    for _ in range(2):
        core.world.clock.advance(timedelta(hours=2))
        core.timer("collection.collect")
        core.jobs("s3-collect")
    assert core.blobs() == []


POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject",'
    '"Resource":"arn:aws:s3:::bucket-b/none"}]}'
)


def test_objects_may_lie_in_an_s3_bucket_of_somebody_elses(
    start_server: StartServer, s3_server: str, s3_bucket: str
) -> None:
    server = start_server(objects=f"s3://test:test@{s3_bucket}/below?endpoint={s3_server}")
    s3: Any = server.client("s3")
    s3.create_bucket(Bucket="outside")
    body = os.urandom(12 * 1024 * 1024)
    s3.put_object(Bucket="outside", Key="large", Body=body)
    s3.put_object(Bucket="outside", Key="small", Body=b"hello")
    assert s3.get_object(Bucket="outside", Key="large")["Body"].read() == body
    assert s3.get_object(Bucket="outside", Key="large", Range="bytes=1000-1009")["Body"].read() == body[1000:1010]
    assert s3.get_object(Bucket="outside", Key="small")["Body"].read() == b"hello"
    assert not (server.data / "objects").exists()
