"""Devices for second factors in tests: what an authenticator on a telephone does with the seed it is given."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import time
from typing import Any


def code(seed: str, step: int) -> str:
    """The six digits that an authenticator shows in a step of 30 seconds, written from RFC 6238."""
    digest = hmac.new(base64.b32decode(seed), struct.pack(">Q", step), hashlib.sha1).digest()
    (number,) = struct.unpack_from(">I", digest, digest[19] & 15)
    return f"{(number & 0x7FFFFFFF) % 1_000_000:06}"


def codes_of(seed: str, later: int = 0) -> tuple[str, str]:
    """Two consecutive codes, the first so many steps from now."""
    step = int(time.time()) // 30 + later
    return code(seed, step), code(seed, step + 1)


def new_device(client: Any, name: str) -> tuple[str, str]:
    """A virtual device's serial number and seed."""
    made = client.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
    return made["SerialNumber"], made["Base32StringSeed"].decode()


def enable_device(client: Any, user: str, name: str) -> tuple[str, str]:
    """A device that a user signs in with; its codes up to the present one are used up."""
    serial, seed = new_device(client, name)
    first, second = codes_of(seed, -1)
    client.enable_mfa_device(UserName=user, SerialNumber=serial, AuthenticationCode1=first, AuthenticationCode2=second)
    return serial, seed
