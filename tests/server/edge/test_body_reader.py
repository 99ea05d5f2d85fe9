"""Body reader: large bodies arrive whole, whatever follows them on the connection."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from fleetward.protocol import sigv4
from fleetward.server.edge.body_reader import FROM_BYTES
from tests.serving import REGION, ServerProcess


@pytest.mark.parametrize("size", [FROM_BYTES - 1, FROM_BYTES, FROM_BYTES * 9 + 1])
def test_requests_after_a_large_body_on_the_same_connection_are_answered(
    serving: ServerProcess, bucket: str, size: int
) -> None:
    body = os.urandom(size)
    for turn in range(3):
        put = serving.send("PUT", f"/{bucket}/k{turn}", body, {}, serving.root, service="s3")
        assert put.status == 200, put.body
        assert serving.send("GET", f"/{bucket}/k{turn}", b"", {}, serving.root, service="s3").body == body
        assert serving.call("DescribeInstanceInformation", {}, serving.root).status == 200


def test_the_next_request_may_come_with_the_end_of_a_large_body(serving: ServerProcess, bucket: str) -> None:
    body, path, host = os.urandom(FROM_BYTES + 77), f"/{bucket}/k", f"{serving.host}:{serving.port}"
    heads = []
    for method, length in (("PUT", len(body)), ("HEAD", 0)):
        sent = {"Host": host, "Content-Length": str(length)}
        added = sigv4.sign_headers(
            serving.root, method=method, url_path=path, headers=sent, payload_hash=sigv4.UNSIGNED_PAYLOAD,
            region=REGION, service="s3", now=datetime.now(UTC),
        )  # fmt: skip
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**sent, **added}.items())
        heads.append(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
    with serving.tls_socket() as connection:
        connection.sendall(heads[0] + body + heads[1])
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 2:
            piece = connection.recv(65536)
            assert piece, answers
            answers += piece
    assert f"content-length: {len(body)}".encode() in answers
