"""The road to a control plane, step by step: proxy, TCP, TLS, HTTP, WebSocket; each step says how it failed."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

LONGEST_HEAD = 16 * 1024
LONGEST_ANSWER = 1024 * 1024


class Blocked(Exception):
    """The way ends here; the text says how."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Road:
    """From here to an endpoint."""

    url: str
    host: str
    port: int
    secure: bool
    ca: str
    """File of what is trusted; empty: what the system trusts."""
    timeout: float
    proxy: tuple[str, int, str] | None
    """Host, port, and value of Proxy-Authorization."""
    bypassed: bool
    """A proxy is set but not for this host."""

    @classmethod
    def to(cls, url: str, ca: str, timeout: float) -> Self:
        """The road to `https://HOST[:PORT]`, through the proxy that is set; ValueError: that is no address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"{url!r} is not an address of the form https://HOST:PORT")
        secure = parts.scheme == "https"
        named = getproxies().get(parts.scheme, "")
        bypassed = bool(named) and bool(proxy_bypass(parts.netloc))
        proxy = _proxy(named) if named and not bypassed else None
        return cls(url, parts.hostname, parts.port or (443 if secure else 80), secure, ca, timeout, proxy, bypassed)

    @property
    def netloc(self) -> str:
        """What goes into `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def context(self, *, verify: bool = True) -> ssl.SSLContext:
        """TLS that trusts what is trusted here; without `verify` anybody, for finding out who answers."""
        if not verify:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        return ssl.create_default_context(cafile=self.ca or None)

    def plain(self, host: str = "") -> socket.socket:
        """A TCP connection to the endpoint, or to another name at its port; Blocked when there is none."""
        host = host or self.host
        if self.proxy is None:
            return _dial(host, self.port, self.timeout)
        name, port, authorization = self.proxy
        connection = _dial(name, port, self.timeout)
        if not self.secure:
            return connection
        try:
            self._tunnel(connection, host, authorization)
        except (OSError, Blocked) as fault:
            connection.close()
            raise Blocked(f"the proxy {name}:{port} does not lead to {host}:{self.port}: {fault}") from fault
        return connection

    def _tunnel(self, connection: socket.socket, host: str, authorization: str) -> None:
        target = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        extra = f"Proxy-Authorization: {authorization}\r\n" if authorization else ""
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{extra}\r\n".encode("latin-1"))
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(1)  # what follows the head is TLS's
            if not piece or len(head) > LONGEST_HEAD:
                raise Blocked("it hung up")
            head += piece
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
        if len(words) < 2 or words[1] != "200":
            raise Blocked(f"it answers {' '.join(words[1:])[:100]}")

    @contextmanager
    def connection(self, *, host: str = "", verify: bool = True) -> Iterator[socket.socket]:
        """A connection ready for HTTP; ssl.SSLError, OSError or Blocked when there is none."""
        plain = self.plain(host)
        try:
            if self.secure:
                with self.context(verify=verify).wrap_socket(plain, server_hostname=host or self.host) as secure:
                    yield secure
            else:
                yield plain
        finally:
            plain.close()

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, verify: bool = True
    ) -> Answer:
        """One request on a connection of its own."""
        with self.connection(verify=verify) as socket_:
            spoken = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
            spoken.sock = socket_
            target = f"{self.url}{path}" if self.proxy is not None and not self.secure else path
            try:
                spoken.request(method, target, body, {"Host": self.netloc, "Connection": "close", **headers})
                response = spoken.getresponse()
                content = response.read(LONGEST_ANSWER)
            except http.client.HTTPException as fault:
                raise Blocked(f"the answer is not HTTP: {fault!r}") from fault
            return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, content)


class WebSocket:
    """The client's end of a WebSocket, message by message."""

    def __init__(self, road: Road, socket_: socket.socket, path: str, headers: Mapping[str, str]) -> None:
        from websockets.client import ClientProtocol
        from websockets.exceptions import InvalidHandshake
        from websockets.uri import parse_uri

        scheme = "wss" if road.secure else "ws"
        self._socket = socket_
        self._protocol: Any = ClientProtocol(parse_uri(f"{scheme}://{road.netloc}{path}"), max_size=None)
        request = self._protocol.connect()
        for name, value in headers.items():
            if name.lower() != "host":
                request.headers[name] = value
        self._protocol.send_request(request)
        self.refusal: Answer | None = None
        try:
            response = self._next()
        except InvalidHandshake as fault:
            raise Blocked(f"the upgrade is not answered as a WebSocket: {fault}") from fault
        if self._protocol.handshake_exc is not None:
            fields = {name.lower(): value for name, value in response.headers.raw_items()}
            self.refusal = Answer(response.status_code, fields, bytes(response.body or b""))

    def exchange(self, message: bytes) -> bytes:
        """Send a message and receive the next."""
        from websockets.frames import Opcode

        self._protocol.send_binary(message)
        received = bytearray()
        while True:
            frame = self._next()
            if frame.opcode is Opcode.CLOSE:
                raise Blocked("the WebSocket was closed")
            if frame.opcode in (Opcode.BINARY, Opcode.CONT):
                received += frame.data
                if frame.fin:
                    return bytes(received)

    def _next(self) -> Any:
        while True:
            for data in self._protocol.data_to_send():
                if data:
                    self._socket.sendall(data)
            for event in self._protocol.events_received():
                return event
            piece = self._socket.recv(64 * 1024)
            if piece:
                self._protocol.receive_data(piece)
                continue
            self._protocol.receive_eof()
            for event in self._protocol.events_received():
                return event
            raise Blocked("the connection was cut")


def _dial(host: str, port: int, timeout: float) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=timeout)
    except socket.gaierror as fault:
        raise Blocked(f"{host} has no address: {fault.strerror}") from fault
    except TimeoutError as fault:
        raise Blocked(f"{host}:{port} does not answer within {timeout:g} s") from fault
    except OSError as fault:
        raise Blocked(f"{host}:{port}: {fault.strerror or fault}") from fault


def _proxy(named: str) -> tuple[str, int, str]:
    parts = urlsplit(named if "://" in named else f"http://{named}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"the proxy {parts.scheme}://{parts.hostname} is not of the form http://HOST:PORT")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return parts.hostname, parts.port or 80, authorization
