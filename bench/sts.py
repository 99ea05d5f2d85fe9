"""STS: temporary keys, as an operator gets them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from bench.client import Refused
from bench.processes import Server
from fleetward.protocol import sigv4
from fleetward.protocol.sigv4 import Credentials


async def assume(server: Server, role: str, policy: dict[str, Any]) -> Credentials:
    """Keys of a role narrowed by a session policy."""
    return await _keys(
        server,
        Action="AssumeRole",
        RoleArn=f"arn:aws:iam::123456789012:role/{role}",
        RoleSessionName="bench",
        Policy=json.dumps(policy),
    )


async def renewed(server: Server) -> Credentials:
    """Temporary keys of the same principal, root."""
    return await _keys(server, Action="GetSessionToken")


async def _keys(server: Server, **form: str) -> Credentials:
    api = server.api()
    body = urlencode({"Version": "2011-06-15", **form}).encode()
    headers = {"Host": api.url.netloc, "Content-Type": "application/x-www-form-urlencoded"}
    headers |= sigv4.sign_headers(
        server.root,
        method="POST",
        url_path="/",
        headers=headers,
        body=body,
        region="us-east-1",
        service="sts",
        now=datetime.now(UTC),
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection = await api.connect()
    message = f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
    status, answer = await connection.request(message)
    connection.close()
    if status != 200:
        raise Refused(answer.decode())
    text = answer.decode()
    return Credentials(*(_element(text, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")))


def _element(text: str, name: str) -> str:
    return text.partition(f"<{name}>")[2].partition(f"</{name}>")[0]
