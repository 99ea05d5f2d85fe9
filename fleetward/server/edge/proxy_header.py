"""PROXY protocol, versions 1 and 2: the header in which a proxy tells the client's address, before anything else.

Pure: bytes in, a header out, or how many bytes are missing. What is not exactly of the form is refused, so that no two
readers understand a header differently (the specification of the PROXY protocol, HAProxy Technologies, sections 2.1
and 2.2).

    version 1   PROXY TCP4 203.0.113.9 192.0.2.1 56324 443 CR LF                  at most 107 bytes
    version 2   signature (12) | version, command (1) | family (1) | length (2) | addresses, then further fields
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PREFIX_BYTES = len(SIGNATURE)
"""As many bytes belong to a header of either version in any case."""
FIRST_VERSION_LIMIT = 107
SECOND_VERSION_FIXED = 16
SECOND_VERSION_LIMIT = 2048
"""Longest rest of a version 2 header that is read, bytes; proxies add certificate names and the like."""

_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9a-fA-F:.]{2,39}) ([0-9a-fA-F:.]{2,39}) (\d{1,5}) (\d{1,5})\r\n")
_ADDRESS_BYTES = {1: 4, 2: 16}
_UNIX_BYTES = 216
_STREAM = 1


class ProxyHeaderFault(Exception):
    """The bytes are no header of the PROXY protocol."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a proxy said. Without a client, the connection is the proxy's own, such as a health check."""

    client: tuple[str, int] | None


def bytes_wanted(data: bytes) -> int:
    """How many more bytes belong to the header for sure; 0: it is complete. ProxyHeaderFault when it can be none."""
    if data.startswith(SIGNATURE):
        if len(data) < SECOND_VERSION_FIXED:
            return SECOND_VERSION_FIXED - len(data)
        length: int = struct.unpack_from(">H", data, 14)[0]
        if length > SECOND_VERSION_LIMIT:
            raise ProxyHeaderFault(f"the header announces {length} bytes")
        return max(0, SECOND_VERSION_FIXED + length - len(data))
    if SIGNATURE.startswith(data) or b"PROXY ".startswith(data[:6]):
        if len(data) < PREFIX_BYTES:
            return PREFIX_BYTES - len(data)
        if data.endswith(b"\n"):
            return 0
        if len(data) >= FIRST_VERSION_LIMIT:
            raise ProxyHeaderFault("the line is too long")
        return 1
    raise ProxyHeaderFault("the connection does not begin with a PROXY header")


def parse(data: bytes) -> ProxyHeader:
    """The header that is exactly `data`; ProxyHeaderFault when it is not one, or more than one."""
    if bytes_wanted(data):
        raise ProxyHeaderFault("the header is not complete")
    return _second(data) if data.startswith(SIGNATURE) else _first(data)


def _first(line: bytes) -> ProxyHeader:
    if len(line) > FIRST_VERSION_LIMIT or line.find(b"\n") != len(line) - 1 or not line.endswith(b"\r\n"):
        raise ProxyHeaderFault("the line is not of the form")
    if line == b"PROXY UNKNOWN\r\n" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(None)
    found = _LINE.fullmatch(line)
    if found is None:
        raise ProxyHeaderFault("the line is not of the form")
    version = 4 if found[1] == b"TCP4" else 6
    source, _ = (_address(text.decode(), version) for text in (found[2], found[3]))
    port, _ = (_port(text.decode()) for text in (found[4], found[5]))
    return ProxyHeader((source, port))


def _second(data: bytes) -> ProxyHeader:
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    length: int = struct.unpack_from(">H", data, 14)[0]
    if len(data) != SECOND_VERSION_FIXED + length:
        raise ProxyHeaderFault("there are bytes behind the header")
    if version != 2 or command > 1 or family > 3 or transport > 2:
        raise ProxyHeaderFault("version, command or family is unknown")
    size = _ADDRESS_BYTES.get(family)
    needed = 2 * size + 4 if size else _UNIX_BYTES if family == 3 else 0
    if length < needed:
        raise ProxyHeaderFault("the addresses are not all there")
    _check_fields(data[SECOND_VERSION_FIXED + needed :])
    if command == 0 or size is None or transport != _STREAM:
        return ProxyHeader(None)
    address = ipaddress.ip_address(data[SECOND_VERSION_FIXED : SECOND_VERSION_FIXED + size])
    port: int = struct.unpack_from(">H", data, SECOND_VERSION_FIXED + 2 * size)[0]
    return ProxyHeader((_plain(address), port))


def _check_fields(rest: bytes) -> None:
    """What follows the addresses is a row of type (1), length (2), value, and nothing besides."""
    while rest:
        if len(rest) < 3:
            raise ProxyHeaderFault("a field is cut off")
        length: int = struct.unpack_from(">H", rest, 1)[0]
        if len(rest) < 3 + length:
            raise ProxyHeaderFault("a field is cut off")
        rest = rest[3 + length :]


def _address(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as fault:
        raise ProxyHeaderFault("an address cannot be read") from fault
    if address.version != version:
        raise ProxyHeaderFault("an address is of the other family")
    return _plain(address)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """One spelling for each client: an IPv4 address inside IPv6 counts as IPv4."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _port(text: str) -> int:
    if (text.startswith("0") and text != "0") or int(text) > 65535:
        raise ProxyHeaderFault("a port cannot be read")
    return int(text)
