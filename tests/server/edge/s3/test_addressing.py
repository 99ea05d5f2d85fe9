"""Which requests are S3's, by host, signature or plain path."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.edge.pipeline import Exchange
from fleetward.server.edge.s3.addressing import Addressing

SIGNED = "AWS4-HMAC-SHA256 Credential=AKIA/20300101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
OF_SSM = SIGNED.replace("/s3/", "/ssm/")


def path_of(host: str, path: str, method: str = "GET", query: str = "", **headers: str) -> str | None:
    named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    nothing: Any = None
    exchange = Exchange(method, path, query, named, "127.0.0.1", True, "id", nothing, nothing)
    return Addressing(["fleet.example.com", "127.0.0.1"], lambda: ["us-east-1"]).path(exchange)


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("s3.fleet.example.com", "/bucket/key", "/bucket/key"),
        ("S3.Fleet.Example.Com:8443", "/", "/"),
        ("bucket.s3.fleet.example.com", "/", "/bucket"),
        ("bucket.s3.us-east-1.fleet.example.com:443", "/a/b%20c", "/bucket/a/b%20c"),
        ("bucket.s3.fleet.example.com", "//key", "/bucket//key"),
        ("bucket.fleet.example.com", "/key", "/bucket/key"),
        ("ssm.fleet.example.com", "/", None),
        ("ssm.us-east-1.fleet.example.com", "/", None),
        ("ssmmessages.us-east-1.fleet.example.com", "/v1/control-channel/x", None),
        ("fleet.example.com", "/bucket/key", "/bucket/key"),
        ("127.0.0.1:8443", "/bucket", "/bucket"),
        ("127.0.0.1", "/v1/control-channel/x", None),
        ("127.0.0.1", "/", None),
        ("127.0.0.1", "/UPPER/x", None),
    ],
)
def test_the_host_or_the_path_decides(host: str, path: str, expected: str | None) -> None:
    assert path_of(host, path) == expected


def test_a_signature_for_s3_decides_and_one_for_another_service_does_too() -> None:
    assert path_of("127.0.0.1", "/", authorization=SIGNED) == "/"
    assert path_of("127.0.0.1", "/bucket/key", "PUT", authorization=OF_SSM) is None
    presigned = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20300101%2Fus-east-1%2Fs3%2Faws4_request"
    assert path_of("127.0.0.1", "/bucket/key", query=presigned) == "/bucket/key"
    assert path_of("127.0.0.1", "/bucket/key", query=presigned.replace("s3", "sts")) is None
    assert path_of("127.0.0.1", "/bucket/key", query="AWSAccessKeyId=A&Signature=b&Expires=1") == "/bucket/key"


def test_a_host_that_could_be_a_buckets_does_not_take_other_services_calls() -> None:
    host = "elsewhere.fleet.example.com"
    assert path_of(host, "/", "POST", x_amz_target="AmazonSSM.RegisterManagedInstance") is None
    assert path_of(host, "/", "POST", authorization=OF_SSM) is None
    assert path_of(host, "/key", "PUT", authorization=SIGNED) == "/elsewhere/key"


def test_calls_of_other_protocols_are_theirs() -> None:
    assert path_of("127.0.0.1", "/bucket", "POST", x_amz_target="AmazonSSM.GetParameter") is None
    assert path_of("127.0.0.1", "/bucket", "POST", content_type="application/x-www-form-urlencoded") is None
    assert path_of("127.0.0.1", "/bucket", "POST", content_type="multipart/form-data; boundary=x") == "/bucket"
