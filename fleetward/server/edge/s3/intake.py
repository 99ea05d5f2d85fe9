"""Intake: one upload's bytes on worker threads: unwrapped, hashed, encrypted and written, piece by piece."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from fleetward.protocol import sigv4
from fleetward.protocol.errors import RemoteProtocolError
from fleetward.protocol.sigv4_chunks import ChunkedBodyVerifier
from fleetward.server.ports import Objects, Upload
from fleetward.server.s3 import checksums, content
from fleetward.server.s3.content import Stored
from fleetward.server.s3.errors import (
    BadDigest,
    IncompleteBody,
    InvalidDigest,
    InvalidRequest,
    SignatureDoesNotMatch,
    XAmzContentChecksumMismatch,
    XAmzContentSHA256Mismatch,
)

BESIDE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a body before it comes."""

    size_bytes: int | None
    """Of the payload, once unwrapped; None where nobody said."""
    payload_hash: str
    """X-Amz-Content-Sha256: a hash, UNSIGNED-PAYLOAD or a streaming kind."""
    md5: bytes | None
    checksums: Mapping[str, str]
    """Stated in headers, by member name."""
    trailing: str
    """Algorithm of the checksum that comes behind the body; empty for none."""
    algorithms: frozenset[str]
    """Every checksum to work out."""

    @property
    def in_chunks(self) -> bool:
        """Whether the body is wrapped in chunks."""
        return self.payload_hash in sigv4.STREAMING


def expected(headers: Mapping[str, str], payload_hash: str, also: str = checksums.DEFAULT) -> Expected:
    """Read what headers say of a body; `also` is the algorithm to use where they ask for none, or beside theirs."""
    stated = checksums.named(headers)
    trailing = ""
    for name in headers.get("x-amz-trailer", "").split(","):
        algorithm = name.strip().lower().removeprefix(checksums.HEADER).upper()
        if algorithm in checksums.MEMBERS:
            trailing = algorithm
        elif name.strip():
            raise InvalidRequest("The value specified in the x-amz-trailer header is not supported")
    asked = headers.get("x-amz-sdk-checksum-algorithm", "").upper()
    if asked and asked not in checksums.MEMBERS:
        raise InvalidRequest("The algorithm type you specified in x-amz-checksum- header is invalid.")
    wanted = {checksums.ALGORITHMS[member] for member in stated} | {trailing, asked} - {""}
    wrapped = payload_hash in sigv4.STREAMING
    length = headers.get("x-amz-decoded-content-length" if wrapped else "content-length", "")
    return Expected(
        size_bytes=int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None,
        payload_hash=payload_hash,
        md5=_md5(headers.get("content-md5")),
        checksums=stated,
        trailing=trailing,
        algorithms=frozenset(each for each in wanted | ({also} if not wanted else set()) if each),
    )


