"""The HTTP client against real servers: every framing, every bound, TLS by one CA alone, proxies."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent.client import trust_only
from fleetward.agent.http import HttpFault, Url, request
from fleetward.server.certificates import prepare
from tests.agent.machine import run

HEADERS = {"Host": "test"}


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with method, path and body; /chunked in chunks."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        text = f"{self.command} {self.path} ".encode() + body
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (text, b"and more"):
                self.wfile.write(f"{len(piece):x};note=1\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\nTrailer: x\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key for 127.0.0.1, each its own CA."""
    folder = tmp_path_factory.mktemp("tls")
    prepare(folder, ["127.0.0.1", "cp.test"], ["us-east-1"], datetime.now(UTC))
    return folder


@pytest.fixture(scope="module")
def echo(certificate: Path) -> Iterator[Url]:
    """An HTTPS server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.pem", certificate / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Url("https", "127.0.0.1", server.server_port)
    server.shutdown()
    server.server_close()
    thread.join()


@asynccontextmanager
async def saying(data: bytes, *, hang: bool = False) -> AsyncIterator[Url]:
    """A plain server that says `data` to everybody, then closes or hangs."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        if hang:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    yield Url("http", "127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()


def test_a_body_goes_and_comes_back_over_tls(echo: Url, certificate: Path, tmp_path: Path) -> None:
    trust = trust_only(certificate / "ca.pem")
    assert run(request(echo, "POST", "/x?y=1", HEADERS, b"body", trust=trust)).body == b"POST /x?y=1 body"
    assert run(request(echo, "POST", "/chunked", HEADERS, b"body", trust=trust)).body == b"POST /chunked bodyand more"
    (tmp_path / "file").write_bytes(b"z" * 1_000_000)
    answer = run(request(echo, "PUT", "/file", HEADERS, tmp_path / "file", trust=trust))
    assert answer.status == 200
    assert answer.body == b"PUT /file " + b"z" * 1_000_000


def test_no_other_certificate_is_believed(echo: Url, tmp_path: Path) -> None:
    prepare(tmp_path, ["127.0.0.1"], ["us-east-1"], datetime.now(UTC))
    with pytest.raises(HttpFault, match="CERTIFICATE_VERIFY_FAILED"):
        run(request(echo, "GET", "/", HEADERS, trust=trust_only(tmp_path / "ca.pem")))


def test_the_name_in_the_certificate_must_fit(echo: Url, certificate: Path) -> None:
    other = Url("https", "localhost", echo.port)
    trust = trust_only(certificate / "ca.pem")
    with pytest.raises(HttpFault, match=r"(?i)hostname mismatch|not valid for"):
        run(request(other, "GET", "/", HEADERS, trust=trust))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000,
    ],
)
def test_what_is_no_answer_or_too_much_is_refused(data: bytes) -> None:
    async def work() -> None:
        async with saying(data) as url:
            with pytest.raises(HttpFault):
                await request(url, "GET", "/", HEADERS, trust=None, limit=1000)

    run(work())


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    async def work() -> None:
        async with saying(b"HTTP/1.1 200 OK\r\n", hang=True) as url:
            with pytest.raises(HttpFault, match="no answer"):
                await request(url, "GET", "/", HEADERS, trust=None, seconds=0.1)

    run(work())


def test_interim_answers_are_passed_over() -> None:
    async def work() -> None:
        async with saying(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as url:
            assert (await request(url, "GET", "/", HEADERS, trust=None)).body == b"ok"

    run(work())


def test_nobody_there_is_said_so() -> None:
    with pytest.raises(HttpFault, match=r"no connection to 127\.0\.0\.1:9"):
        run(request(Url("http", "127.0.0.1", 9), "GET", "/", HEADERS, trust=None))


def test_a_header_with_a_line_break_is_not_sent() -> None:
    async def work() -> None:
        async with saying(b"HTTP/1.1 200 OK\r\n\r\n") as url:
            with pytest.raises(HttpFault, match="line break"):
                await request(url, "GET", "/", {"Host": "a\r\nEvil: b"}, trust=None)

    run(work())


@asynccontextmanager
async def proxy(to_port: int, seen: list[str]) -> AsyncIterator[int]:
    """A CONNECT proxy that leads everything to one port of this machine."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(head)
        if "Proxy-Authorization: Basic dXNlcjp3b3Jk" not in head:
            writer.write(b"HTTP/1.1 407 Who are you\r\n\r\n")
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to_port)
        writer.write(b"HTTP/1.1 200 Here you are\r\n\r\n")
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def test_https_goes_through_the_proxy_and_is_checked_behind_it(
    echo: Url, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Url("https", "cp.test", 8443)
    trust = trust_only(certificate / "ca.pem")

    async def work() -> None:
        seen: list[str] = []
        async with proxy(echo.port, seen) as port:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{port}")
            answer = await request(target, "POST", "/through", HEADERS, b"body", trust=trust)
            assert answer.body == b"POST /through body"
            assert seen[0].startswith("CONNECT cp.test:8443 HTTP/1.1\r\n")
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:wrong@127.0.0.1:{port}")
            with pytest.raises(HttpFault, match="407"):
                await request(target, "GET", "/", HEADERS, trust=trust)
            monkeypatch.setenv("NO_PROXY", "cp.test")
            with pytest.raises(HttpFault, match="no connection"):
                await request(target, "GET", "/", HEADERS, trust=trust)

    run(work())


@pytest.mark.parametrize("text", ["ftp://x", "x", "https://", "https://x:y"])
def test_only_http_addresses_are_addresses(text: str) -> None:
    with pytest.raises(ValueError):
        Url.parse(text)


def test_the_usual_port_is_not_written() -> None:
    assert Url.parse("https://cp.example").host_header == "cp.example"
    assert Url.parse("https://cp.example:8443/x").host_header == "cp.example:8443"
    assert Url.parse("https://[::1]:8443").host_header == "[::1]:8443"
