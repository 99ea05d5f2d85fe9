"""What either end of a port session tells the other beside the data: payloads of type 10, one number each."""

from __future__ import annotations

import struct
from enum import IntEnum

from fleetward.protocol.errors import RemoteProtocolError

_NUMBER = struct.Struct(">I")


class PortFlag(IntEnum):
    """Agent protocol reference, section 14."""

    DISCONNECT_TO_PORT = 1
    """Client: its local connection is gone, close the one to the port (basic mode)."""
    TERMINATE_SESSION = 2
    """Client: end the session."""
    CONNECT_TO_PORT_ERROR = 3
    """Agent: the port could not be reached."""


def flag_payload(flag: PortFlag) -> bytes:
    """The payload to send as PayloadType.FLAG."""
    return _NUMBER.pack(flag)


def read_flag(payload: bytes) -> PortFlag:
    """What a payload of PayloadType.FLAG says; RemoteProtocolError if it is no flag anybody knows."""
    try:
        (number,) = _NUMBER.unpack(payload)
        return PortFlag(number)
    except (struct.error, ValueError) as error:
        raise RemoteProtocolError(f"a flag is four bytes that say 1, 2 or 3, not {payload[:8].hex()}") from error
