"""The binary message of control and data channels, read and written.

One frame is one binary WebSocket message; all integers are big-endian:

```
0      4              36      40        48        56     64         80       112          116            120
+------+--------------+-------+---------+---------+------+----------+--------+------------+--------------+---------+
| 116  | message type | schema| created | sequence| flags| message  | SHA-256| payload    | payload      | payload |
| u32  | 32, spaces   | u32   | u64, ms | i64     | u64  | id, 16   | 32     | type, u32  | length, u32  |         |
+------+--------------+-------+---------+---------+------+----------+--------+------------+--------------+---------+
```

The message id is a UUID whose two 8-byte halves are swapped on the wire. Sequence, flags and payload type
mean something on data channels only. Source: agent protocol reference, section 7.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import lru_cache

from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

HEADER_BYTES = 120
LATEST_CREATED_AT_MS = 253_402_300_799_999
"""The last millisecond of the year 9999: beyond it nobody can show the time. Ours."""

_HEADER_LENGTH = HEADER_BYTES - 4
_LAYOUT = struct.Struct(">I32sIQqQ8s8s32sII")
_NO_DIGEST = bytes(32)
_PADDING = b" \0\t\r\n\v\f"

_sha256 = hashlib.sha256


class PayloadType(IntEnum):
    """What the payload of a stream frame is."""

    NONE = 0
    OUTPUT = 1
    ERROR = 2
    SIZE = 3
    PARAMETER = 4
    HANDSHAKE_REQUEST = 5
    HANDSHAKE_RESPONSE = 6
    HANDSHAKE_COMPLETE = 7
    ENCRYPTION_CHALLENGE_REQUEST = 8
    ENCRYPTION_CHALLENGE_RESPONSE = 9
    FLAG = 10
    STANDARD_ERROR = 11
    EXIT_CODE = 12


class Flag(IntFlag):
    """Bits of a frame's flags: the first and the last frame of a stream."""

    SYN = 1
    FIN = 2


@dataclass(slots=True)
class Frame:
    """One message; `created_at_ms` counts milliseconds since 1970."""

    message_type: str
    payload: bytes
    message_id: uuid.UUID
    created_at_ms: int
    sequence_number: int = 0
    flags: int = 0
    payload_type: int = 0
    schema_version: int = 1


def encode(frame: Frame, *, with_digest: bool = True) -> bytes:
    """The frame as one binary message; without a digest that field is zero, which only our own ends accept.

    Raises LocalProtocolError for what official readers would drop: an empty payload, no creation time,
    a type that is empty or longer than 32 bytes, a number out of its field's range.
    """
    payload = frame.payload
    if not payload:
        raise LocalProtocolError("a frame needs a payload: official readers refuse an empty one, send {} instead")
    if not 0 < frame.created_at_ms <= LATEST_CREATED_AT_MS:
        raise LocalProtocolError(f"a frame cannot be created at {frame.created_at_ms} ms")
    identity = frame.message_id.bytes
    try:
        header = _LAYOUT.pack(
            _HEADER_LENGTH,
            _type_field(frame.message_type),
            frame.schema_version,
            frame.created_at_ms,
            frame.sequence_number,
            frame.flags,
            identity[8:],
            identity[:8],
            _sha256(payload).digest() if with_digest else _NO_DIGEST,
            frame.payload_type,
            len(payload),
        )
    except struct.error as error:
        raise LocalProtocolError(f"a number of the frame does not fit its field: {error}") from error
    return header + payload


def has_digest(data: bytes | memoryview) -> bool:
    """Whether the sender of a binary message digested its payload."""
    return data[80:112] != _NO_DIGEST


def decode(data: bytes | memoryview, *, check_digest: bool = True) -> Frame:
    """Read one binary message.

    Raises RemoteProtocolError when it is no frame: too short, another header length, a payload length that is
    not what follows, no type, no creation time, or (with `check_digest`) a payload that is not the one digested.
    An empty payload is read, though it may not be sent.
    """
    if len(data) < HEADER_BYTES:
        raise RemoteProtocolError(f"a frame has at least {HEADER_BYTES} bytes, this one {len(data)}")
    (
        header_length,
        type_field,
        schema_version,
        created_at_ms,
        sequence_number,
        flags,
        identity_end,
        identity_start,
        digest,
        payload_type,
        payload_length,
    ) = _LAYOUT.unpack_from(data)
    if header_length != _HEADER_LENGTH:
        raise RemoteProtocolError(f"a frame's header length is {_HEADER_LENGTH}, this one says {header_length}")
    if payload_length != len(data) - HEADER_BYTES:
        raise RemoteProtocolError(f"{payload_length} bytes of payload announced, {len(data) - HEADER_BYTES} received")
    if not 0 < created_at_ms <= LATEST_CREATED_AT_MS:
        raise RemoteProtocolError(f"a frame cannot be created at {created_at_ms} ms")
    payload = bytes(data[HEADER_BYTES:])
    if check_digest and _sha256(payload).digest() != digest:
        raise RemoteProtocolError("the payload is not the one its digest was made of")
    return Frame(
        _message_type(type_field),
        payload,
        uuid.UUID(bytes=identity_start + identity_end),
        created_at_ms,
        sequence_number,
        flags,
        payload_type,
        schema_version,
    )


@lru_cache(maxsize=128)
def _type_field(message_type: str) -> bytes:
    field = message_type.encode("utf-8", "replace")
    if len(field) > 32 or field.strip(_PADDING) != field or not field:
        raise LocalProtocolError(f"a message type is 1 to 32 bytes without space around it, not {message_type!r}")
    return field.ljust(32)


@lru_cache(maxsize=128)
def _message_type(field: bytes) -> str:
    try:
        message_type = field.strip(_PADDING).decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("the message type is not UTF-8") from error
    if not message_type:
        raise RemoteProtocolError("a frame needs a message type")
    return message_type
