"""Checksums: published check values, joining parts, and what is no checksum."""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.s3 import checksums
from fleetward.server.s3.errors import InvalidRequest

CHECK = b"123456789"
PUBLISHED = {"CRC32": "cbf43926", "CRC32C": "e3069283", "CRC64NVME": "ae8b14860a799888"}
"""Of the catalogue of parametrised CRC algorithms: the check value is that of the nine digits."""


@pytest.mark.parametrize("algorithm", PUBLISHED)
def test_check_values_are_the_published_ones(algorithm: str) -> None:
    running = checksums.running(algorithm)
    for at in range(len(CHECK)):
        running.update(CHECK[at : at + 1])
    assert running.digest().hex() == PUBLISHED[algorithm]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6), st.sampled_from(["CRC32", "CRC32C", "CRC64NVME"]))
def test_joined_checksums_are_those_of_the_joined_bytes(parts: list[bytes], algorithm: str) -> None:
    def of(data: bytes) -> str:
        running = checksums.running(algorithm)
        running.update(data)
        return checksums.text_of(running.digest())

    assert checksums.of_whole(algorithm, [(of(part), len(part)) for part in parts]) == of(b"".join(parts))


def test_a_composite_is_the_checksum_of_checksums() -> None:
    texts = [base64.b64encode(zlib.crc32(part).to_bytes(4, "big")).decode() for part in (b"a", b"b")]
    joined = b"".join(map(base64.b64decode, texts))
    expected = base64.b64encode(zlib.crc32(joined).to_bytes(4, "big")).decode()
    assert checksums.of_parts("CRC32", texts) == f"{expected}-2"


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "AAAAAAAA", "AAAAA==="])
def test_what_is_no_crc32_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        checksums.named({"x-amz-checksum-crc32": text})


def test_one_checksum_is_stated_at_a_time() -> None:
    assert checksums.named({"x-amz-checksum-crc32": "AAAAAA=="}) == {"ChecksumCRC32": "AAAAAA=="}
    with pytest.raises(InvalidRequest):
        checksums.named({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="})
