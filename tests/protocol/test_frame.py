"""The binary message: its bytes, its limits, and that no garbage hurts its reader."""

from __future__ import annotations

import hashlib
import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.frame import (
    HEADER_BYTES,
    LATEST_CREATED_AT_MS,
    Flag,
    Frame,
    PayloadType,
    decode,
    encode,
    has_digest,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "frames"
MESSAGE_ID = uuid.UUID("511aed2b-efb9-4cc1-9104-3945dd6cc5ea")

frames = st.builds(
    Frame,
    message_type=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=32),
    payload=st.binary(min_size=1, max_size=2000),
    message_id=st.uuids(),
    created_at_ms=st.integers(1, LATEST_CREATED_AT_MS),
    sequence_number=st.integers(-(2**63), 2**63 - 1),
    flags=st.integers(0, 2**64 - 1),
    payload_type=st.integers(0, 2**32 - 1),
    schema_version=st.integers(0, 2**32 - 1),
)


def sample(payload: bytes = b"{}") -> Frame:
    return Frame("agent_job", payload, MESSAGE_ID, 1_700_000_000_000)


@given(frames)
def test_what_is_encoded_is_decoded(frame: Frame) -> None:
    assert decode(encode(frame)) == frame
    assert decode(memoryview(encode(frame))) == frame


def test_recorded_header_is_read_field_by_field() -> None:
    text = (GOLDEN / "recorded_header.txt").read_text()
    recorded, expected = text.split("\n----\n")
    header = bytes.fromhex("".join(recorded.split()))
    assert len(header) == HEADER_BYTES
    frame = decode(header + bytes(143), check_digest=False)
    seen = [
        f"message type    {frame.message_type}",
        f"schema version  {frame.schema_version}",
        f"created at ms   {frame.created_at_ms}",
        f"sequence number {frame.sequence_number}",
        f"flags           {frame.flags}",
        f"message id      {frame.message_id}",
        f"payload type    {frame.payload_type}",
        f"payload bytes   {len(frame.payload)}",
    ]
    assert seen == expected.splitlines()


def test_recorded_header_is_written_byte_by_byte_but_for_the_digest() -> None:
    recorded, _ = (GOLDEN / "recorded_header.txt").read_text().split("\n----\n")
    header = bytes.fromhex("".join(recorded.split()))
    ours = encode(Frame("agent_job_reply_ack", bytes(143), MESSAGE_ID, 0x1A204DCB79F))
    assert ours[:80] == header[:80]
    assert ours[112:120] == header[112:120]


def test_stream_frame_carries_flags_and_payload_type() -> None:
    frame = Frame("output_stream_data", b"ls\n", MESSAGE_ID, 1, 7, Flag.SYN | Flag.FIN, PayloadType.OUTPUT)
    data = encode(frame)
    assert struct.unpack(">qQ", data[48:64]) == (7, 3)
    assert struct.unpack(">II", data[112:120]) == (1, 3)
    assert data[80:112] == hashlib.sha256(b"ls\n").digest()


def test_type_padded_with_nul_is_read() -> None:
    data = bytearray(encode(sample()))
    data[4:36] = b"agent_job".ljust(32, b"\0")
    assert decode(bytes(data)).message_type == "agent_job"


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, struct.pack(">I", 0), "header length"),
        (0, struct.pack(">I", 115), "header length"),
        (4, b" " * 32, "message type"),
        (4, b"\xff" * 32, "UTF-8"),
        (40, bytes(8), "created"),
        (40, b"\xff" * 8, "created"),
        (80, bytes(32), "digest"),
        (116, struct.pack(">I", 1), "announced"),
        (116, struct.pack(">I", 2**32 - 1), "announced"),
    ],
)
def test_broken_field_is_refused(at: int, value: bytes, why: str) -> None:
    data = bytearray(encode(sample()))
    data[at : at + len(value)] = value
    with pytest.raises(RemoteProtocolError, match=why):
        decode(bytes(data))


def test_digest_is_not_checked_when_told_so() -> None:
    data = bytearray(encode(sample()))
    data[80:112] = bytes(32)
    assert decode(bytes(data), check_digest=False) == sample()


def test_digest_may_be_left_out() -> None:
    data = encode(sample(), with_digest=False)
    assert has_digest(encode(sample()))
    assert not has_digest(memoryview(data))
    assert decode(data, check_digest=False) == sample()
    with pytest.raises(RemoteProtocolError, match="digest"):
        decode(data)


@given(frames, st.data())
def test_frame_cut_anywhere_is_refused(frame: Frame, data: st.DataObject) -> None:
    encoded = encode(frame)
    with pytest.raises(RemoteProtocolError):
        decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_remote_protocol_error(data: bytes) -> None:
    for garbage in (data, b"\0\0\0t" + data):
        for check in (True, False):
            try:
                decode(garbage, check_digest=check)
            except RemoteProtocolError:
                pass


@pytest.mark.parametrize(
    "frame",
    [
        sample(b""),
        Frame("", b"{}", MESSAGE_ID, 1),
        Frame("x" * 33, b"{}", MESSAGE_ID, 1),
        Frame(" agent_job", b"{}", MESSAGE_ID, 1),
        Frame("agent_job", b"{}", MESSAGE_ID, 0),
        Frame("agent_job", b"{}", MESSAGE_ID, LATEST_CREATED_AT_MS + 1),
        Frame("agent_job", b"{}", MESSAGE_ID, 1, flags=-1),
        Frame("agent_job", b"{}", MESSAGE_ID, 1, sequence_number=2**63),
    ],
)
def test_frame_that_readers_would_drop_is_not_sent(frame: Frame) -> None:
    with pytest.raises(LocalProtocolError):
        encode(frame)
