"""Content: slices of blobs, their names and encryption."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.s3 import content
from fleetward.server.s3.content import Slice


@given(st.lists(st.integers(0, 20), max_size=6), st.integers(0, 130), st.integers(0, 130))
def test_cutting_slices_is_slicing_the_bytes(sizes: list[int], start: int, end: int) -> None:
    blobs = {f"b{number}": bytes(range(number * 20, number * 20 + size)) for number, size in enumerate(sizes)}
    whole = b"".join(blobs.values())
    slices = [Slice(name, 0, len(data)) for name, data in blobs.items()]
    taken = b"".join(blobs[s.blob][s.offset : s.offset + s.size] for s in content.cut(slices, start, end))
    assert taken == whole[start:end]


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_blob_is_read_from_any_byte_on(data: bytes, offset: int) -> None:
    blob, key = content.new_blob("123456789012", "us-east-1"), b"k" * 32
    sealed = content.cipher(key, blob).update(data)
    assert content.cipher(key, blob, offset).update(sealed[offset:]) == data[offset:]


def test_two_blobs_are_never_encrypted_alike() -> None:
    data = bytes(64)
    blobs = [content.new_blob("123456789012", "us-east-1") for _ in range(50)]
    assert len({content.cipher(b"k" * 32, blob).update(data) for blob in blobs}) == 50


def test_a_blobs_name_tells_tenant_and_key() -> None:
    blob = content.new_blob("123456789012", "eu-central-1", 7)
    assert content.tenant_of(blob) == ("123456789012", "eu-central-1")
    assert content.key_number(blob) == 7
    assert content.storage_key(blob) == f"s3/{blob}"


def test_content_survives_its_column() -> None:
    slices = [Slice("a/b/c", 0, 5), Slice("a/b/d", 7, 2**40)]
    assert content.load(content.dump(slices)) == slices
    assert content.load("") == []


def test_a_multipart_tag_is_the_hash_of_hashes() -> None:
    tags = [hashlib.md5(part, usedforsecurity=False).hexdigest() for part in (b"one", b"two")]
    joined = hashlib.md5(b"".join(map(bytes.fromhex, tags)), usedforsecurity=False).hexdigest()
    assert content.joined_etag(tags) == f"{joined}-2"
