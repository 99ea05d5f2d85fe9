"""Requests of S3 over real sockets: addresses, presigned links, chunks, odd keys, cuts and kills."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.config import Config

from fleetward.protocol import sigv4
from tests.serving import REGION, Answer, ServerProcess, StartServer, eventually
from tests.storage import refused, signed, unsigned

MIB = 1024 * 1024


def test_a_bucket_may_be_in_the_host_name(serving: ServerProcess, s3: Any, bucket: str) -> None:
    for host in (f"{bucket}.s3.localhost", f"{bucket}.s3.{REGION}.localhost:8443", f"{bucket}.localhost"):
        put = signed(serving, "PUT", "/a%20key/%C3%BC", b"hello", {"Host": host})
        assert put.status == 200, put.body
        assert signed(serving, "GET", "/a%20key/%C3%BC", headers={"Host": host}).body == b"hello"
        assert b"<Name>" in signed(serving, "GET", "/", headers={"Host": host}).body
        head = signed(serving, "HEAD", "/", headers={"Host": host})
        assert (head.status, head.headers["x-amz-bucket-region"]) == (200, REGION)
    assert s3.get_object(Bucket=bucket, Key="a key/ü")["Body"].read() == b"hello"
    assert signed(serving, "GET", f"/{bucket}", headers={"Host": "s3.localhost"}).status == 200
    assert signed(serving, "GET", "/", headers={"Host": "s3.localhost"}).status == 200


TRICKS = [
    "../../etc/passwd", "..", ".", "./x", "/leading", "//two", "a/../b", "a//b", "trailing/", "%2e%2e%2f", "a\\..\\b",
    "C:\\x", "a\nb", "a\tb", "\x01", "a\0b", "ü", "u\u0308", "日本語", "\U0001f600", " ", "?", "#", "a+b", "a b",
    "&<>\"'", "~" * 1024, "ü" * 512, "con", "a" * 255 + "/" + "b" * 700, "x@", "#unfinished",
]  # fmt: skip


def test_any_key_is_a_key_and_none_a_path(serving: ServerProcess, s3: Any, bucket: str) -> None:
    around = sorted(each.name for each in serving.folder.iterdir())
    for key in TRICKS:
        path = f"/{bucket}/{quote(key, safe='/~')}"
        assert signed(serving, "PUT", path, key.encode()).status == 200, key
    for key in TRICKS:
        path = f"/{bucket}/{quote(key, safe='/~')}"
        assert signed(serving, "GET", path).body == key.encode(), key
    listed = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(TRICKS, key=str.encode)
    stored = serving.data / "objects" / "s3"
    names = {name for _, folders, files in os.walk(stored) for name in (*folders, *files)}
    assert not any(trick in name for name in names for trick in ("etc", "passwd", "lead", ".."))
    assert sorted(each.name for each in serving.folder.iterdir()) == around
    for key in TRICKS:  # one by one: XML cannot carry all of them
        assert signed(serving, "DELETE", f"/{bucket}/{quote(key, safe='/~')}").status == 204


def test_a_key_that_is_too_long_is_refused(serving: ServerProcess, bucket: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        answer = signed(serving, method, f"/{bucket}/{'k' * 1025}")
        assert (answer.status, answer.code) == (400, "KeyTooLongError")
    assert signed(serving, "GET", f"/{bucket}/%ff%fe").status == 400


# --- presigned links by plain HTTP -----------------------------------------------------------------------------------


def presigned(serving: ServerProcess, operation: str, expires: int = 60, **request: Any) -> str:
    """Path and query of a presigned link."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=serving.url, region_name=REGION, aws_access_key_id=serving.root.access_key_id,
        aws_secret_access_key=serving.root.secret_access_key, config=Config(signature_version="s3v4"),
    )  # fmt: skip
    link = urlsplit(client.generate_presigned_url(operation, request, ExpiresIn=expires))
    return f"{link.path}?{link.query}"


