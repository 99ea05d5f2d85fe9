"""Bodies that arrive in chunks: aws-chunked, with signed or unsigned chunks and trailing headers.

Source: the S3 reference on signing chunked uploads, with and without trailing headers.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.sigv4 import (
    ALGORITHM,
    EMPTY_SHA256,
    INVALID,
    STREAMING,
    STREAMING_SIGNED,
    STREAMING_UNSIGNED_TRAILER,
    Claim,
    SignatureFault,
    signing_key,
)


class ChunkedBodyVerifier:
    """Takes the wire's bytes of an aws-chunked body and gives its payload, verified chunk by chunk.

    ```
    size in hex [;chunk-signature=…] CRLF  payload CRLF      each signature signs the one before it as well
    0           [;chunk-signature=…] CRLF
    [name:value CRLF … x-amz-trailer-signature:… CRLF]       trailing headers, when the kind has them
    CRLF
    ```

    A signed chunk is held back until its signature is known to be right. Make one after `verify` has passed; `kind`
    is X-Amz-Content-Sha256. Only unsigned chunks may come without a claim, and be of any size: nothing holds them
    back. Raises SignatureFault for a wrong signature and RemoteProtocolError for a body that is not in this form;
    after either the verifier is of no more use.
    """

    LONGEST_LINE_BYTES = 1024
    MOST_TRAILERS = 16

    def __init__(
        self,
        claim: Claim | None,
        secret_access_key: str,
        kind: str = "",
        *,
        decoded_length: int | None = None,
        max_chunk_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        """`decoded_length` is X-Amz-Decoded-Content-Length; given, the payload must have just that many bytes."""
        kind = kind or (claim.payload_hash if claim is not None else None) or ""
        if kind not in STREAMING:
            raise LocalProtocolError(f"a body of kind {kind!r} does not come in chunks")
        self._signed = kind != STREAMING_UNSIGNED_TRAILER
        self._may_have_trailers = kind != STREAMING_SIGNED
        if claim is None and self._signed:
            raise SignatureFault(INVALID, "Chunks are signed by whoever signs the request")
        if claim is not None:
            self._key = signing_key(secret_access_key, claim.date, claim.region, claim.service)
            self._place = f"{claim.timestamp}\n{claim.scope}"
            self._previous = claim.signature
        self._signature = ""
        self._left = decoded_length
        self._max_chunk_bytes = max_chunk_bytes
        self._wanted = 0
        self._received = bytearray()
        self._payload = bytearray()
        self._trailers: dict[str, str] = {}
        self._step: Callable[[], bool] | None = self._read_size

    def feed(self, data: bytes | memoryview) -> bytes:
        """Take what arrived; give what is now known to be the payload, often nothing."""
        left = memoryview(data)
        taken: list[bytes | memoryview] = []
        while left:
            if self._wanted and not self._signed and not self._received:  # nothing to hold back, so nothing to copy
                ready = min(self._wanted, len(left))
                taken.append(left[:ready])
                left = left[ready:]
                self._wanted -= ready
                if not self._wanted:
                    self._step = self._read_chunk_end
                continue
            some = len(left) if self._signed else self.LONGEST_LINE_BYTES
            self._received += left[:some]
            left = left[some:]
            while self._step is not None and self._step():
                pass
            taken.append(bytes(self._payload))
            self._payload = bytearray()
            if self._step is None and self._received:
                raise RemoteProtocolError("bytes follow the end of a chunked body")
        return b"".join(taken)

    def finish(self) -> dict[str, str]:
        """The body has ended: its trailing headers, names in lower case. Raises RemoteProtocolError if it was cut."""
        if self._step is not None:
            raise RemoteProtocolError("the chunked body ended before its last chunk")
        return self._trailers

    def _read_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match = re.fullmatch(rb"([0-9A-Fa-f]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?", line)
        if match is None or (match[2] is not None) != self._signed:
            raise RemoteProtocolError("a chunk does not begin with its size and the signature its kind needs")
        self._wanted = int(match[1], 16)
        if self._signed and self._wanted > self._max_chunk_bytes:
            raise RemoteProtocolError(f"a chunk may have {self._max_chunk_bytes} bytes, this one has {self._wanted}")
        self._signature = match[2].decode() if match[2] else ""
        if self._wanted:
            self._count(self._wanted)
            self._step = self._read_chunk
        else:
            self._end_payload()
        return True

    def _read_chunk(self) -> bool:
        ready = min(self._wanted, len(self._received))
        if self._signed and ready < self._wanted:
            return False
        chunk = self._received[:ready]
        if self._signed:
            self._check("PAYLOAD", f"{EMPTY_SHA256}\n{hashlib.sha256(chunk).hexdigest()}", self._signature)
        del self._received[:ready]
        self._payload += chunk
        self._wanted -= ready
        if self._wanted:
            return False
        self._step = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        if len(self._received) < 2:
            return False
        if self._received[:2] != b"\r\n":
            raise RemoteProtocolError("a chunk is longer than its size says")
        del self._received[:2]
        self._step = self._read_size
        return True

    def _read_trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            self._add_trailer(line)
            return True
        if self._signed and self._may_have_trailers:
            self._check_trailers()
        self._step = None
        return False

    def _line(self) -> bytes | None:
        end = self._received.find(b"\r\n", 0, self.LONGEST_LINE_BYTES + 2)
        if end < 0:
            if len(self._received) > self.LONGEST_LINE_BYTES + 1:
                raise RemoteProtocolError(f"a line of a chunked body may have {self.LONGEST_LINE_BYTES} bytes")
            return None
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        return line

    def _count(self, size: int) -> None:
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise RemoteProtocolError("the body is longer than X-Amz-Decoded-Content-Length says")

    def _end_payload(self) -> None:
        if self._signed:
            self._check("PAYLOAD", f"{EMPTY_SHA256}\n{EMPTY_SHA256}", self._signature)
        if self._left:
            raise RemoteProtocolError("the body is shorter than X-Amz-Decoded-Content-Length says")
        self._step = self._read_trailer

    def _add_trailer(self, line: bytes) -> None:
        name, colon, value = line.decode("latin-1").partition(":")
        name = name.strip().lower()
        if not self._may_have_trailers or not colon or not name or name in self._trailers:
            raise RemoteProtocolError("what follows the last chunk is no trailing header")
        if len(self._trailers) == self.MOST_TRAILERS:
            raise RemoteProtocolError(f"a body may have {self.MOST_TRAILERS} trailing headers")
        self._trailers[name] = value.strip()

    def _check_trailers(self) -> None:
        signature = self._trailers.pop("x-amz-trailer-signature", "")
        text = "".join([f"{name}:{value}\n" for name, value in self._trailers.items()])
        self._check("TRAILER", hashlib.sha256(text.encode("latin-1")).hexdigest(), signature)

    def _check(self, kind: str, hashes: str, signature: str) -> None:
        string = f"{ALGORITHM}-{kind}\n{self._place}\n{self._previous}\n{hashes}"
        expected = hmac.digest(self._key, string.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise SignatureFault(INVALID, "The signature of a chunk or of the trailing headers does not belong to it")
        self._previous = expected