def _md5(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise InvalidDigest("The Content-MD5 you specified was invalid.", GivenDigest=text[:64])
    return digest


class Hashes:
    """Everything that is worked out over a payload, and compared at its end with what was said of it."""

    def __init__(self, wanted: Expected) -> None:
        self._wanted = wanted
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256() if len(wanted.payload_hash) == 64 else None
        self._sums = {algorithm: checksums.running(algorithm) for algorithm in sorted(wanted.algorithms)}
        self.size_bytes = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self.size_bytes += len(data)
        self._md5.update(data)
        if self._sha256 is not None:
            self._sha256.update(data)
        for each in self._sums.values():
            each.update(data)

    def check(self, trailers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """MD5 in hex and the checksums by member name; raises when anything differs from what was said."""
        wanted = self._wanted
        if wanted.size_bytes is not None and self.size_bytes != wanted.size_bytes:
            raise IncompleteBody(
                "You did not provide the number of bytes specified by the Content-Length HTTP header",
                ProposedSize=wanted.size_bytes,
            )
        if self._sha256 is not None and self._sha256.hexdigest() != wanted.payload_hash:
            raise XAmzContentSHA256Mismatch(
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
                ClientComputedContentSHA256=wanted.payload_hash,
                S3ComputedContentSHA256=self._sha256.hexdigest(),
            )
        if wanted.md5 is not None and self._md5.digest() != wanted.md5:
            raise BadDigest(
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=base64.b64encode(wanted.md5).decode(),
                CalculatedDigest=base64.b64encode(self._md5.digest()).decode(),
            )
        made = {
            checksums.MEMBERS[algorithm]: checksums.text_of(each.digest()) for algorithm, each in self._sums.items()
        }
        for member, text in self._stated(trailers).items():
            if made.get(member) != text:
                algorithm = checksums.ALGORITHMS[member]
                raise BadDigest(f"The {algorithm} you specified did not match the calculated checksum.")
        return self._md5.hexdigest(), made

    def _stated(self, trailers: Mapping[str, str]) -> dict[str, str]:
        trailing = self._wanted.trailing
        if not trailing:
            return dict(self._wanted.checksums)
        text = trailers.get(checksums.HEADER + trailing.lower())
        if text is None:
            raise XAmzContentChecksumMismatch("The trailing checksum that x-amz-trailer names did not come.")
        return {**self._wanted.checksums, checksums.MEMBERS[trailing]: checksums.checked(trailing, text)}


class Intake:
    """One upload under way. Its methods are called from one worker thread after the other, never from two at once."""

    def __init__(
        self,
        objects: Objects,
        blob: str,
        tenant_key: bytes,
        wanted: Expected,
        decoder: ChunkedBodyVerifier | None,
        beside: Executor | None = None,
    ) -> None:
        """`beside` hashes large pieces while they are encrypted and written: MD5 takes as long as both."""
        self._blob = blob
        self._hashes = Hashes(wanted)
        self._decoder = decoder
        self._cipher = content.cipher(tenant_key, blob)
        self._beside = beside
        self._plain, self._sealed = bytearray(), bytearray(content.BLOCK)
        self._upload: Upload | None = objects.upload(content.storage_key(blob))

    def take(self, chunks: Sequence[bytes]) -> None:
        """Take the next bytes of the wire."""
        if self._decoder is not None:
            chunks = [unwrapped(self._decoder, chunk) for chunk in chunks]
        size = sum(map(len, chunks))
        if size > len(self._plain):  # kept from piece to piece: memory that is new costs more than the copy
            self._plain, self._sealed = bytearray(size), bytearray(size + content.BLOCK)
        position = 0
        for chunk in chunks:
            self._plain[position : position + len(chunk)] = chunk
            position += len(chunk)
        data = memoryview(self._plain)[:size]
        hashing = self._beside.submit(self._hashes.update, data) if self._beside and size >= BESIDE else None
        if hashing is None:
            self._hashes.update(data)
        assert self._upload is not None
        try:
            self._upload.write(memoryview(self._sealed)[: self._cipher.update_into(data, self._sealed)])
        finally:
            if hashing is not None:
                hashing.result()

    def finish(self, chunks: Sequence[bytes] = ()) -> Stored:
        """The last bytes have come: check everything, then have the blob on the disk."""
        self.take(chunks)
        trailers = ended(self._decoder)
        md5, sums = self._hashes.check(trailers)
        assert self._upload is not None
        upload, self._upload = self._upload, None
        upload.finish()
        return Stored(self._blob, self._hashes.size_bytes, md5, sums)

    def abandon(self) -> None:
        """Leave nothing behind."""
        if self._upload is not None:
            upload, self._upload = self._upload, None
            upload.abandon()


def unwrapped(decoder: ChunkedBodyVerifier, data: bytes) -> bytes:
    """The payload in the next bytes of a chunked body."""
    try:
        return decoder.feed(data)
    except sigv4.SignatureFault as fault:
        raise SignatureDoesNotMatch(fault.message) from fault
    except RemoteProtocolError as fault:
        raise InvalidRequest(f"The aws-chunked body cannot be read: {fault}") from fault


def ended(decoder: ChunkedBodyVerifier | None) -> dict[str, str]:
    """The trailing headers of a body that has ended."""
    if decoder is None:
        return {}
    try:
        return decoder.finish()
    except RemoteProtocolError as fault:
        raise IncompleteBody(f"The aws-chunked body ended early: {fault}") from fault
