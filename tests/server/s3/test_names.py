"""Names: rules of buckets and keys, and which bucket a host stands for."""

from __future__ import annotations

import pytest

from fleetward.server.s3.errors import InvalidBucketName, KeyTooLongError
from fleetward.server.s3.names import bucket_of_host, check_bucket_name, is_bucket_name, key_bytes

NAMES = ("fleet.example.com", "localhost", "127.0.0.1")


@pytest.mark.parametrize("name", ["abc", "a" * 63, "my.bucket-1", "1and.2", "logs-2026"])
def test_names_that_buckets_have(name: str) -> None:
    assert is_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    ["ab", "a" * 64, "Upper", "under_score", "-a1", "a1-", ".a1", "a..b", "192.168.5.4", "xn--abc", "sthree-x",
     "abc-s3alias", "abc--ol-s3", "../etc", "a/b", "a b", "", "bücket", "a\0b"],
)  # fmt: skip
def test_names_that_no_bucket_has(name: str) -> None:
    assert not is_bucket_name(name)
    with pytest.raises(InvalidBucketName):
        check_bucket_name(name)


def test_a_key_has_1024_bytes_at_most() -> None:
    assert key_bytes("ü" * 512) == "ü".encode() * 512
    with pytest.raises(KeyTooLongError):
        key_bytes("ü" * 512 + "x")


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("s3.fleet.example.com", ""),
        ("s3.eu-central-1.fleet.example.com", ""),
        ("logs.s3.fleet.example.com", "logs"),
        ("my.logs.s3.fleet.example.com", "my.logs"),
        ("logs.s3.eu-central-1.fleet.example.com", "logs"),
        ("logs.fleet.example.com", "logs"),
        ("logs.localhost", "logs"),
        ("fleet.example.com", None),
        ("localhost", None),
        ("127.0.0.1", None),
        ("logs.127.0.0.1", None),
        ("no_bucket.fleet.example.com", None),
        ("elsewhere.example.com", None),
    ],
)
def test_the_host_decides_on_the_bucket(host: str, bucket: str | None) -> None:
    assert bucket_of_host(host, NAMES, ["us-east-1", "eu-central-1"]) == bucket
