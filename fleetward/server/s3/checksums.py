"""Checksums of S3: CRC32, CRC32C, CRC64NVME, SHA1 and SHA256, as bytes come and joined from parts.

Members and headers are named alike: `ChecksumCRC32C`, `x-amz-checksum-crc32c`, values in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from awscrt import (
    checksums as crt,  # the AWS runtime's: the processor's own instructions, 50 times zlib's pace and more
)

from fleetward.server.s3.errors import InvalidRequest

HEADER = "x-amz-checksum-"
DEFAULT = "CRC64NVME"
"""What S3 computes when nobody asks for anything (user guide, "Checking object integrity")."""

MEMBERS = {
    "CRC32": "ChecksumCRC32",
    "CRC32C": "ChecksumCRC32C",
    "CRC64NVME": "ChecksumCRC64NVME",
    "SHA1": "ChecksumSHA1",
    "SHA256": "ChecksumSHA256",
}
ALGORITHMS = {member: algorithm for algorithm, member in MEMBERS.items()}
_CRCS: Mapping[str, tuple[Callable[[bytes | memoryview, int], int], Callable[[int, int, int], int], int]] = {
    "CRC32": (crt.crc32, crt.combine_crc32, 4),
    "CRC32C": (crt.crc32c, crt.combine_crc32c, 4),
    "CRC64NVME": (crt.crc64nvme, crt.combine_crc64nvme, 8),
}
_SIZES = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}


class Running(Protocol):
    """A checksum under way."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """The checksum so far."""


class Crc:
    """A cyclic redundancy check under way."""

    def __init__(self, algorithm: str) -> None:
        self._function, _, self._size = _CRCS[algorithm]
        self._value = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        """Big-endian, as S3 writes it."""
        return self._value.to_bytes(self._size, "big")


def running(algorithm: str) -> Running:
    """A new checksum of this algorithm."""
    if algorithm in _CRCS:
        return Crc(algorithm)
    return hashlib.new(algorithm.lower(), usedforsecurity=False)


def named(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksums that headers state, by member name; InvalidRequest for more than one or one that is none."""
    found = {}
    for algorithm, member in MEMBERS.items():
        text = headers.get(HEADER + algorithm.lower())
        if text is not None:
            found[member] = checked(algorithm, text)
    if len(found) > 1:
        raise InvalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
    return found


def checked(algorithm: str, text: str) -> str:
    """The same text; InvalidRequest unless it is a checksum of this algorithm in base64."""
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        size = -1
    if size != _SIZES[algorithm]:
        raise InvalidRequest(f"Value for {HEADER}{algorithm.lower()} header is invalid.")
    return text


def text_of(digest: bytes) -> str:
    """A checksum as headers and documents carry it."""
    return base64.b64encode(digest).decode()


def of_parts(algorithm: str, parts: Sequence[str]) -> str:
    """COMPOSITE: the checksum of the parts' checksums, and their number."""
    whole = running(algorithm)
    for each in parts:
        whole.update(base64.b64decode(each))
    return f"{text_of(whole.digest())}-{len(parts)}"


def of_whole(algorithm: str, parts: Sequence[tuple[str, int]]) -> str:
    """FULL_OBJECT: what the joined bytes would give, from each part's checksum and size. For CRCs alone."""
    _, combine, width = _CRCS[algorithm]
    value = 0
    for text, size in parts:
        value = combine(value, int.from_bytes(base64.b64decode(text), "big"), size)
    return text_of(value.to_bytes(width, "big"))


def members_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The checksums among an object's headers."""
    return {member: row[member] for member in ALGORITHMS if member in row}


def can_be_whole(algorithm: str) -> bool:
    """Whether checksums of parts can be joined into that of the whole."""
    return algorithm in _CRCS
