"""Flags of port sessions: four bytes, three meanings, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.data_channel.flags import PortFlag, flag_payload, read_flag
from fleetward.protocol.errors import RemoteProtocolError


@pytest.mark.parametrize(
    ("flag", "payload"),
    [
        (PortFlag.DISCONNECT_TO_PORT, "00000001"),
        (PortFlag.TERMINATE_SESSION, "00000002"),
        (PortFlag.CONNECT_TO_PORT_ERROR, "00000003"),
    ],
)
def test_flag_is_a_big_endian_number(flag: PortFlag, payload: str) -> None:
    assert flag_payload(flag).hex() == payload
    assert read_flag(bytes.fromhex(payload)) is flag


@given(st.binary(max_size=12).filter(lambda payload: payload[:3] != bytes(3) or len(payload) != 4))
def test_other_bytes_are_no_flag(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="flag"):
        read_flag(payload)


@pytest.mark.parametrize("number", [0, 4, 255])
def test_other_numbers_are_no_flag(number: int) -> None:
    with pytest.raises(RemoteProtocolError, match="flag"):
        read_flag(bytes([0, 0, 0, number]))
