"""Answers: S3's codes, statuses and documents; what a browser must not do with what users stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from fleetward.protocol.sigv4 import Credentials
from fleetward.server.errors import AwsError
from fleetward.server.s3 import errors
from tests.serving import ServerProcess
from tests.storage import signed, unsigned


def test_every_error_of_s3_has_a_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.S3Error)]
    assert len(kinds) > 50
    assert all(issubclass(kind, AwsError) and 300 <= kind.status < 600 for kind in kinds)
    assert errors.NotOffered().code == "NotImplemented"


def test_an_error_names_code_resource_and_request(serving: ServerProcess, bucket: str) -> None:
    answer = signed(serving, "GET", f"/{bucket}/none")
    root = ElementTree.fromstring(answer.body)
    shown = {each.tag: each.text for each in root}
    assert (root.tag, answer.status, shown["Code"], shown["Key"]) == ("Error", 404, "NoSuchKey", "none")
    assert shown["Resource"] == f"/{bucket}/none"
    assert shown["RequestId"] == answer.headers["x-amz-request-id"]
    assert answer.headers["x-amz-id-2"]
    assert answer.headers["content-type"] == "application/xml"


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"skew": timedelta(minutes=-20)}, 403, "RequestTimeTooSkewed"),
        ({"skew": timedelta(minutes=20)}, 403, "RequestTimeTooSkewed"),
        ({"region": "eu-west-9"}, 400, "AuthorizationHeaderMalformed"),
        ({"keys": Credentials("AKIAUNKNOWNUNKNOWN00", "x")}, 403, "InvalidAccessKeyId"),
        ({"headers": {"Authorization": "AWS4-HMAC-SHA256 nonsense"}}, 400, "AuthorizationHeaderMalformed"),
    ],
)
def test_signatures_that_do_not_count(
    serving: ServerProcess, bucket: str, options: dict[str, Any], status: int, code: str
) -> None:
    if "headers" in options:
        answer = unsigned(serving, "GET", f"/{bucket}", Authorization=options["headers"]["Authorization"])
        assert answer.status == 400
        return
    answer = signed(serving, "GET", f"/{bucket}", **options)
    assert (answer.status, answer.code) == (status, code), answer.body


def test_a_wrong_secret_is_a_wrong_signature(serving: ServerProcess, bucket: str) -> None:
    wrong = Credentials(serving.root.access_key_id, "wrong")
    assert signed(serving, "GET", f"/{bucket}", keys=wrong).code == "SignatureDoesNotMatch"
    assert signed(serving, "PUT", f"/{bucket}/k", b"x", keys=wrong).code == "SignatureDoesNotMatch"
    tampered = signed(serving, "PUT", f"/{bucket}/k", b"x", sent_body=b"y")
    assert (tampered.status, tampered.code) == (400, "XAmzContentSHA256Mismatch")


def test_stored_pages_neither_run_nor_open_in_a_browser(serving: ServerProcess, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="page.html", Body=b"<script>alert(1)</script>", ContentType="text/html")
    s3.put_object(Bucket=bucket, Key="shown.png", Body=b"png", ContentDisposition="inline")
    browser = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Dest": "document"}
    shown = signed(serving, "GET", f"/{bucket}/page.html", headers=browser)
    assert shown.headers["content-disposition"] == "attachment"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["content-security-policy"].startswith("sandbox")
    assert shown.headers["content-type"] == "text/html"
    program = signed(serving, "GET", f"/{bucket}/page.html")
    assert "content-disposition" not in program.headers
    assert program.headers["x-content-type-options"] == "nosniff"
    assert signed(serving, "GET", f"/{bucket}/shown.png", headers=browser).headers["content-disposition"] == "inline"


def test_a_location_is_its_own_element(serving: ServerProcess, bucket: str) -> None:
    body = signed(serving, "GET", f"/{bucket}?location=").body
    assert b"<LocationConstraint xmlns=" in body
    assert b"us-east-1" not in body


@pytest.mark.parametrize("path", ["?website", "?analytics", "/k?torrent", "/k?retention", "?replication"])
def test_what_is_not_offered_is_said_so(serving: ServerProcess, bucket: str, path: str) -> None:
    answer = signed(serving, "GET", f"/{bucket}{path}=")
    assert (answer.status, answer.code) == (501, "NotImplemented")
