"""The data channel: opened again after every kind of cut, given up when there is no use, and never twice."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from fleetward.agent.sessions import data_channel
from fleetward.protocol.data_channel.handshake import OUR_TERMS, Terms
from tests.agent.machine import alive
from tests.agent.sessions.far_end import SESSION_ID, FarEnd, commands, content, with_session

ENDS = pytest.mark.parametrize("terms", [OUR_TERMS, None], ids=["ours", "official"])
PID = re.compile(rb"pid (\d+)\.\r\n")
CLOSED = {"MessageType": "channel_closed", "SessionId": SESSION_ID, "SchemaVersion": 1, "Output": ""}


@ENDS
def test_a_shell_outlives_its_connection(tmp_path: Path, terms: Terms | None) -> None:
    async def work(far: FarEnd) -> None:
        await far.begun()
        far.type(b"kept=here; echo o''ne\n")
        await far.expect(b"one\r\n")
        far.cut()
        far.type(b"echo $kept t''wo\n")
        await far.expect(b"here two\r\n")
        assert far.connections == 2
        far.type(b"exit\n")
        await far.ended()

    far = with_session(tmp_path, content(commands("exec sh")), work, terms)
    assert far.states == ["Connected", "Connected", "Terminating"]


def test_a_terminated_session_is_not_opened_again(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        await far.expect(b"go")
        far.refusal = (
            400,
            b"<ValidationException><Message>Session is already terminated</Message></ValidationException>",
        )
        far.cut()
        assert await far.ended() == {"status": "Success", "output": ""}

    far = with_session(tmp_path, content(commands("echo go; sleep 100")), work)
    assert len(far.requests) == 2


def test_a_session_that_never_opens_ends_soon(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        far.refusal = (403, b"<AccessDeniedException><Message>no</Message></AccessDeniedException>")
        result = await far.ended()
        assert result["status"] == "Failed"
        assert "AccessDeniedException" in result["output"]

    far = with_session(tmp_path, content(commands("echo go")), work)
    assert len(far.requests) == data_channel.FIRST_TRIES


def test_a_server_that_fails_for_a_while_loses_nothing(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        await far.expect(b"go\r\n")
        far.refusal = (503, b"")
        far.cut()
        await far.until_asked(4)
        far.refusal = None
        far.type(b"\n")
        await far.ended()
        await far.expect(b"line 500\r\n")

    far = with_session(tmp_path, content(commands("echo go; read x; seq -f 'line %.0f' 500")), work)
    assert bytes(far.printed).count(b"line ") == 500


@pytest.mark.parametrize("on", ["data", "control"])
def test_who_closes_the_channel_ends_the_session(tmp_path: Path, on: str) -> None:
    async def work(far: FarEnd) -> None:
        await far.begun()
        far.type(b"echo pid $$.\n")
        await far.until(lambda: PID.search(far.printed))
        if on == "data":
            far.tell("channel_closed", CLOSED)
        else:
            assert far.process is not None
            far.process.close()
        assert await far.ended() == {"status": "Success", "output": ""}

    far = with_session(tmp_path, content(commands("exec sh")), work)
    found = PID.search(far.printed)
    assert found is not None
    assert not alive(int(found[1]))
    assert far.states == ["Connected", "Terminating"]


def test_while_the_client_is_away_nothing_is_sent_and_then_all_of_it(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        await far.begun()
        far.type(b"echo o''ne\n")
        await far.expect(b"one\r\n")
        far.tell("pause_publication", {})
        far.tell("start_publication", {})
        far.type(b"echo t''wo\n")
        await far.expect(b"two\r\n")

    with_session(tmp_path, content(commands("exec sh")), work, None)


def test_garbage_ends_the_session(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        await far.expect(b"go")
        far.write_raw(b"no frame")
        result = await far.ended()
        assert result["status"] == "Failed"
        assert "protocol" in result["output"]

    with_session(tmp_path, content(commands("echo go; sleep 100")), work)


def test_the_agents_own_websocket_serves_where_picows_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picows.py").write_text("raise ImportError")
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def work(far: FarEnd) -> None:
        await far.begun()
        far.type(b"echo o''ne\n")
        await far.expect(b"one\r\n")
        far.cut()
        far.type(b"seq 100000; exit\n")
        await far.ended()
        assert bytes(far.printed).endswith(b"\r\n99999\r\n100000\r\n")

    far = with_session(tmp_path, content(commands("exec sh")), work)
    assert far.connections == 2
    assert sys.modules.get("picows") is None or sys.modules["picows"].__file__ != str(tmp_path / "picows.py")


def test_the_token_is_asked_for_as_official_agents_do(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        await far.ended()

    far = with_session(tmp_path, content(commands("echo go")), work)
    ((request, headers, body),) = far.requests
    assert request == f"POST /v1/data-channel/{SESSION_ID} HTTP/1.1"
    assert "/ssmmessages/aws4_request" in headers["authorization"]
    assert set(json.loads(body)) == {"MessageSchemaVersion", "RequestId", "ClientId"}


def test_a_connection_that_answers_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-open: everything that is sent seems to go out, and nothing ever comes."""
    monkeypatch.setattr(data_channel, "LOOK_SECONDS", 0.05)

    async def scenario() -> None:
        far = FarEnd(tmp_path)
        async with asyncio.timeout(30), far.listening() as client:
            channel = data_channel.DataChannel(client, SESSION_ID, tmp_path)
            keeping = asyncio.create_task(channel.keep())
            await far.until(lambda: far.connections == 1)
            for _ in range(40):  # pings are answered, so silence alone is nothing
                await far.turn()
            assert far.connections == 1
            far.stop_reading()
            await far.until(lambda: far.connections == 2)
            keeping.cancel()

    asyncio.run(scenario())
