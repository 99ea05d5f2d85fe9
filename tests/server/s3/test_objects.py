"""Versions of objects: which is current, what replaces it, and what comes back when it goes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.storage import refused


def keep_versions(s3: Any, bucket: str, status: str = "Enabled") -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def put(s3: Any, bucket: str, body: str, key: str = "k") -> str:
    return str(s3.put_object(Bucket=bucket, Key=key, Body=body.encode()).get("VersionId", ""))


def read(s3: Any, bucket: str, key: str = "k", **more: str) -> str:
    return str(s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read().decode())


def versions(s3: Any, bucket: str) -> list[tuple[str, bool, bool]]:
    """Version id, whether it is the latest, whether it is a marker: the newest first."""
    found = s3.list_object_versions(Bucket=bucket)
    rows = [(v, False) for v in found.get("Versions", [])] + [(m, True) for m in found.get("DeleteMarkers", [])]
    rows.sort(key=lambda row: row[0]["LastModified"], reverse=True)
    return [(row["VersionId"], row["IsLatest"], marker) for row, marker in rows]


def test_without_versions_the_newest_bytes_replace_the_old(s3: Any, bucket: str) -> None:
    assert put(s3, bucket, "one") == put(s3, bucket, "two") == ""
    assert read(s3, bucket) == "two"
    assert versions(s3, bucket) == [("null", True, False)]


def test_versions_are_kept_and_read_by_their_id(s3: Any, bucket: str) -> None:
    keep_versions(s3, bucket)
    first, second = put(s3, bucket, "one"), put(s3, bucket, "two")
    assert read(s3, bucket) == "two"
    assert read(s3, bucket, VersionId=first) == "one"
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == second
    assert {(v, latest) for v, latest, _ in versions(s3, bucket)} == {(first, False), (second, True)}


def test_a_delete_marker_hides_and_its_removal_brings_back(s3: Any, bucket: str) -> None:
    keep_versions(s3, bucket)
    first = put(s3, bucket, "one")
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] is True
    gone = refused("NoSuchKey", s3.get_object, 404, Bucket=bucket, Key="k")
    assert gone["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    refused("MethodNotAllowed", s3.get_object, 405, Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert read(s3, bucket, VersionId=first) == "one"
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert read(s3, bucket) == "one"


def test_the_latest_taken_away_makes_the_one_before_it_current(s3: Any, bucket: str) -> None:
    keep_versions(s3, bucket)
    first, second, third = (put(s3, bucket, text) for text in ("one", "two", "three"))
    s3.delete_object(Bucket=bucket, Key="k", VersionId=third)
    assert read(s3, bucket) == "two"
    s3.delete_object(Bucket=bucket, Key="k", VersionId=first)
    assert [(v, latest) for v, latest, _ in versions(s3, bucket)] == [(second, True)]


def test_a_suspended_bucket_writes_over_the_null_version_alone(s3: Any, bucket: str) -> None:
    put(s3, bucket, "before")
    keep_versions(s3, bucket)
    kept = put(s3, bucket, "kept")
    keep_versions(s3, bucket, "Suspended")
    put(s3, bucket, "null one")
    put(s3, bucket, "null two")
    assert read(s3, bucket) == "null two"
    assert read(s3, bucket, VersionId=kept) == "kept"
    assert read(s3, bucket, VersionId="null") == "null two"
    assert len(versions(s3, bucket)) == 2
    assert s3.delete_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    assert {(v, latest, marker) for v, latest, marker in versions(s3, bucket)} == {
        (kept, False, False), ("null", True, True),
    }  # fmt: skip


def test_a_version_that_never_was_is_told_so(s3: Any, bucket: str) -> None:
    keep_versions(s3, bucket)
    put(s3, bucket, "one")
    refused("NoSuchVersion", s3.get_object, 404, Bucket=bucket, Key="k", VersionId="0" * 32)
    refused("InvalidArgument", s3.get_object, 400, Bucket=bucket, Key="k", VersionId="ü")


@pytest.mark.parametrize("versioned", [False, True])
def test_of_many_writers_one_is_current(s3: Any, bucket: str, versioned: bool) -> None:
    from concurrent.futures import ThreadPoolExecutor

    if versioned:
        keep_versions(s3, bucket)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: put(s3, bucket, f"body {number}"), range(24)))
    assert read(s3, bucket).startswith("body ")
    shown = versions(s3, bucket)
    assert len(shown) == (24 if versioned else 1)
    assert sum(latest for _, latest, _ in shown) == 1
