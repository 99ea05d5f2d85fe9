"""Signature Version 2 in the query: what botocore presigns is verified, what is changed is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from botocore.config import Config

from fleetward.protocol import sigv2
from fleetward.protocol.sigv4 import INCOMPLETE, INVALID, Claim, SignatureFault

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def presigned(
    operation: str = "get_object", token: str | None = None, **request: Any
) -> tuple[str, list[tuple[str, str]]]:
    client = boto3.client(
        "s3", endpoint_url="https://127.0.0.1:8443", region_name="us-east-1", aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=SECRET, aws_session_token=token, config=Config(signature_version="s3"),
    )  # fmt: skip
    url = client.generate_presigned_url(operation, {"Bucket": "bucket", "Key": "a key/ü", **request}, ExpiresIn=600)
    link = urlsplit(url)
    return link.path, parse_qsl(link.query, keep_blank_values=True)


def check(
    path: str, pairs: list[tuple[str, str]], method: str = "GET", now: datetime | None = None, **headers: str
) -> Claim:
    claim = sigv2.parse_claim(pairs, "us-east-1")
    sigv2.verify(
        claim, SECRET, method=method, resource=path, pairs=pairs, headers=headers, now=now or datetime.now(UTC)
    )
    return claim


@pytest.mark.parametrize(
    ("operation", "method", "request_"),
    [
        ("get_object", "GET", {}),
        ("get_object", "GET", {"VersionId": "abc", "ResponseContentType": "text/plain; charset=utf-8"}),
        ("put_object", "PUT", {}),
        ("delete_object", "DELETE", {}),
        ("upload_part", "PUT", {"UploadId": "u", "PartNumber": 3}),
    ],
)
def test_what_botocore_presigns_is_verified(operation: str, method: str, request_: dict[str, Any]) -> None:
    path, pairs = presigned(operation, **request_)
    assert check(path, pairs, method).access_key_id == "AKIAEXAMPLE"


def test_a_session_token_is_signed_with_the_rest() -> None:
    path, pairs = presigned(token="token")
    assert check(path, pairs).session_token == "token"
    with pytest.raises(SignatureFault):
        check(path, [(name, "other" if name == "x-amz-security-token" else value) for name, value in pairs])


def refused(*arguments: Any, **named: Any) -> SignatureFault:
    with pytest.raises(SignatureFault) as caught:
        check(*arguments, **named)
    return caught.value


def test_anything_else_is_refused() -> None:
    path, pairs = presigned(VersionId="abc")
    assert refused(path, pairs, "PUT").code == INVALID
    assert refused(path + "x", pairs).code == INVALID
    assert refused(path, [(name, "def" if name == "versionId" else value) for name, value in pairs]).code == INVALID
    assert refused(path, [*pairs, ("acl", "")]).code == INVALID
    late = datetime.now(UTC) + timedelta(minutes=11)
    assert refused(path, pairs, now=late).at_fault == "time"
    longer = [(name, str(int(value) + 60) if name == "Expires" else value) for name, value in pairs]
    assert refused(path, longer).code == INVALID


@pytest.mark.parametrize("drop", ["AWSAccessKeyId", "Signature", "Expires"])
def test_a_query_that_cannot_be_read_is_incomplete(drop: str) -> None:
    path, pairs = presigned()
    assert refused(path, [pair for pair in pairs if pair[0] != drop]).code == INCOMPLETE
    assert refused(path, [*pairs, *(pair for pair in pairs if pair[0] == drop)]).code == INCOMPLETE
    odd = [(name, "soon" if name == "Expires" else value) for name, value in pairs]
    assert refused(path, odd).code == INCOMPLETE
