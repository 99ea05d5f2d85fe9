"""Multipart uploads over the wire: parts, order, sizes, checksums, lists, copies, the transfer manager."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from tests.storage import refused

MIB = 1024 * 1024
FIRST = os.urandom(5 * MIB)


def begin(s3: Any, bucket: str, key: str = "k", **more: Any) -> str:
    return str(s3.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"])


def part(s3: Any, bucket: str, upload: str, number: int, body: bytes, key: str = "k", **more: Any) -> dict[str, Any]:
    made = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body, **more)
    sums = {name: value for name, value in made.items() if name.startswith("Checksum")}
    return {"PartNumber": number, "ETag": made["ETag"], **sums}


def complete(s3: Any, bucket: str, upload: str, parts: list[dict[str, Any]], key: str = "k", **more: Any) -> Any:
    return s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **more
    )


def test_parts_become_one_object_when_they_are_complete(s3: Any, bucket: str) -> None:
    upload = begin(s3, bucket, ContentType="text/css", Metadata={"a": "1"}, Tagging="t=1")
    parts = [part(s3, bucket, upload, 1, FIRST), part(s3, bucket, upload, 7, b"tail")]
    refused("404", s3.head_object, 404, Bucket=bucket, Key="k")
    made = complete(s3, bucket, upload, parts)
    assert made["ETag"].endswith('-2"')
    found = s3.get_object(Bucket=bucket, Key="k")
    assert found["Body"].read() == FIRST + b"tail"
    assert (found["ContentType"], found["Metadata"], found["ETag"]) == ("text/css", {"a": "1"}, made["ETag"])
    assert s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={5 * MIB - 2}-")["Body"].read() == FIRST[-2:] + b"tail"
    second = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (second["Body"].read(), second["PartsCount"]) == (b"tail", 2)
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "t", "Value": "1"}]
    listed = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"])["ObjectParts"]
    assert [each["Size"] for each in listed["Parts"]] == [5 * MIB, 4]


def test_completing_again_tells_the_same(s3: Any, bucket: str) -> None:
    upload = begin(s3, bucket)
    parts = [part(s3, bucket, upload, 1, b"only")]
    first, second = complete(s3, bucket, upload, parts), complete(s3, bucket, upload, parts)
    assert first["ETag"] == second["ETag"]
    refused("NoSuchUpload", s3.upload_part, 404, Bucket=bucket, Key="k", UploadId=upload, PartNumber=2, Body=b"x")


def test_parts_must_be_there_in_order_and_large_enough(s3: Any, bucket: str) -> None:
    upload = begin(s3, bucket)
    small, other = part(s3, bucket, upload, 1, b"small"), part(s3, bucket, upload, 2, b"other")
    call = {"s3": s3, "bucket": bucket, "upload": upload}
    refused("EntityTooSmall", complete, 400, **call, parts=[small, other])
    refused("InvalidPartOrder", complete, 400, **call, parts=[other, small])
    refused("InvalidPart", complete, 400, **call, parts=[{**small, "ETag": '"' + "0" * 32 + '"'}])
    refused("InvalidPart", complete, 400, **call, parts=[{"PartNumber": 3, "ETag": small["ETag"]}])
    refused("MalformedXML", complete, 400, **call, parts=[])
    refused(
        "InvalidArgument", s3.upload_part, 400, Bucket=bucket, Key="k", UploadId=upload, PartNumber=10_001, Body=b""
    )
    complete(**call, parts=[other])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"other"


def test_the_last_of_equal_numbers_counts(s3: Any, bucket: str) -> None:
    upload = begin(s3, bucket)
    old = part(s3, bucket, upload, 1, b"old")
    new = part(s3, bucket, upload, 1, b"new")
    refused("InvalidPart", complete, 400, s3=s3, bucket=bucket, upload=upload, parts=[old])
    complete(s3, bucket, upload, [new])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"new"


def test_parts_are_listed_from_a_number_that_can_be(s3: Any, bucket: str) -> None:
    upload = begin(s3, bucket)
    for member in ("PartNumberMarker", "MaxParts"):
        refused("InvalidArgument", s3.list_parts, 400, Bucket=bucket, Key="k", UploadId=upload, **{member: -1})


def test_an_aborted_upload_is_gone(s3: Any, bucket: str) -> None:
    upload = begin(s3, bucket)
    one = part(s3, bucket, upload, 1, b"x")
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    refused("NoSuchUpload", s3.abort_multipart_upload, 404, Bucket=bucket, Key="k", UploadId=upload)
    refused("NoSuchUpload", s3.list_parts, 404, Bucket=bucket, Key="k", UploadId=upload)
    refused("NoSuchUpload", complete, 404, s3=s3, bucket=bucket, upload=upload, parts=[one])
    refused("NoSuchUpload", s3.list_parts, 404, Bucket=bucket, Key="other", UploadId=begin(s3, bucket))
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_uploads_and_parts_are_listed_in_pages(s3: Any, bucket: str) -> None:
    uploads = sorted((key, begin(s3, bucket, key)) for key in ("a/1", "a/2", "b", "b", "c") for _ in range(1))
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}))
    listed = [(each["Key"], each["UploadId"]) for page in pages for each in page["Uploads"]]
    assert (len(pages), listed) == (3, uploads)
    grouped = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [each["Prefix"] for each in grouped["CommonPrefixes"]] == ["a/"]
    assert [each["Key"] for each in grouped["Uploads"]] == ["b", "b", "c"]
    key, upload = uploads[0]
    for number in (3, 1, 2, 10_000):
        part(s3, bucket, upload, number, b"x" * number, key)
    found = list(
        s3.get_paginator("list_parts").paginate(
            Bucket=bucket, Key=key, UploadId=upload, PaginationConfig={"PageSize": 3}
        )
    )
    assert [(each["PartNumber"], each["Size"]) for page in found for each in page["Parts"]] == [
        (1, 1), (2, 2), (3, 3), (10_000, 10_000),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("CRC32", "COMPOSITE"), ("CRC32C", "FULL_OBJECT"), ("CRC64NVME", "FULL_OBJECT"), ("SHA256", "COMPOSITE")],
)
def test_the_checksum_of_the_whole_is_made_of_the_parts(s3: Any, bucket: str, algorithm: str, kind: str) -> None:
    upload = begin(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    parts = [
        part(s3, bucket, upload, number, body, ChecksumAlgorithm=algorithm)
        for number, body in ((1, FIRST), (2, b"tail"))
    ]
    member = f"Checksum{algorithm}"
    made = complete(s3, bucket, upload, parts)
    assert made["ChecksumType"] == kind
    assert made[member].endswith("-2") == (kind == "COMPOSITE")
    shown = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert shown[member] == made[member]
    if kind == "FULL_OBJECT":
        whole = s3.put_object(Bucket=bucket, Key="whole", Body=FIRST + b"tail", ChecksumAlgorithm=algorithm)
        assert whole[member] == made[member]


def test_checksums_that_do_not_go_together_are_refused(s3: Any, bucket: str) -> None:
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        refused(
            "InvalidRequest", s3.create_multipart_upload, 400, Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm,
            ChecksumType=kind,
        )  # fmt: skip


def test_parts_may_be_copied_from_other_objects(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=FIRST + b"rest")
    upload, source = begin(s3, bucket), {"Bucket": bucket, "Key": "source"}
    parts = []
    for number, limits in ((1, f"bytes=0-{5 * MIB - 1}"), (2, f"bytes={5 * MIB}-{5 * MIB + 3}")):
        made = s3.upload_part_copy(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, CopySource=source, CopySourceRange=limits
        )
        parts.append({"PartNumber": number, "ETag": made["CopyPartResult"]["ETag"]})
    complete(s3, bucket, upload, parts)
    s3.delete_object(**source)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == FIRST + b"rest"
    upload = begin(s3, bucket)
    refused(
        "InvalidArgument", s3.upload_part_copy, 400, Bucket=bucket, Key="k", UploadId=upload, PartNumber=1,
        CopySource={"Bucket": bucket, "Key": "k"}, CopySourceRange=f"bytes=0-{50 * MIB}",
    )  # fmt: skip


def test_completing_under_a_condition(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    upload = begin(s3, bucket)
    one = part(s3, bucket, upload, 1, b"new")
    refused("PreconditionFailed", complete, 412, s3=s3, bucket=bucket, upload=upload, parts=[one], IfNoneMatch="*")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"there"


def test_the_transfer_manager_goes_up_and_down_in_threads(s3: Any, bucket: str, tmp_path: Path) -> None:
    body = os.urandom(19 * MIB + 123)
    config = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(body), bucket, "big", Config=config)
    assert s3.head_object(Bucket=bucket, Key="big")["ETag"].endswith('-4"')
    s3.download_file(bucket, "big", str(tmp_path / "big"), Config=config)
    assert (tmp_path / "big").read_bytes() == body
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "copied", Config=config)
    with ThreadPoolExecutor(4) as pool:
        starts = range(0, len(body), 3 * MIB)
        ranges = [f"bytes={start}-{min(start + 3 * MIB, len(body)) - 1}" for start in starts]
        pieces = pool.map(lambda r: s3.get_object(Bucket=bucket, Key="copied", Range=r)["Body"].read(), ranges)
        assert b"".join(pieces) == body
