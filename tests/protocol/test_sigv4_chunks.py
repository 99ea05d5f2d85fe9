"""Bodies in chunks: the S3 reference's own example, what botocore sends, and nothing tampered passes."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.sigv4 import (
    INVALID,
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    Claim,
    Credentials,
    SignatureFault,
    sign_headers,
)
from fleetward.protocol.sigv4_chunks import ChunkedBodyVerifier

S3_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SEED = Credentials("AKIAIOSFODNN7EXAMPLE", S3_SECRET)
CHUNK_SIGNATURES = {
    STREAMING_SIGNED: (
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ),
    STREAMING_SIGNED_TRAILER: (
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ),
}
TRAILER = (
    b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"
)


def seed_claim(kind: str, signature: str) -> Claim:
    at = datetime(2013, 5, 24, tzinfo=UTC)
    return Claim(
        "AKIAIOSFODNN7EXAMPLE", "20130524", "us-east-1", "s3", ("host",), signature, "20130524T000000Z", at, None, None,
        kind,
    )  # fmt: skip


def published_body(kind: str) -> bytes:
    _, first, second, last = CHUNK_SIGNATURES[kind]
    return (
        b"10000;chunk-signature=%s\r\n%s\r\n" % (first.encode(), b"a" * 65536)
        + b"400;chunk-signature=%s\r\n%s\r\n" % (second.encode(), b"a" * 1024)
        + b"0;chunk-signature=%s\r\n" % last.encode()
        + (TRAILER if kind == STREAMING_SIGNED_TRAILER else b"")
        + b"\r\n"
    )


def chunks(kind: str, **limits: Any) -> ChunkedBodyVerifier:
    signature = CHUNK_SIGNATURES[kind][0] if kind in CHUNK_SIGNATURES else ""
    return ChunkedBodyVerifier(seed_claim(kind, signature), S3_SECRET, **limits)


def test_published_seed_signature_is_ours() -> None:
    added = sign_headers(
        SEED,
        method="PUT",
        url_path="/examplebucket/chunkObject.txt",
        headers={
            "Host": "s3.amazonaws.com",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
            "Content-Encoding": "aws-chunked",
            "x-amz-decoded-content-length": "66560",
            "Content-Length": "66824",
        },
        payload_hash=STREAMING_SIGNED,
        region="us-east-1",
        service="s3",
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert added["Authorization"].endswith("Signature=" + CHUNK_SIGNATURES[STREAMING_SIGNED][0])


@pytest.mark.parametrize("kind", CHUNK_SIGNATURES)
@pytest.mark.parametrize("step", [1, 777, 65536, 10**6])
def test_published_chunks_are_verified_however_they_are_cut(kind: str, step: int) -> None:
    body, verifier = published_body(kind), chunks(kind, decoded_length=66560)
    payload = b"".join(verifier.feed(body[at : at + step]) for at in range(0, len(body), step))
    assert payload == b"a" * 66560
    expected = {"x-amz-checksum-crc32c": "sOO8/Q=="} if kind == STREAMING_SIGNED_TRAILER else {}
    assert verifier.finish() == expected


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (STREAMING_SIGNED, b"aaa\r\n400", b"aab\r\n400"),
        (STREAMING_SIGNED, b"aaa\r\n0;", b"aab\r\n0;"),
        (STREAMING_SIGNED, b"=0055", b"=0056"),
        (STREAMING_SIGNED, b"=b6c6", b"=b6c7"),
        (STREAMING_SIGNED_TRAILER, b"aaa\r\n0;", b"aab\r\n0;"),
        (STREAMING_SIGNED_TRAILER, b"=2ca2", b"=2ca3"),
        (STREAMING_SIGNED_TRAILER, b"sOO8", b"sOO9"),
        (STREAMING_SIGNED_TRAILER, b":d81f", b":d82f"),
        (STREAMING_SIGNED_TRAILER, b":d81f", b":\xe91f"),
        (STREAMING_SIGNED_TRAILER, b"x-amz-trailer-signature", b"x-amz-trailer"),
    ],
)
def test_tampered_chunk_is_refused(kind: str, old: bytes, new: bytes) -> None:
    body = published_body(kind)
    assert old in body
    with pytest.raises(SignatureFault) as caught:
        chunks(kind).feed(body.replace(old, new))
    assert caught.value.code == INVALID


def test_nothing_of_a_chunk_is_given_before_its_signature_is_right() -> None:
    verifier, body = chunks(STREAMING_SIGNED), published_body(STREAMING_SIGNED)
    assert verifier.feed(body[:65000]) == b""
    with pytest.raises(SignatureFault):
        verifier.feed(b"b" * 1000)


@settings(max_examples=30)
@given(st.binary(max_size=300), st.integers(1, 100), st.integers(1, 50))
def test_body_botocore_sends_in_chunks_is_read(payload: bytes, chunk_size: int, step: int) -> None:
    body = AwsChunkedWrapper(io.BytesIO(payload), Crc32Checksum, "x-amz-checksum-crc32", chunk_size).read()
    verifier = chunks(STREAMING_UNSIGNED_TRAILER, decoded_length=len(payload))
    assert b"".join(verifier.feed(body[at : at + step]) for at in range(0, len(body), step)) == payload
    checksum = Crc32Checksum()
    checksum.update(payload)
    assert verifier.finish() == {"x-amz-checksum-crc32": checksum.b64digest()}


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"\r\n",
        b"5;chunk-signature=" + b"0" * 64 + b"\r\n",
        b"1\r\nabc",
        b"1" * 2000,
        b"fffffff\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n:v\r\n\r\n",
        b"0\r\na:1\r\na:2\r\n\r\n",
        b"0\r\n" + b"".join(b"a%d:1\r\n" % n for n in range(17)) + b"\r\n",
        b"0\r\n\r\nmore",
        b"6\r\nabcdef\r\n0\r\n\r\n",
        b"4\r\nabcd\r\n0\r\n\r\n",
    ],
)
def test_body_not_in_this_form_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        chunks(STREAMING_UNSIGNED_TRAILER, decoded_length=5).feed(body)


def test_signed_kind_without_trailers_takes_none() -> None:
    body = published_body(STREAMING_SIGNED)
    with pytest.raises(RemoteProtocolError):
        chunks(STREAMING_SIGNED).feed(body[:-2] + b"a:1\r\n\r\n")


def test_chunk_size_is_bounded_as_set() -> None:
    with pytest.raises(RemoteProtocolError, match="65536"):
        chunks(STREAMING_SIGNED, max_chunk_bytes=65535).feed(published_body(STREAMING_SIGNED))


def test_body_that_was_cut_is_refused() -> None:
    verifier = chunks(STREAMING_SIGNED)
    verifier.feed(published_body(STREAMING_SIGNED)[:-2])
    with pytest.raises(RemoteProtocolError):
        verifier.finish()


def test_plain_payload_hash_has_no_chunks() -> None:
    with pytest.raises(LocalProtocolError):
        chunks(UNSIGNED_PAYLOAD)


@given(st.binary(max_size=200), st.sampled_from([STREAMING_SIGNED, STREAMING_UNSIGNED_TRAILER]))
def test_garbage_in_chunks_raises_nothing_but_remote_protocol_error(data: bytes, kind: str) -> None:
    for garbage in (data, b"3\r\nabc\r\n" + data, b"0\r\n" + data):
        try:
            chunks(kind).feed(garbage)
        except RemoteProtocolError:
            pass


def test_unsigned_chunks_need_no_claim_and_have_any_size() -> None:
    verifier = ChunkedBodyVerifier(None, "", STREAMING_UNSIGNED_TRAILER, max_chunk_bytes=10)
    assert verifier.feed(b"14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n") == b"x" * 20
    with pytest.raises(SignatureFault):
        ChunkedBodyVerifier(None, "", STREAMING_SIGNED)
