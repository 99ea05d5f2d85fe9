"""Transfer: one client for both sides of the comparison: bytes up and down over one TLS connection, plain sockets."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from fleetward.protocol import sigv4
from fleetward.protocol.sigv4 import Credentials

PIECE = 256 * 1024


class Place(NamedTuple):
    """A server as the client needs to know it."""

    url: str
    ca: Path
    root: Credentials

    def connect(self, port: int = 0) -> ssl.SSLSocket:
        """A TLS connection to it, or to another port of its host."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        context = ssl.create_default_context(cafile=str(self.ca))
        return context.wrap_socket(socket.create_connection((host, port or parts.port or 0)), server_hostname=host)

    def head(self, method: str, path: str, length: int = 0) -> bytes:
        """The head of an S3 request that is the connection's only one."""
        headers = {"Host": urlsplit(self.url).netloc, "Content-Length": str(length), "Connection": "close"}
        bare, _, query = path.partition("?")
        headers |= sigv4.sign_headers(
            self.root, method=method, url_path=bare, query=query, headers=headers, payload_hash=sigv4.UNSIGNED_PAYLOAD,
            region="us-east-1", service="s3", now=datetime.now(UTC),
        )  # fmt: skip
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def s3_up(place: Place, path: str, file: Path, repeat: int = 1) -> float:
    """PUT a file, or it several times over; bytes a second."""
    size = file.stat().st_size * repeat
    started = time.perf_counter()
    with place.connect() as connection:
        connection.sendall(place.head("PUT", path, size))
        for _ in range(repeat):
            _send(connection, file)
        answer = connection.recv(4096)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the upload was refused: {answer[:500]!r}")
    return size / (time.perf_counter() - started)


def s3_down(place: Place, path: str, size: int) -> float:
    """GET an object; bytes a second."""
    started = time.perf_counter()
    with place.connect() as connection:
        connection.sendall(place.head("GET", path))
        received = _drain(connection)
    if received < size:
        raise RuntimeError(f"{received} of {size} bytes came")
    return size / (time.perf_counter() - started)


def openssl_up(place: Place, port: int, file: Path, target: Path) -> float:
    """Send a file to `openssl s_server`, which writes it to a file of the same disk; bytes a second, disk included."""
    certificate = ["-cert", str(place.ca.with_name("server.pem")), "-key", str(place.ca.with_name("server.key"))]
    with target.open("wb") as out:
        arguments = ["openssl", "s_server", "-quiet", "-naccept", "1", "-accept", str(port), *certificate]
        server = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        started = time.perf_counter()
        with place.connect(port) as connection:
            _send(connection, file)
        server.wait(60)
        os.fsync(out.fileno())
        return file.stat().st_size / (time.perf_counter() - started)


def openssl_down(place: Place, port: int, file: Path) -> float:
    """Fetch a file from `openssl s_server`; bytes a second."""
    certificate = ["-cert", str(place.ca.with_name("server.pem")), "-key", str(place.ca.with_name("server.key"))]
    arguments = ["openssl", "s_server", "-WWW", "-naccept", "1", "-accept", str(port), *certificate]
    server = subprocess.Popen(
        arguments, cwd=file.parent, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.5)
        started = time.perf_counter()
        with place.connect(port) as connection:
            connection.sendall(f"GET /{file.name} HTTP/1.0\r\n\r\n".encode())
            _drain(connection)
        return file.stat().st_size / (time.perf_counter() - started)
    finally:
        server.kill()
        server.wait()


def _send(connection: ssl.SSLSocket, file: Path) -> None:
    with file.open("rb") as source:
        while piece := source.read(PIECE):
            connection.sendall(piece)


def _drain(connection: ssl.SSLSocket) -> int:
    buffer, received = bytearray(PIECE), 0
    while taken := connection.recv_into(buffer):
        received += taken
    return received
