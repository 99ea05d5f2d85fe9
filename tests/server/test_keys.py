"""Keys: sealed values open only where they belong; tokens seal credentials; the ring's file is guarded and rotates."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.keys import (
    KeyFault,
    KeyRing,
    TemporaryCredentials,
    add_key,
    drop_keys,
    load_ring,
    new_access_key_id,
    new_secret_access_key,
    read_keys,
    token_hash,
)

RING = KeyRing({1: b"\1" * 32})
CREDENTIALS = TemporaryCredentials(
    access_key_id="ASIAXXXXXXXXXXXXXXXX",
    secret_access_key="secret",
    principal="arn:aws:iam::123456789012:role/r",
    kind="role",
    expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    epoch=3,
    session_policy='{"Version": "2012-10-17"}',
    context={"aws:username": "x"},
)


@given(st.binary(max_size=200), st.text(max_size=40), st.text(max_size=40))
def test_sealed_value_opens_for_its_identity_only(plain: bytes, identity: str, other: str) -> None:
    sealed = RING.seal(plain, identity)
    assert RING.open(sealed, identity) == plain
    if other != identity:
        with pytest.raises(KeyFault):
            RING.open(sealed, other)


@given(st.binary(min_size=1, max_size=60), st.data())
def test_one_flipped_bit_is_noticed(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(RING.seal(plain, "row"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(KeyFault):
        RING.open(bytes(sealed), "row")


@given(st.binary(max_size=80))
def test_bytes_that_were_never_sealed_are_a_key_fault(sealed: bytes) -> None:
    with pytest.raises(KeyFault):
        RING.open(sealed, "row")


def test_same_value_is_sealed_differently_each_time() -> None:
    assert RING.seal(b"x", "row") != RING.seal(b"x", "row")


def test_token_gives_its_credentials_back() -> None:
    assert RING.open_token(RING.seal_token(CREDENTIALS), CREDENTIALS.access_key_id) == CREDENTIALS


def test_token_does_not_serve_another_access_key() -> None:
    with pytest.raises(KeyFault):
        RING.open_token(RING.seal_token(CREDENTIALS), "ASIAYYYYYYYYYYYYYYYY")


def test_token_does_not_show_its_secret() -> None:
    token = RING.seal_token(CREDENTIALS)
    assert b"secret" not in base64.b64decode(token[4:])


@given(st.text(max_size=100))
def test_text_that_is_no_token_is_a_key_fault(text: str) -> None:
    for token in (text, "FWT1" + text, "FWT1" + base64.b64encode(text.encode("utf-8", "replace")).decode()):
        with pytest.raises(KeyFault):
            RING.open_token(token, "ASIAXXXXXXXXXXXXXXXX")


def test_empty_ring_is_refused() -> None:
    with pytest.raises(KeyFault):
        KeyRing({})


def test_ring_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    sealed = load_ring(tmp_path / "data").seal(b"x", "row")
    assert load_ring(tmp_path / "data").open(sealed, "row") == b"x"
    file = tmp_path / "data" / "keys.json"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(KeyFault, match="chmod 600"):
        load_ring(tmp_path / "data")


def test_ring_with_another_key_opens_old_values_and_asks_to_rewrap_them(tmp_path: Path) -> None:
    old = load_ring(tmp_path)
    sealed = old.seal(b"x", "row")
    assert not old.needs_rewrap(sealed)
    add_key(tmp_path / "keys.json", 2)
    fresh = load_ring(tmp_path)
    assert fresh.sealing == fresh.newest == 2
    assert fresh.open(sealed, "row") == b"x"
    assert fresh.needs_rewrap(sealed)
    assert not fresh.needs_rewrap(fresh.seal(b"x", "row"))
    with pytest.raises(KeyFault):
        old.open(fresh.seal(b"x", "row"), "row")
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


def test_running_ring_takes_keys_up_and_seals_with_the_one_it_is_told(tmp_path: Path) -> None:
    ring = load_ring(tmp_path)
    before = ring.seal(b"x", "row")
    add_key(tmp_path / "keys.json", 2)
    ring.load(read_keys(tmp_path), 1)
    assert not ring.needs_rewrap(ring.seal(b"x", "row"))
    assert not ring.needs_rewrap(before)
    ring.use(2)
    assert ring.needs_rewrap(before)
    assert ring.open(before, "row") == b"x"
    for number in (3, 0):
        with pytest.raises(KeyFault, match="not in this ring"):
            ring.use(number)
        with pytest.raises(KeyFault, match="not in this ring"):
            ring.load(read_keys(tmp_path), number)
    assert ring.sealing == 2


def test_adding_a_key_that_is_there_changes_nothing_and_dropping_leaves_the_rest(tmp_path: Path) -> None:
    load_ring(tmp_path)
    file = tmp_path / "keys.json"
    add_key(file, 2)
    both = file.read_bytes()
    add_key(file, 2)
    assert file.read_bytes() == both
    drop_keys(file, 2)
    assert list(read_keys(tmp_path)) == [2]
    drop_keys(file, 9)
    assert list(read_keys(tmp_path)) == [2]


def test_check_values_tell_keys_apart_and_not_the_keys() -> None:
    ring = KeyRing({1: b"\1" * 32, 2: b"\2" * 32})
    assert ring.checks == KeyRing({1: b"\1" * 32, 2: b"\2" * 32}).checks
    assert len({*ring.checks.values(), *KeyRing({1: b"\3" * 32}).checks.values()}) == 3


def test_ring_may_come_from_a_program(tmp_path: Path) -> None:
    program = tmp_path / "keys"
    keys = {"keys": {"1": base64.b64encode(b"\1" * 32).decode()}}
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(keys)}\nEND\n")
    program.chmod(0o700)
    assert load_ring(tmp_path, f"command:{program}").open(RING.seal(b"x", "row"), "row") == b"x"
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(KeyFault, match="exit code 3"):
        load_ring(tmp_path, f"command:{program}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"keys": []}',
        '{"keys": {}}',
        '{"keys": {"1": "x"}}',
        '{"keys": {"1": "AAAA"}}',
        '{"keys": {"x": "AAAA"}}',
    ],
)
def test_unreadable_ring_is_a_key_fault(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(KeyFault):
        load_ring(tmp_path)


def test_missing_file_named_by_the_operator_is_a_key_fault(tmp_path: Path) -> None:
    with pytest.raises(KeyFault):
        load_ring(tmp_path, str(tmp_path / "absent.json"))


def test_new_keys_have_their_form_and_differ() -> None:
    assert len({new_secret_access_key() for _ in range(100)}) == 100
    assert len(new_secret_access_key()) == 40
    for prefix in ("AKIA", "ASIA"):
        assert len(new_access_key_id(prefix)) == 20
        assert new_access_key_id(prefix).startswith(prefix)
    assert token_hash("x") == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
