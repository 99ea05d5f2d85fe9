"""PROXY headers: what is one, to the byte, and what is not."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.edge.proxy_header import (
    SECOND_VERSION_LIMIT,
    SIGNATURE,
    ProxyHeader,
    ProxyHeaderFault,
    bytes_wanted,
    parse,
)

PORTS = st.integers(0, 65535)
PAIRS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def first(source: Address, target: Address, port: int, other: int) -> bytes:
    """A header of version 1."""
    return f"PROXY TCP{source.version} {source} {target} {port} {other}\r\n".encode()


def second(source: Address, target: Address, port: int, other: int, fields: bytes = b"", command: int = 1) -> bytes:
    """A header of version 2."""
    body = source.packed + target.packed + struct.pack(">HH", port, other) + fields
    family = 0x11 if source.version == 4 else 0x21
    return SIGNATURE + struct.pack(">BBH", 0x20 | command, family, len(body)) + body


def field(kind: int, value: bytes) -> bytes:
    """One further field."""
    return struct.pack(">BH", kind, len(value)) + value


def spelled(address: Address) -> str:
    """As the server writes it."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def read(stream: bytes) -> tuple[bytes, bytes]:
    """What a reader takes that asks for the wanted bytes each time, and what it leaves."""
    taken = 0
    while wanted := bytes_wanted(stream[:taken]):
        assert taken + wanted <= len(stream), "asks for more than there is"
        taken += wanted
    return stream[:taken], stream[taken:]


@given(PAIRS, PORTS, PORTS, st.binary(max_size=40))
def test_a_line_of_version_1_is_taken_exactly(pair: tuple[Address, Address], port: int, other: int, tls: bytes) -> None:
    header, rest = read(first(*pair, port, other) + tls)
    assert (parse(header), rest) == (ProxyHeader((spelled(pair[0]), port)), tls)


@given(
    PAIRS,
    PORTS,
    PORTS,
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=5),
    st.binary(max_size=40),
)
def test_a_header_of_version_2_is_taken_exactly_with_its_fields(
    pair: tuple[Address, Address], port: int, other: int, fields: list[tuple[int, bytes]], tls: bytes
) -> None:
    made = second(*pair, port, other, b"".join(field(*each) for each in fields))
    header, rest = read(made + tls)
    assert (header, parse(header), rest) == (made, ProxyHeader((spelled(pair[0]), port)), tls)


@given(PAIRS, PORTS, st.data())
def test_a_header_cut_anywhere_is_none(pair: tuple[Address, Address], port: int, data: st.DataObject) -> None:
    made = data.draw(st.sampled_from([first(*pair, port, 1), second(*pair, port, 1)]))
    cut = data.draw(st.integers(0, len(made) - 1))
    assert bytes_wanted(made[:cut]) > 0
    with pytest.raises(ProxyHeaderFault):
        parse(made[:cut])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_a_fault(data: bytes) -> None:
    """Never another exception, and never a wish for more than the limit."""
    for text in (data, SIGNATURE + data, b"PROXY " + data):
        try:
            assert bytes_wanted(text) <= SECOND_VERSION_LIMIT
            parse(text)
        except ProxyHeaderFault:
            pass


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        SIGNATURE + b"\x20\x00\x00\x00",
        SIGNATURE + b"\x20\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x00\x00\x00",
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
        SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),
    ],
)
def test_a_proxy_may_speak_for_itself(line: bytes) -> None:
    """Health checks, and families without an address of ours."""
    assert parse(line) == ProxyHeader(None)


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        b"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nPROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY UNKNOWN " + b"x" * 120 + b"\r\n",
        b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE + b"\x21\x41\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\xff\xff",
        SIGNATURE + b"\x21\x11\x00\x0e" + bytes(14),
        SIGNATURE + b"\x21\x11\x00\x0c" + bytes(13),
    ],
)
def test_what_is_almost_a_header_is_refused(line: bytes) -> None:
    with pytest.raises(ProxyHeaderFault):
        parse(line)
