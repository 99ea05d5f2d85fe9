"""Intake: what is said of a body, what is worked out over it, and that nothing is left of one that fails."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from fleetward.protocol.sigv4 import STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD
from fleetward.protocol.sigv4_chunks import ChunkedBodyVerifier
from fleetward.server.backends.objects_folder import FolderObjects
from fleetward.server.edge.s3.intake import Intake, expected
from fleetward.server.s3 import content
from fleetward.server.s3.errors import (
    BadDigest,
    IncompleteBody,
    InvalidDigest,
    InvalidRequest,
    XAmzContentChecksumMismatch,
    XAmzContentSHA256Mismatch,
)

BODY = b"some bytes" * 1000
KEY = b"k" * 32


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    return FolderObjects(tmp_path)


def take(objects: FolderObjects, headers: dict[str, str], payload_hash: str = UNSIGNED_PAYLOAD, body: bytes = BODY,
         chunked: bool = False) -> Any:  # fmt: skip
    wanted = expected(headers, payload_hash)
    decoder = ChunkedBodyVerifier(None, "", payload_hash, decoded_length=wanted.size_bytes) if chunked else None
    intake = Intake(objects, content.new_blob("1", "r"), KEY, wanted, decoder)
    try:
        for at in range(0, len(body), 777):
            intake.take([body[at : at + 777]])
        return intake.finish()
    except Exception:
        intake.abandon()
        raise


def test_bytes_lie_encrypted_and_come_back(objects: FolderObjects) -> None:
    stored = take(objects, {"content-length": str(len(BODY))})
    sealed = objects.get(content.storage_key(stored.blob))
    assert b"some bytes" not in sealed
    assert content.cipher(KEY, stored.blob).update(sealed) == BODY
    assert (stored.size_bytes, stored.md5) == (len(BODY), hashlib.md5(BODY, usedforsecurity=False).hexdigest())
    assert list(stored.checksums) == ["ChecksumCRC64NVME"]


@pytest.mark.parametrize(
    ("headers", "payload_hash", "error"),
    [
        ({"content-md5": base64.b64encode(b"0" * 16).decode()}, UNSIGNED_PAYLOAD, BadDigest),
        ({"content-md5": "AAAA"}, UNSIGNED_PAYLOAD, InvalidDigest),
        ({"x-amz-checksum-sha1": base64.b64encode(b"0" * 20).decode()}, UNSIGNED_PAYLOAD, BadDigest),
        ({"x-amz-checksum-sha1": "AAAA"}, UNSIGNED_PAYLOAD, InvalidRequest),
        ({"x-amz-trailer": "x-amz-meta-a"}, UNSIGNED_PAYLOAD, InvalidRequest),
        ({"x-amz-trailer": "x-amz-checksum-crc32"}, UNSIGNED_PAYLOAD, XAmzContentChecksumMismatch),
        ({"x-amz-sdk-checksum-algorithm": "CRC7"}, UNSIGNED_PAYLOAD, InvalidRequest),
        ({}, "0" * 64, XAmzContentSHA256Mismatch),
        ({"content-length": "5"}, UNSIGNED_PAYLOAD, IncompleteBody),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    objects: FolderObjects, tmp_path: Path, headers: dict[str, str], payload_hash: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        take(objects, headers, payload_hash)
    assert list(objects.list("")) == []
    assert list((tmp_path / "#unfinished").iterdir()) == []


def test_the_signed_hash_is_compared(objects: FolderObjects) -> None:
    assert take(objects, {}, hashlib.sha256(BODY).hexdigest()).size_bytes == len(BODY)


def wrapped(trailer: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(BODY), BODY, trailer)


def test_a_trailing_checksum_is_compared(objects: FolderObjects) -> None:
    digest = base64.b64encode(hashlib.sha256(BODY).digest())
    headers = {"x-amz-decoded-content-length": str(len(BODY)), "x-amz-trailer": "x-amz-checksum-sha256"}
    good = wrapped(b"x-amz-checksum-sha256:" + digest + b"\r\n")
    stored = take(objects, headers, STREAMING_UNSIGNED_TRAILER, good, chunked=True)
    assert stored.checksums == {"ChecksumSHA256": digest.decode()}
    for body, error in (
        (good.replace(digest[:3], b"AAA"), BadDigest),
        (wrapped(b""), XAmzContentChecksumMismatch),
        (good[:-2], IncompleteBody),
        (b"zz" + good, InvalidRequest),
    ):
        with pytest.raises(error):
            take(objects, headers, STREAMING_UNSIGNED_TRAILER, body, chunked=True)