def test_a_presigned_link_is_good_for_its_request_until_it_expires(
    serving: ServerProcess, s3: Any, bucket: str
) -> None:
    up = presigned(serving, "put_object", Bucket=bucket, Key="k")
    assert unsigned(serving, "PUT", up, b"hello").status == 200
    down = presigned(serving, "get_object", Bucket=bucket, Key="k", ResponseContentDisposition="attachment; filename=a")
    for _ in range(2):  # as often as one likes
        answer = unsigned(serving, "GET", down)
        assert (answer.body, answer.headers["content-disposition"]) == (b"hello", "attachment; filename=a")
    for method in ("PUT", "DELETE", "HEAD"):
        assert unsigned(serving, method, down).status == 403
    other = unsigned(serving, "GET", down.replace("/k?", "/other?"))
    assert (other.status, other.code) == (403, "SignatureDoesNotMatch")
    longer = unsigned(serving, "GET", down.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"))
    assert longer.code == "SignatureDoesNotMatch"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"


def test_an_expired_link_is_refused(serving: ServerProcess, bucket: str) -> None:
    late = datetime.fromtimestamp(time.time() - 120, UTC)
    host = f"{serving.host}:{serving.port}"
    query = sigv4.presign_query(
        serving.root, method="GET", url_path=f"/{bucket}/k", headers={"Host": host}, region=REGION, service="s3",
        now=late, expires_in=timedelta(minutes=1),
    )  # fmt: skip
    answer = unsigned(serving, "GET", f"/{bucket}/k?{query}")
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert "expired" in answer.message


# --- bodies in chunks ------------------------------------------------------------------------------------------------


def in_signed_chunks(serving: ServerProcess, path: str, chunks: list[bytes], tamper: bytes = b"") -> Answer:
    """An upload in signed chunks, as SDKs send them over plain HTTP."""
    now = datetime.now(UTC)
    total = sum(map(len, chunks))
    headers = {
        "Host": f"{serving.host}:{serving.port}", "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": str(total),
    }  # fmt: skip
    added = sigv4.sign_headers(
        serving.root, method="PUT", url_path=path, headers=headers, payload_hash=sigv4.STREAMING_SIGNED, region=REGION,
        service="s3", now=now,
    )  # fmt: skip
    stamp = added["X-Amz-Date"]
    key = sigv4.signing_key(serving.root.secret_access_key, stamp[:8], REGION, "s3")
    previous, body = added["Authorization"].rpartition("=")[2], b""
    for chunk in [*chunks, b""]:
        text = "\n".join([
            "AWS4-HMAC-SHA256-PAYLOAD", stamp, f"{stamp[:8]}/{REGION}/s3/aws4_request", previous, sigv4.EMPTY_SHA256,
            hashlib.sha256(chunk).hexdigest(),
        ])  # fmt: skip
        previous = hmac.digest(key, text.encode(), "sha256").hex()
        body += b"%x;chunk-signature=%s\r\n%s\r\n" % (len(chunk), previous.encode(), chunk)
    if tamper:
        body = body.replace(tamper, b"X" * len(tamper), 1)
    return serving.send("PUT", path, body, {**headers, **added}, None, service="s3")


def test_signed_chunks_are_verified_and_unwrapped(serving: ServerProcess, s3: Any, bucket: str) -> None:
    chunks = [b"a" * 70_000, b"b" * 70_000, b"c"]
    assert in_signed_chunks(serving, f"/{bucket}/k", chunks).status == 200
    found = s3.get_object(Bucket=bucket, Key="k")
    assert found["Body"].read() == b"".join(chunks)
    assert "ContentEncoding" not in found
    tampered = in_signed_chunks(serving, f"/{bucket}/bad", chunks, tamper=b"bbbb")
    assert tampered.code == "SignatureDoesNotMatch"
    refused("404", s3.head_object, 404, Bucket=bucket, Key="bad")


# --- bodies that are not what was said --------------------------------------------------------------------------------


def raw_put(serving: ServerProcess, path: str, body: bytes, **headers: str) -> ssl.SSLSocket:
    """The beginning of an upload on a socket of its own: its head, and so much of its body."""
    sent = {
        "Host": f"{serving.host}:{serving.port}",
        **{name.replace("_", "-"): each for name, each in headers.items()},
    }
    added = sigv4.sign_headers(
        serving.root, method="PUT", url_path=path, headers=sent, payload_hash=sigv4.UNSIGNED_PAYLOAD, region=REGION,
        service="s3", now=datetime.now(UTC),
    )  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**sent, **added}.items())
    connection = serving.tls_socket()
    connection.sendall(f"PUT {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
    return connection


def test_an_upload_without_a_length_is_refused(serving: ServerProcess, bucket: str) -> None:
    with raw_put(serving, f"/{bucket}/k", b"5\r\nhello\r\n0\r\n\r\n", Transfer_Encoding="chunked") as connection:
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 411 ")


def test_more_than_an_upload_may_have_is_refused_before_it_comes(serving: ServerProcess, bucket: str) -> None:
    with raw_put(serving, f"/{bucket}/k", b"", Content_Length=str(6 * 1024**3)) as connection:
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"EntityTooLarge" in answer


def test_an_upload_that_is_cut_leaves_nothing(serving: ServerProcess, s3: Any, bucket: str) -> None:
    unfinished = serving.data / "objects" / "#unfinished"
    connection = raw_put(serving, f"/{bucket}/cut", os.urandom(3 * MIB), Content_Length=str(10 * MIB))
    eventually(lambda: any(unfinished.iterdir()))
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    eventually(lambda: not any(unfinished.iterdir()))
    refused("404", s3.head_object, 404, Bucket=bucket, Key="cut")
    s3.put_object(Bucket=bucket, Key="cut", Body=b"whole")


def test_bytes_that_are_not_recorded_in_the_end_do_not_stay(serving: ServerProcess, s3: Any, bucket: str) -> None:
    """What was true when the upload began is not any more when it ends."""
    stored = serving.data / "objects" / "s3"

    def blobs() -> int:
        return sum(len(files) for _, _, files in os.walk(stored))

    body = os.urandom(2 * MIB)
    connection = raw_put(serving, f"/{bucket}/once", body[:MIB], Content_Length=str(len(body)), If_None_Match="*")
    eventually(lambda: any((serving.data / "objects" / "#unfinished").iterdir()))
    s3.put_object(Bucket=bucket, Key="once", Body=b"first")
    before = blobs()
    connection.sendall(body[MIB:])
    assert connection.recv(65536).startswith(b"HTTP/1.1 412 ")
    connection.close()
    assert blobs() == before
    assert s3.get_object(Bucket=bucket, Key="once")["Body"].read() == b"first"


def test_strangers_send_short_documents_only(serving: ServerProcess, bucket: str) -> None:
    answer = unsigned(serving, "PUT", f"/{bucket}?tagging=", b"x" * 300_000)
    assert (answer.status, answer.code) == (400, "MaxMessageLengthExceeded")


def test_a_reader_that_goes_away_holds_nothing(serving: ServerProcess, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="large", Body=os.urandom(20 * MIB))
    assert serving.process is not None
    folder = Path(f"/proc/{serving.process.pid}/fd")

    def open_blobs() -> int:
        return sum("/objects/s3/" in os.readlink(each) for each in folder.iterdir() if each.is_symlink())

    found = s3.get_object(Bucket=bucket, Key="large")
    assert found["Body"].read(1000)
    found["Body"].close()
    eventually(lambda: _quiet(open_blobs) == 0)
    assert s3.get_object(Bucket=bucket, Key="large", Range="bytes=-5")["ContentLength"] == 5


def _quiet(count: Any) -> int:
    try:
        return int(count())
    except OSError:  # a descriptor closed while it was looked at
        return -1


def test_a_kill_in_the_middle_of_uploads_shows_no_half_object(start_server: StartServer) -> None:
    server = start_server()
    s3 = server.client("s3")
    s3.create_bucket(Bucket="killed-bucket")
    s3.put_object(Bucket="killed-bucket", Key="whole", Body=b"before")
    upload = s3.create_multipart_upload(Bucket="killed-bucket", Key="parts")["UploadId"]
    kept = s3.upload_part(Bucket="killed-bucket", Key="parts", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    paths = ["/killed-bucket/new", "/killed-bucket/whole"]
    cut = [raw_put(server, path, os.urandom(3 * MIB), Content_Length=str(10 * MIB)) for path in paths]
    eventually(lambda: len(list((server.data / "objects" / "#unfinished").iterdir())) == 2)
    server.kill()
    for connection in cut:
        connection.close()
    server.start()
    s3 = server.client("s3")
    assert [each["Key"] for each in s3.list_objects_v2(Bucket="killed-bucket")["Contents"]] == ["whole"]
    assert s3.get_object(Bucket="killed-bucket", Key="whole")["Body"].read() == b"before"
    s3.complete_multipart_upload(
        Bucket="killed-bucket", Key="parts", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": kept}]},
    )  # fmt: skip
    assert s3.get_object(Bucket="killed-bucket", Key="parts")["Body"].read() == b"part"


@pytest.mark.parametrize(
    "body", [b"", b"<", b"<Delete>", b"<a/>", b"\xff\xfe", b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>']
)
def test_documents_that_cannot_be_read_are_refused(serving: ServerProcess, bucket: str, body: bytes) -> None:
    for path in (f"/{bucket}?delete=", f"/{bucket}?tagging=", f"/{bucket}/k?uploadId=x"):
        answer = signed(serving, "POST" if "tagging" not in path else "PUT", path, body)
        assert 400 <= answer.status < 500, (path, body, answer.body)
        assert answer.code in ("MalformedXML", "MissingRequestBodyError", "NoSuchUpload", "InvalidArgument"), (
            answer.body
        )
