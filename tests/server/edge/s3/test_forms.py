"""Forms: read however they are cut, posted with a policy, refused when they are not what it says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import boto3
import pytest
from botocore.config import Config

from fleetward.server.edge.s3.forms import Form
from fleetward.server.s3.errors import (
    IncorrectNumberOfFilesInPostRequest,
    MalformedPOSTRequest,
    MaxMessageLengthExceeded,
    S3Error,
)
from tests.serving import REGION, Answer, ServerProcess
from tests.storage import unsigned

BOUNDARY = "--boundary-0123"


def form_of(fields: Mapping[str, str], file: bytes, name: str = "a.txt") -> bytes:
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return "".join(parts).encode() + head.encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


def read(body: bytes, step: int) -> tuple[dict[str, str], str, bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), step):
            yield body[at : at + step]

    async def work() -> tuple[dict[str, str], str, bytes]:
        form = Form(f'multipart/form-data; boundary="{BOUNDARY}"', chunks())
        fields = await form.fields()
        return fields, form.file_name, b"".join([piece async for piece in form.file()])

    return asyncio.run(work())


@pytest.mark.parametrize("step", [1, 7, 100, 10_000])
def test_a_form_is_read_however_it_is_cut(step: int) -> None:
    file = b"bytes\r\n--boundar\r\nand more\r\n"
    body = form_of({"Key": "u/${filename}", "x-amz-meta-ü": "ä"}, file, "C:\\dir\\ä.txt")
    assert read(body, step) == ({"key": "u/${filename}", "x-amz-meta-ü": "ä"}, "ä.txt", file)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MalformedPOSTRequest),
        (b"no boundary at all", MalformedPOSTRequest),
        (form_of({"key": "k"}, b"x")[:-30], MalformedPOSTRequest),
        (form_of({}, b"x").replace(b' name="file";', b""), MalformedPOSTRequest),
        (f"--{BOUNDARY}--\r\n\r\n\r\n".encode(), IncorrectNumberOfFilesInPostRequest),
        (form_of({"key": "k" * 200_000}, b"x"), MaxMessageLengthExceeded),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, error: type[S3Error]) -> None:
    with pytest.raises(error):
        read(body, 1000)


@pytest.fixture(params=["s3v4", "s3"])
def poster(request: pytest.FixtureRequest, serving: ServerProcess) -> Any:
    return boto3.client(
        "s3", endpoint_url=serving.url, region_name=REGION, aws_access_key_id=serving.root.access_key_id,
        aws_secret_access_key=serving.root.secret_access_key, config=Config(signature_version=request.param),
    )  # fmt: skip


def post(serving: ServerProcess, bucket: str, fields: Mapping[str, str], file: bytes = b"hello") -> Answer:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return unsigned(serving, "POST", f"/{bucket}", form_of(fields, file), Content_Type=kind)


def test_a_form_uploads_as_its_policy_allows(serving: ServerProcess, s3: Any, bucket: str, poster: Any) -> None:
    conditions = [["starts-with", "$key", "in/"], ["content-length-range", 1, 3_000_000], {"x-amz-meta-a": "1"}]
    made = poster.generate_presigned_post(
        bucket, "in/${filename}", Fields={"x-amz-meta-a": "1"}, Conditions=conditions, ExpiresIn=60
    )["fields"]
    answer = post(serving, bucket, made)
    assert answer.status == 204, answer.body
    found = s3.get_object(Bucket=bucket, Key="in/a.txt")
    assert (found["Body"].read(), found["Metadata"]) == (b"hello", {"a": "1"})
    large = b"\x00\r\n" * 900_000
    assert post(serving, bucket, made, large).status == 204
    assert s3.get_object(Bucket=bucket, Key="in/a.txt")["Body"].read() == large
    assert post(serving, bucket, made, b"x" * 3_000_001).code == "EntityTooLarge"
    assert post(serving, bucket, {**made, "key": "out/k"}).code == "AccessDenied"
    assert post(serving, bucket, {**made, "x-amz-meta-b": "1"}).code == "AccessDenied"
    signature = "x-amz-signature" if "x-amz-signature" in made else "signature"
    assert post(serving, bucket, {**made, signature: "0" * 64}).code == "SignatureDoesNotMatch"
    assert post(serving, bucket, {**made, "policy": made["policy"][:-8] + "AAAAAAA="}).status == 403
    assert s3.get_object(Bucket=bucket, Key="in/a.txt")["Body"].read() == large


def test_a_form_says_how_it_is_answered(serving: ServerProcess, bucket: str, poster: Any) -> None:
    for fields, status in (
        ({"success_action_status": "201"}, 201),
        ({"success_action_status": "200"}, 200),
        ({"success_action_redirect": "https://example.com/done"}, 303),
    ):
        conditions = [{name: value} for name, value in fields.items()]
        made = poster.generate_presigned_post(bucket, "k", Fields=dict(fields), Conditions=conditions)["fields"]
        answer = post(serving, bucket, made)
        assert answer.status == status
        if status == 201:
            assert b"<PostResponse><Location>" in answer.body
        if status == 303:
            assert answer.headers["location"].startswith("https://example.com/done?bucket=")


def test_a_form_of_strangers_is_refused(serving: ServerProcess, bucket: str) -> None:
    assert post(serving, bucket, {"key": "k"}).code == "AccessDenied"
    assert post(serving, bucket, {"key": "k", "policy": "e30="}).status == 400


def test_links_of_old_are_good_until_they_expire(serving: ServerProcess, bucket: str) -> None:
    client = boto3.client(
        "s3", endpoint_url=serving.url, region_name=REGION, aws_access_key_id=serving.root.access_key_id,
        aws_secret_access_key=serving.root.secret_access_key, config=Config(signature_version="s3"),
    )  # fmt: skip

    def link(operation: str, **more: Any) -> str:
        url = client.generate_presigned_url(operation, {"Bucket": bucket, "Key": "k ü", **more}, ExpiresIn=60)
        return str(url.removeprefix(serving.url))

    assert unsigned(serving, "PUT", link("put_object"), b"hello").status == 200
    answer = unsigned(serving, "GET", link("get_object", ResponseContentType="text/plain"))
    assert (answer.body, answer.headers["content-type"]) == (b"hello", "text/plain")
    assert unsigned(serving, "DELETE", link("get_object")).code == "SignatureDoesNotMatch"
    late = unsigned(serving, "GET", re.sub(r"Expires=\d+", "Expires=1", link("get_object")))
    assert (late.status, late.code) == (403, "AccessDenied")
