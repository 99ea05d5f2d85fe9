"""Signed calls: errors in all forms, what is tried again and what is not, clocks that are wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from fleetward.agent import chance
from fleetward.agent.client import Client, Endpoint, ServiceFault, fault_of
from fleetward.agent.http import Answer, HttpFault, Url
from fleetward.protocol.sigv4 import Credentials
from tests.agent.machine import run


class Keys:
    """Temporary keys that are new after each rejection."""

    def __init__(self) -> None:
        self.rejected = 0

    async def current(self) -> Credentials:
        return Credentials(f"ASIA{self.rejected}", "secret", "token")

    def reject(self, credentials: Credentials) -> None:
        self.rejected += 1


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[Client, Keys, list[str]]]:
    """A client of a server that gives these answers, one after another."""
    waiting, heads = list(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(waiting.pop(0))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = Url("http", "127.0.0.1", server.sockets[0].getsockname()[1])
    keys = Keys()
    yield Client(Endpoint(url, None, "us-east-1"), "mi-0123456789abcdef0", keys), keys, heads
    server.close()


def said(status: int, body: object = None, **headers: str) -> bytes:
    data = json.dumps(body or {}).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", *[f"{n}: {v}" for n, v in headers.items()], "", ""]
    return "\r\n".join(lines).encode() + data


def refused(code: str, status: int = 400, **headers: str) -> bytes:
    return said(status, {"__type": f"com.amazonaws#{code}", "message": "because"}, **headers)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chance, "between", lambda least, most: 0.0)


@pytest.mark.parametrize("first", [refused("ThrottlingException"), refused("InternalServerError", 500), b"", said(503)])
def test_what_may_pass_is_tried_again(first: bytes) -> None:
    async def work() -> None:
        async with answering(first, first, said(200, {"ok": 1})) as (client, _, heads):
            assert await client.ssm("X", {}) == {"ok": 1}
            assert len(heads) == 3

    run(work())


def test_trying_again_ends() -> None:
    async def work() -> None:
        async with answering(*[refused("ThrottlingException")] * 4) as (client, _, heads):
            with pytest.raises(ServiceFault, match="ThrottlingException"):
                await client.ssm("X", {})
            assert len(heads) == 4

    run(work())


def test_a_refusal_is_final_and_named() -> None:
    async def work() -> None:
        async with answering(refused("AccessDeniedException")) as (client, _, _heads):
            with pytest.raises(ServiceFault) as raised:
                await client.ssm("X", {})
            assert (raised.value.code, raised.value.message) == ("AccessDeniedException", "because")

    run(work())


def test_stale_keys_are_replaced_once() -> None:
    async def work() -> None:
        stale = refused("ExpiredTokenException")
        async with answering(stale, said(200)) as (client, keys, heads):
            assert await client.ssm("X", {}) == {}
            assert keys.rejected == 1
            assert "Credential=ASIA0/" in heads[0]
            assert "Credential=ASIA1/" in heads[1]
        async with answering(stale, stale) as (client, keys, heads):
            with pytest.raises(ServiceFault):
                await client.ssm("X", {})

    run(work())


def test_a_wrong_clock_is_mended_by_the_answer() -> None:
    async def work() -> None:
        theirs = datetime.now(UTC) + timedelta(hours=3)
        late = refused("InvalidSignatureException", Date=format_datetime(theirs, usegmt=True))
        async with answering(late, said(200)) as (client, _, heads):
            assert await client.ssm("X", {}) == {}
            assert f"X-Amz-Date: {theirs:%Y%m%dT%H}" in heads[1]

    run(work())


def test_a_wrong_signature_with_a_right_clock_is_final() -> None:
    async def work() -> None:
        wrong = refused("InvalidSignatureException", Date=format_datetime(datetime.now(UTC), usegmt=True))
        async with answering(wrong) as (client, _, _heads):
            with pytest.raises(ServiceFault):
                await client.ssm("X", {})

    run(work())


@pytest.mark.parametrize("body", [b"[]", b"x", b'"x"'])
def test_an_answer_that_is_no_object_is_no_answer(body: bytes) -> None:
    async def work() -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        async with answering(answer) as (client, _, _heads):
            with pytest.raises(HttpFault):
                await client.ssm("X", {})

    run(work())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"__type":"x#ThrottlingException"}', "ThrottlingException"),
        (b"<AccessDeniedException><Message>no &amp; no</Message></AccessDeniedException>", "AccessDeniedException"),
        (b"<ErrorResponse><Error><Code>ExpiredToken</Code></Error></ErrorResponse>", "ExpiredToken"),
        (b"<html>", "HTTP 502"),
        (b"", "HTTP 502"),
    ],
)
def test_errors_are_read_in_every_form(body: bytes, code: str) -> None:
    assert fault_of(Answer(502, {}, body)).code == code
