"""Listing: pages, prefixes and delimiters against a model of a few lines, in all three forms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetward.server.s3.listing import after_marker, following
from tests.storage import refused

KEYS = sorted(
    ["a", "a/", "a/b", "a/b/c", "a/b/d", "a/c", "a0", "aa/x", "b", "b/c", "photos/2026/01.jpg", "photos/2026/02.jpg",
     "photos/2027/01.jpg", "ü/1", "ü/2", "z", "z z", "~", "日本/語", "&<>", "..", "../x", "/lead", "//", "a//b",
     "\U0001f600", "\uffee"],
    key=str.encode,
)  # fmt: skip


@pytest.fixture(scope="module")
def filled(serving: Any) -> str:
    s3 = serving.client("s3")
    s3.create_bucket(Bucket="listing-of-many")
    for key in KEYS:
        s3.put_object(Bucket="listing-of-many", Key=key, Body=key.encode())
    return "listing-of-many"


def model(prefix: str, delimiter: str, start: str = "") -> list[tuple[str, str]]:
    """What a list holds: ("key", …) and ("prefix", …) in order."""
    found: dict[tuple[str, str], None] = {}
    for key in KEYS:
        if not key.startswith(prefix) or key.encode() <= start.encode():
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        found[("key", key) if end < 0 else ("prefix", key[: end + len(delimiter)])] = None
    return sorted(found, key=lambda entry: entry[1].encode())


def entries(page: dict[str, Any]) -> list[tuple[str, str]]:
    keys = [("key", each["Key"]) for each in page.get("Contents", page.get("Versions", []))]
    prefixes = [("prefix", each["Prefix"]) for each in page.get("CommonPrefixes", [])]
    return sorted(keys + prefixes, key=lambda entry: entry[1].encode())


PREFIXES = ["", "a", "a/", "a/b", "photos/", "ü", "none", "/", "..", "日"]
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("form", ["list_objects_v2", "list_objects", "list_object_versions"])
@SETTINGS
@given(st.sampled_from(PREFIXES), st.sampled_from(["", "/", "/2026/", "b"]), st.integers(1, 30))
def test_pages_together_are_the_whole_list(
    s3: Any, filled: str, form: str, prefix: str, delimiter: str, size: int
) -> None:
    pages = s3.get_paginator(form).paginate(
        Bucket=filled, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
    )
    found: list[tuple[str, str]] = []
    for page in pages:
        shown = entries(page)
        assert len(shown) <= size
        found += shown
    assert found == model(prefix, delimiter)


@SETTINGS
@given(st.sampled_from(KEYS), st.sampled_from(["", "/"]))
def test_a_list_may_start_after_any_key(s3: Any, filled: str, start: str, delimiter: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, StartAfter=start, Delimiter=delimiter)
    expected = model("", delimiter, start)
    if delimiter and start.endswith(delimiter):  # the marker stands for all that it hides
        expected = [entry for entry in expected if entry != ("prefix", start)]
    assert entries(page) == expected


def test_what_is_told_of_an_object(s3: Any, filled: str) -> None:
    (entry,) = s3.list_objects_v2(Bucket=filled, Prefix="photos/2027", FetchOwner=True)["Contents"]
    assert (entry["Key"], entry["Size"], entry["StorageClass"]) == ("photos/2027/01.jpg", 18, "STANDARD")
    assert entry["Owner"]["ID"]
    assert entry["ETag"] == s3.head_object(Bucket=filled, Key=entry["Key"])["ETag"]
    (version,) = s3.list_object_versions(Bucket=filled, Prefix="photos/2027")["Versions"]
    assert (version["VersionId"], version["IsLatest"]) == ("null", True)


def test_no_keys_at_all_are_a_list_too(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"]) == (0, False)
    assert "Contents" not in s3.list_objects_v2(Bucket=filled, Prefix="none")


def test_odd_markers_are_refused(s3: Any, filled: str) -> None:
    refused("InvalidArgument", s3.list_objects_v2, 400, Bucket=filled, ContinuationToken="not one of ours")
    refused("InvalidArgument", s3.list_objects_v2, 400, Bucket=filled, MaxKeys=-1)
    refused("InvalidArgument", s3.list_object_versions, 400, Bucket=filled, VersionIdMarker="x")


def test_versions_are_paged_inside_a_key(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = [s3.put_object(Bucket=bucket, Key=key, Body=b"x")["VersionId"] for key in "aabbb" for _ in range(2)]
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3}))
    listed = [each["VersionId"] for page in pages for each in page["Versions"]]
    assert len(pages) == 4
    assert listed == made[:4][::-1] + made[4:][::-1]


@given(st.binary(min_size=1, max_size=8).filter(lambda raw: raw[-1] < 255), st.binary(max_size=8))
def test_what_follows_a_prefix_is_behind_all_it_begins(prefix: bytes, rest: bytes) -> None:
    assert prefix + rest < following(prefix)
    assert after_marker(prefix, b"", b"")[0] == prefix
