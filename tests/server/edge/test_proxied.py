"""A TLS port behind proxies: whose address counts, and who may say so."""

from __future__ import annotations

import json
import socket
import ssl
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from fleetward.protocol import sigv4
from fleetward.server.edge.proxy_header import SIGNATURE
from tests.serving import ServerProcess, StartServer, eventually

CLIENT = "203.0.113.9"
FIRST = f"PROXY TCP4 {CLIENT} 192.0.2.1 50000 443\r\n".encode()
SECOND = SIGNATURE + b"\x21\x11\x00\x0f" + bytes([203, 0, 113, 9, 192, 0, 2, 1, 0xC3, 0x50, 1, 0xBB]) + b"\x04\x00\x00"


@pytest.fixture(scope="module")
def behind(start_server_of_module: StartServer) -> ServerProcess:
    """A server whose proxies are on loopback."""
    return start_server_of_module(
        trusted_proxy="127.0.0.0/8", proxy_protocol="true", handshake_timeout=1, header_timeout=3
    )


def connect(server: ServerProcess, header: bytes) -> ssl.SSLSocket:
    """A connection as a proxy makes it: the header, then TLS at once."""
    plain = server.plain_socket()
    plain.sendall(header)
    return server.tls().wrap_socket(plain, server_hostname=server.host)


def post(server: ServerProcess, header: bytes, headers: dict[str, str], body: bytes, **signing: Any) -> tuple[str, str]:
    """A signed request over such a connection: head and body of its answer."""
    sent = {"Host": f"127.0.0.1:{server.port}", **headers}
    sent |= sigv4.sign_headers(
        signing.get("signer") or server.root,
        method="POST",
        url_path="/",
        query="",
        headers=sent,
        body=body,
        region="us-east-1",
        service=signing.get("service", "ssm"),
        now=datetime.now(UTC),
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    answer = b""
    with connect(server, header) as secure:
        secure.sendall(f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        secure.sendall(body)
        while piece := secure.recv(65536):
            answer += piece
    head, _, content = answer.decode().partition("\r\n\r\n")
    return head, content


def ask(server: ServerProcess, header: bytes, target: str = "AmazonSSM.ListNodes", **keys: Any) -> tuple[int, str, str]:
    """A call of JSON: status, request id, body."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    head, content = post(server, header, headers, b"{}", **keys)
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
    return int(head.split()[1]), fields["x-amzn-requestid"], content


def logged_address(server: ServerProcess, request_id: str) -> str:
    """The client of a request by the log."""
    found = eventually(lambda: [line for line in server.logged() if line.get("request_id") == request_id])
    return str(found[0]["source_ip"])


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (FIRST, CLIENT),
        (SECOND, CLIENT),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 50000 443\r\n", "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (SIGNATURE + b"\x20\x00\x00\x00", "127.0.0.1"),
    ],
)
def test_the_client_is_whom_the_proxy_names(behind: ServerProcess, header: bytes, address: str) -> None:
    """In the log, as for limits and policies; a proxy speaking for itself is the client."""
    status, request_id, _ = ask(behind, header)
    assert status == 200
    assert logged_address(behind, request_id) == address


def test_the_audit_trail_and_policies_see_the_client(behind: ServerProcess) -> None:
    """aws:SourceIp decides by the address in the header."""
    statement = {
        "Effect": "Allow",
        "Action": "ssm:*",
        "Resource": "*",
        "Condition": {"IpAddress": {"aws:SourceIp": f"{CLIENT}/32"}},
    }
    made = ask_role(behind, json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    allowed = ask(behind, FIRST, signer=made)
    assert allowed[0] == 200, allowed
    assert ask(behind, b"PROXY TCP4 203.0.113.10 192.0.2.1 50000 443\r\n", signer=made)[0] == 400

    def seen() -> bool:
        records = json.loads(ask(behind, FIRST, "Fleetward.ListAuditRecords")[2])["Records"]
        return any(json.loads(record["Body"])["sourceIPAddress"] == CLIENT for record in records)

    eventually(seen)


def ask_role(server: ServerProcess, policy: str) -> sigv4.Credentials:
    """Keys of the administrator under a session policy, asked for in the query protocol."""
    form = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleSessionName": "tester", "Policy": policy}
    body = urlencode(form | {"RoleArn": "arn:aws:iam::123456789012:role/Administrator"}).encode()
    _, text = post(server, FIRST, {"Content-Type": "application/x-www-form-urlencoded"}, body, service="sts")

    assert "<AccessKeyId>" in text, text

    def inside(name: str) -> str:
        return text.partition(f"<{name}>")[2].partition("<")[0]

    return sigv4.Credentials(inside("AccessKeyId"), inside("SecretAccessKey"), inside("SessionToken"))


@pytest.mark.parametrize("header", [b"", b"PROXY NONSENSE 1 2 3 4\r\n", SIGNATURE + b"\x31\x11\x00\x00"])
def test_a_proxy_without_a_header_is_closed(behind: ServerProcess, header: bytes) -> None:
    """Before TLS; the port goes on."""
    with pytest.raises(OSError):
        connect(behind, header)
    assert ask(behind, FIRST)[0] == 200


@pytest.mark.parametrize("begun", [b"", b"PROXY TC", SIGNATURE + b"\x21\x11\x00\x0c\x01", FIRST])
def test_who_does_not_go_on_is_closed_in_time(behind: ServerProcess, begun: bytes) -> None:
    """In the header, or between it and TLS."""
    with behind.plain_socket() as plain:
        plain.settimeout(8)
        plain.sendall(begun)
        assert plain.recv(1) == b""


def test_bytes_that_come_singly_make_a_header_too(behind: ServerProcess) -> None:
    """However the network cuts it."""
    with behind.plain_socket() as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in SECOND:
            plain.sendall(bytes([byte]))
        with behind.tls().wrap_socket(plain, server_hostname=behind.host) as secure:
            secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert secure.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_node_behind_a_proxy_opens_its_channel(behind: ServerProcess) -> None:
    """The upgrade goes by the client's address too: without signature it is refused as always."""
    with connect(behind, FIRST) as secure:
        secure.sendall(
            b"GET /v1/control-channel/mi-1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert secure.recv(65536).startswith(b"HTTP/1.1 4")


def test_others_than_proxies_are_served_without_header_and_not_believed(start_server: StartServer) -> None:
    """A header of theirs is no TLS."""
    server = start_server(trusted_proxy="192.0.2.0/24", proxy_protocol="true")
    assert server.raw("GET", "/healthz").status == 200
    with pytest.raises(OSError):
        connect(server, FIRST)


def test_connections_count_against_the_client_not_the_proxy(start_server: StartServer) -> None:
    """Two strangers' addresses have their limits each."""
    server = start_server(trusted_proxy="127.0.0.0/8", proxy_protocol="true", connections_per_address=2)
    kept = [connect(server, FIRST) for _ in range(2)]
    third = connect(server, FIRST)
    assert not answered(third)
    other = connect(server, b"PROXY TCP4 203.0.113.10 192.0.2.1 50000 443\r\n")
    assert answered(other)
    for each in (*kept, third, other):
        each.close()


def answered(connection: ssl.SSLSocket) -> bool:
    """Whether a request is answered and not cut off."""
    try:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False
