"""Ciphertexts: what goes in comes out, and nothing that was changed does."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.kms.ciphertexts import HEAD, CiphertextFault, Head, canonical, read_head, seal, unseal

MATERIAL = bytes(range(32))
HEADS = st.builds(lambda identity, number: Head(str(identity), number), st.uuids(), st.integers(0, 2**32 - 1))
CONTEXTS = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4)
PLAIN = st.binary(min_size=1, max_size=200)


@given(HEADS, PLAIN, CONTEXTS)
def test_what_was_sealed_opens_with_the_same_material_and_context(head: Head, plain: bytes, context: dict) -> None:  # type: ignore[type-arg]
    blob = seal(MATERIAL, head, plain, context)
    assert read_head(blob) == head
    assert unseal(MATERIAL, blob, dict(reversed(context.items()))) == plain
    assert plain not in blob or len(plain) < 4


@given(PLAIN, CONTEXTS, st.data())
def test_a_single_changed_bit_anywhere_is_noticed(plain: bytes, context: dict, data: st.DataObject) -> None:  # type: ignore[type-arg]
    blob = bytearray(seal(MATERIAL, Head(str(uuid.UUID(int=5)), 1), plain, context))
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CiphertextFault):
        unseal(MATERIAL, bytes(blob), context)


@given(CONTEXTS, CONTEXTS)
def test_contexts_are_the_same_bytes_only_when_they_are_the_same(one: dict, other: dict) -> None:  # type: ignore[type-arg]
    assert (canonical(one) == canonical(other)) == (one == other)


@given(PLAIN, CONTEXTS, CONTEXTS)
def test_another_context_or_material_does_not_open(plain: bytes, context: dict, other: dict) -> None:  # type: ignore[type-arg]
    blob = seal(MATERIAL, Head(str(uuid.UUID(int=5)), 1), plain, context)
    with pytest.raises(CiphertextFault):
        unseal(bytes(32), blob, context)
    if other != context:
        with pytest.raises(CiphertextFault):
            unseal(MATERIAL, blob, other)


@given(st.binary(max_size=HEAD.size + 40))
def test_bytes_from_elsewhere_are_refused(blob: bytes) -> None:
    with pytest.raises(CiphertextFault):
        unseal(MATERIAL, blob, {})


def test_equal_input_gives_different_blobs() -> None:
    head = Head(str(uuid.UUID(int=5)), 1)
    assert len({seal(MATERIAL, head, b"same", {}) for _ in range(50)}) == 50
