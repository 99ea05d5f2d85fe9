"""Fetching: the one way in which the server itself asks others for something (DESIGN 3.13).

https only; the name is resolved once and that very address is asked; loopback, link-local, private and other special
addresses are refused unless `allow_fetch` names their network, and the server itself always; at most three redirects,
each checked alike; bounded in bytes and in time, name resolution and handshake included.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import httptools

from fleetward.server.effects import Failed

MOST_REDIRECTS = 3
LONGEST_URL = 2048
MOST_HEADER_BYTES = 32_768
READ_BYTES = 65_536

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class FetchRefused(Exception):
    """The URL is not one that the server may ask, or its answer not one that it takes."""


def allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address may be asked: any public one, and those of the operator's networks."""
    plain = plain_address(address)
    if any(plain in network for network in networks if network.version == plain.version):
        return True
    return plain.is_global and not (plain.is_multicast or plain.is_reserved or plain.is_link_local)


def plain_address(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that only carries it, else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if inside is None and address in _NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        return inside or address
    return address


@dataclass(slots=True)
class _Answer:
    """What httptools tells of one answer."""

    most_bytes: int
    status: int = 0
    location: str = ""
    body: bytearray = field(default_factory=bytearray)
    header_bytes: int = 0
    complete: bool = False
    parser: httptools.HttpResponseParser = field(init=False)

    def __post_init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.header_bytes += len(name) + len(value)
        if self.header_bytes > MOST_HEADER_BYTES:
            raise FetchRefused("the answer's head is too large")
        if name.lower() == b"location":
            self.location = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if len(self.body) + len(body) > self.most_bytes:
            raise FetchRefused(f"the answer has more than {self.most_bytes} bytes")
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class Fetcher:
    """Fetches bodies from https URLs. `own_ports` tells where this server listens."""

    def __init__(
        self, allow: Sequence[str] = (), ca_file: str = "", own_ports: Callable[[], Sequence[int]] = lambda: ()
    ) -> None:
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(each, strict=False) for each in allow)
        self._own_ports = own_ports
        self._tls = ssl.create_default_context()
        if ca_file:
            self._tls.load_verify_locations(cafile=ca_file)

    async def fetch(self, url: str, most_bytes: int, seconds: float) -> bytes | Failed:
        """The body behind a URL that answers 200."""
        return await self._within(seconds, self._follow(url, most_bytes))

    async def post(self, url: str, form: str, authorization: str, most_bytes: int, seconds: float) -> bytes | Failed:
        """What a URL answers with 200 to a form that is posted; a redirect is not followed."""
        return await self._within(seconds, self._posted(url, form, authorization, most_bytes))

    async def _posted(self, url: str, form: str, authorization: str, most_bytes: int) -> bytes:
        parts = self._checked(url)
        answer = await self._ask(parts, await self._resolve(parts), most_bytes, form, authorization)
        if answer.status != 200:
            raise FetchRefused(f"the answer is HTTP {answer.status}")
        return bytes(answer.body)

    async def _within(self, seconds: float, work: Coroutine[Any, Any, bytes]) -> bytes | Failed:
        try:
            async with asyncio.timeout(seconds):
                return await work
        except FetchRefused as fault:
            return Failed(str(fault))
        except TimeoutError:
            return Failed(f"no answer within {seconds:g} seconds")
        except ssl.SSLCertVerificationError as fault:
            return Failed(f"the certificate is not trusted: {fault.verify_message}")
        except (OSError, ssl.SSLError, httptools.HttpParserError, EOFError) as fault:
            return Failed(f"no usable answer: {type(fault).__name__}")

    async def _follow(self, url: str, most_bytes: int) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            parts = self._checked(url)
            answer = await self._ask(parts, await self._resolve(parts), most_bytes)
            if answer.status == 200:
                return bytes(answer.body)
            if answer.status not in (301, 302, 303, 307, 308) or not answer.location:
                raise FetchRefused(f"the answer is HTTP {answer.status}")
            url = urljoin(url, answer.location)
        raise FetchRefused(f"more than {MOST_REDIRECTS} redirects")

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            port_is_fine = parts.port != 0
        except ValueError as fault:
            raise FetchRefused("not a URL") from fault
        plain = url.isascii() and url.isprintable() and " " not in url
        if len(url) > LONGEST_URL or not plain or not port_is_fine:
            raise FetchRefused("not a URL")
        if parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
            raise FetchRefused("only https URLs without credentials are fetched")
        return parts

    async def _resolve(self, parts: SplitResult) -> str:
        """The one address that is asked; refused when any that the name has must not be."""
        host, port = parts.hostname or "", parts.port or 443
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
        for address in addresses:
            if not allowed(address, self._networks):
                raise FetchRefused(f"{host} has an address that is not fetched from (see the setting allow_fetch)")
            if port in self._own_ports() and _is_own(address):
                raise FetchRefused(f"{host} is this server itself")
        return str(addresses[0])

    async def _ask(
        self, parts: SplitResult, address: str, most_bytes: int, form: str = "", authorization: str = ""
    ) -> _Answer:
        host, port = parts.hostname or "", parts.port or 443
        reader, writer = await asyncio.open_connection(address, port, ssl=self._tls, server_hostname=host)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            shown = f"[{host}]" if ":" in host else host
            head = (
                f"{'POST' if form else 'GET'} {path} HTTP/1.1\r\nHost: {shown}{f':{port}' if port != 443 else ''}\r\n"
            )
            if form:
                head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form.encode())}\r\n"
            if authorization:
                head += f"Authorization: {authorization}\r\n"
            writer.write(
                f"{head}Accept: application/json\r\nUser-Agent: fleetward\r\nConnection: close\r\n\r\n{form}".encode()
            )
            answer = _Answer(most_bytes)
            while not answer.complete:
                data = await reader.read(READ_BYTES)
                if not data:
                    break
                _feed(answer, data)
            return answer
        finally:
            writer.transport.abort()


def _feed(answer: _Answer, data: bytes) -> None:
    try:
        answer.parser.feed_data(data)
    except httptools.HttpParserCallbackError as fault:
        raise (fault.__context__ if isinstance(fault.__context__, FetchRefused) else fault) from fault


def _is_own(address: Address) -> bool:
    """Whether an address is one of this machine's: only those can be bound."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True
