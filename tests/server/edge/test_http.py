"""HTTP: names, addresses, ports and proxies."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetward.server.edge.http import listen, server_names, split_address
from fleetward.server.settings import Settings, SettingsFault
from tests.serving import ServerProcess, StartServer


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:8443", ("127.0.0.1", 8443)), ("[::1]:0", ("::1", 0)), ("a.example:1", ("a.example", 1))],
)
def test_addresses_are_host_and_port(address: str, parts: tuple[str, int]) -> None:
    """IPv6 stands in brackets."""
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", "8443", "host", "host:", "host:port", "host:99999", "::1:80", "a:1/x", "[::1"])
def test_other_addresses_are_refused_in_one_sentence(address: str) -> None:
    """The text shows the value and the form wanted."""
    with pytest.raises(SettingsFault, match="host:port"):
        split_address(address)


def test_names_begin_with_the_public_one_and_hold_loopback() -> None:
    """Wildcard addresses name nobody."""
    settings = Settings(
        data=Path("x"), listen=("0.0.0.0:1", "10.0.0.5:1"), name=("a.example",), public_url="https://fleet.example:8443"
    )
    assert server_names(settings) == ["fleet.example", "a.example", "10.0.0.5", "localhost", "127.0.0.1", "::1"]


def test_a_taken_port_gives_one_clear_sentence() -> None:
    """Which address, why, what to do."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(SettingsFault, match=rf"cannot listen on {address}: the port is already in use"):
            listen(address)


def refused_start(server: ServerProcess, *arguments: str) -> str:
    """The one line that a server says that cannot start."""
    process = server.spawn(*arguments)
    assert process.wait(20) == 1
    assert process.stdout is not None
    assert process.stdout.read() == ""
    process.stdout.close()
    lines = server.log.read_text().strip().splitlines()
    said = [line for line in lines if not line.startswith(("{", "root credentials are in"))]
    assert "Traceback" not in "\n".join(lines)
    assert len(said) == 1, lines
    return said[0]


def test_a_server_without_its_port_ends_with_one_sentence(serving: ServerProcess, start_server: StartServer) -> None:
    """Exit code 1, nothing on standard output."""
    server = start_server(run=False, listen=f"127.0.0.1:{serving.port}")
    assert "already in use" in refused_start(server)


def test_plain_http_is_for_loopback_alone(start_server: StartServer) -> None:
    """Another address is refused at the start."""
    assert "loopback" in refused_start(start_server(run=False), "--http", "0.0.0.0:0")


def test_plain_http_answers_on_loopback(start_server: StartServer) -> None:
    """The same API on the second port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start_server("--http", f"127.0.0.1:{port}")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b"ok\n"
    connection.close()


def test_ipv6_is_served(start_server: StartServer) -> None:
    """Certificate, announced address and signed calls."""
    server = start_server(listen="[::1]:0")
    assert server.url.startswith("https://[::1]:")
    assert server.call("DescribeActivations", {}, server.root).status == 200


@pytest.mark.parametrize("host", ["evil.example", "", "127.0.0.1.evil.example", "[::1", "localhost.evil", "256.1.1.1"])
def test_unknown_host_names_are_misdirected(serving: ServerProcess, host: str) -> None:
    """421, whatever the path; the answer says what to set."""
    for path in ("/", "/healthz", "/v1/control-channel/mi-1"):
        answer = serving.raw("GET", path, headers={"Host": host})
        assert answer.status in (400, 421), answer
        if answer.status == 421:
            assert b"--name" in answer.body


def test_names_below_the_own_are_served(serving: ServerProcess) -> None:
    """AWS programs put service and region in front of the endpoint's name."""
    for host in (f"ssm.us-east-1.localhost:{serving.port}", "LOCALHOST", f"127.0.0.1:{serving.port}", "[::1]:1"):
        assert serving.raw("GET", "/healthz", headers={"Host": host}).status == 200


def seen_address(server: ServerProcess, forwarded: str) -> str:
    """The caller's address as the log has it."""
    headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "http", "Forwarded": f"for={forwarded}"}
    answer = server.call("DescribeActivations", {}, server.root, headers=headers)
    assert answer.status == 200
    request_id = answer.headers["x-amzn-requestid"]
    return str(server.logged_request(request_id=request_id)["source_ip"])


def test_forwarded_headers_count_from_trusted_proxies_alone(serving: ServerProcess, start_server: StartServer) -> None:
    """The last address of the list, the one the proxy itself saw; nonsense is not believed."""
    assert seen_address(serving, "203.0.113.9") == "127.0.0.1"
    behind = start_server(trusted_proxy="127.0.0.0/8")
    assert seen_address(behind, "198.51.100.1, 203.0.113.9") == "203.0.113.9"
    assert seen_address(behind, "nonsense") == "127.0.0.1"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", ["TLSv1.1", "TLSv1.2", "TLSv1.3"])
def test_only_tls_1_2_and_later_is_spoken(serving: ServerProcess, version: str) -> None:
    """1.1 fails in the handshake."""
    context = serving.tls()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    with serving.plain_socket() as plain:
        if version == "TLSv1.1":
            with pytest.raises(OSError):
                context.wrap_socket(plain, server_hostname=serving.host)
            return
        with context.wrap_socket(plain, server_hostname=serving.host) as secure:
            assert secure.version() == version


def test_logs_are_json_with_request_ids_and_without_secrets(serving: ServerProcess) -> None:
    """One line for a request; neither activation code nor session token nor signature occurs."""
    activation_id, code = serving.activation()
    assert activation_id
    keys = serving.role("Administrator")
    answer = serving.call("ListNodes", {}, keys)
    text = serving.log.read_text()
    assert all(line.startswith(("{", "root credentials are in")) for line in text.splitlines())
    line = serving.logged_request(request_id=answer.headers["x-amzn-requestid"])
    assert line["operation"] == "ssm:ListNodes"
    assert line["status"] == 200
    assert line["caller"].endswith(":assumed-role/Administrator/tester")
    for secret in (code, keys.session_token, keys.secret_access_key, serving.root.secret_access_key, "Signature="):
        assert secret is not None
        assert secret not in text


def test_answers_carry_no_name_of_a_program(serving: ServerProcess) -> None:
    """Neither Server nor stack of anything."""
    assert "server" not in serving.raw("GET", "/healthz").headers


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost/healthz?a HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA\x00: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_a_4xx(serving: ServerProcess, request_bytes: bytes) -> None:
    """Or is closed; never a 5xx, and the server goes on."""
    with serving.tls_socket() as client:
        client.sendall(request_bytes)
        client.settimeout(5)
        answer = client.recv(65536)
    assert not answer or b" 4" in answer.split(b"\r\n")[0], answer[:200]
    assert serving.raw("GET", "/healthz").status == 200


def test_no_answer_leaks_a_failure(serving: ServerProcess) -> None:
    """Nothing of the session so far was logged as an error of ours."""
    assert [json.dumps(line)[:3000] for line in serving.logged() if line["level"] == "error"] == []


@pytest.fixture(autouse=True)
def _still_serving(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "serving" in request.fixturenames:
        server: ServerProcess = request.getfixturevalue("serving")
        assert server.process is not None
        assert server.process.poll() is None
