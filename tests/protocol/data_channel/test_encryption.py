"""Sealed payloads: each end opens what the other sealed, and nothing else."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.data_channel import encryption
from fleetward.protocol.data_channel.encryption import SessionKeys
from fleetward.protocol.data_channel.stream import Side
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

DATA_KEY = bytes(range(64))
AGENT = SessionKeys.of(DATA_KEY, Side.AGENT)
CLIENT = SessionKeys.of(DATA_KEY, Side.CLIENT)


@given(st.binary(max_size=3000))
def test_each_end_opens_what_the_other_sealed(payload: bytes) -> None:
    for sealer, opener in ((AGENT, CLIENT), (CLIENT, AGENT)):
        sealed = sealer.seal(payload)
        assert len(sealed) == len(payload) + 28
        assert opener.open(sealed) == payload
        with pytest.raises(RemoteProtocolError):
            sealer.open(sealed)


def test_first_half_of_the_data_key_is_the_agents() -> None:
    nonce = os.urandom(12)
    assert CLIENT.open(nonce + AESGCM(DATA_KEY[:32]).encrypt(nonce, b"output", None)) == b"output"
    assert AGENT.open(nonce + AESGCM(DATA_KEY[32:]).encrypt(nonce, b"input", None)) == b"input"


def test_nothing_is_sealed_twice_alike() -> None:
    assert AGENT.seal(b"x") != AGENT.seal(b"x")


def test_key_seals_only_as_much_as_random_nonces_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "_MOST_SEALED", 2)
    keys = SessionKeys.of(DATA_KEY, Side.AGENT)
    keys.seal(b"x")
    keys.seal(b"x")
    with pytest.raises(LocalProtocolError, match="another session"):
        keys.seal(b"x")


@given(st.integers(0, 27 + 8), st.integers(1, 255))
def test_changed_payload_is_refused(at: int, change: int) -> None:
    sealed = bytearray(AGENT.seal(b"payload!"))
    sealed[at] ^= change
    with pytest.raises(RemoteProtocolError, match="not sealed"):
        CLIENT.open(bytes(sealed))


@given(st.binary(max_size=60))
def test_garbage_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        CLIENT.open(payload)


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_data_key_has_64_bytes(size: int) -> None:
    with pytest.raises(LocalProtocolError, match="64"):
        SessionKeys.of(bytes(size), Side.AGENT)
