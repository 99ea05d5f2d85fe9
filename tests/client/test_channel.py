"""A session's stream over links that break: resumed without a lost byte, given up when it is over; slow readers."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from fleetward import client
from fleetward.client import Fleet, Refused, Session, SessionFailed, Timing
from fleetward.protocol.frame import PayloadType
from fleetward.protocol.sigv4 import Credentials
from tests.client.far_end import NODE, SESSION, FarEnd, served, silent

QUICK = Timing(opening=5, quiet=0.2, patience=1)


def fleet_of(end: FarEnd, timing: Timing = QUICK) -> Fleet:
    """The client of a far end."""
    return client.connect(end.endpoint, Credentials("AKIA", "secret"), region="us-east-1", timing=timing)


def play(end: FarEnd, script: Callable[[Session], Awaitable[None]], timing: Timing = QUICK) -> None:
    """Run a script in a session."""

    async def whole() -> None:
        async with await fleet_of(end, timing).start_session(NODE) as session:
            await script(session)

    with served(end):
        asyncio.run(asyncio.wait_for(whole(), 30))


async def exactly(session: Session, size: int) -> bytes:
    """So many bytes of what comes, or a few more."""
    taken = b""
    while len(taken) < size:
        piece = await session.receive()
        assert piece
        taken += piece
    return taken


@pytest.mark.parametrize("is_ours", [True, False], ids=["our agent", "official agent"])
def test_no_byte_is_lost_or_doubled_while_links_break(is_ours: bool) -> None:
    end = FarEnd(is_ours=is_ours)
    data = os.urandom(600_000)

    async def script(session: Session) -> None:
        sending = asyncio.create_task(session.send(data))
        taken = b""
        for number in range(1, 7):
            taken += await exactly(session, number * len(data) // 8 - len(taken))
            end.cut()
            while end.openings == number:
                await asyncio.sleep(0.005)
        assert taken + await exactly(session, len(data) - len(taken)) == data
        await sending

    play(end, script)
    assert (end.openings, len(end.called("ResumeSession"))) == (7, 6)


def test_a_peer_that_fell_silent_is_replaced() -> None:
    """Half-open: the far end swallows everything and answers nothing, as behind a box that lost its state."""
    end = FarEnd()

    async def script(session: Session) -> None:
        await session.send(b"a")
        assert await exactly(session, 1) == b"a"
        end.deafen()
        await session.send(b"b")
        assert await exactly(session, 1) == b"b"

    play(end, script)
    assert end.openings == 2


def test_an_agent_without_handshake_is_a_shell() -> None:
    end = FarEnd(handshake=False)

    async def script(session: Session) -> None:
        assert await session.receive() == b"$ "
        await session.send(b"x")
        assert await session.receive() == b"x"

    end.send(PayloadType.OUTPUT, b"$ ")
    play(end, script)


def test_the_session_is_encrypted_with_a_key_of_the_control_plane() -> None:
    end = FarEnd(key_id="alias/sessions")

    async def script(session: Session) -> None:
        await session.send(b"secret")
        assert await exactly(session, 6) == b"secret"

    play(end, script)
    (asked,) = end.called("GenerateDataKey")
    assert (asked["KeyId"], asked["NumberOfBytes"]) == ("alias/sessions", 64)
    context = asked["EncryptionContext"]
    assert (context["aws:ssm:SessionId"], context["aws:ssm:TargetId"]) == (SESSION, NODE)


def failing(end: FarEnd, match: str, timing: Timing = QUICK) -> None:
    """A session that does not come about, for this reason."""

    async def script(session: Session) -> None:
        raise AssertionError

    with pytest.raises((SessionFailed, Refused), match=match):
        play(end, script, timing)


def test_a_key_that_is_refused_fails_the_session() -> None:
    end = FarEnd(key_id="alias/forbidden")
    end.refuse["GenerateDataKey"] = (400, "AccessDeniedException")
    failing(end, "AccessDenied")
    assert end.called("TerminateSession")


def test_a_refused_start_says_why() -> None:
    end = FarEnd()
    end.refuse["StartSession"] = (400, "TargetNotConnected")
    failing(end, "TargetNotConnected")


def test_a_node_that_does_not_come_is_not_waited_for_for_ever() -> None:
    end = FarEnd(answers=False)
    failing(end, "did not answer", dataclasses.replace(QUICK, opening=0.3))
    assert end.called("TerminateSession")


def test_a_session_that_ends_before_it_begins_says_why_without_driving_the_terminal() -> None:
    end = FarEnd(answers=False)
    end.end("no user \x1b]0;x\x07")
    failing(end, r"no user \?\]0;x\?")


def lost(end: FarEnd, script_after: Callable[[Session], Coroutine[Any, Any, None]]) -> None:
    """Cut a session, then look what becomes of it."""

    async def script(session: Session) -> None:
        end.cut()
        await script_after(session)

    play(end, script)


@pytest.mark.parametrize("code", ["DoesNotExistException", "AccessDeniedException"])
def test_a_session_that_may_not_be_resumed_is_over_at_once(code: str) -> None:
    end = FarEnd()
    end.refuse["ResumeSession"] = (400, code)

    async def over(session: Session) -> None:
        with pytest.raises(SessionFailed, match=code):
            await session.collect(1)

    lost(end, over)
    assert len(end.called("ResumeSession")) == 1


def test_patience_ends_and_a_server_that_comes_back_in_time_is_found() -> None:
    end = FarEnd()
    end.refuse["ResumeSession"] = (503, "ServiceUnavailableException")

    async def back(session: Session) -> None:
        await asyncio.sleep(0.4)
        end.refuse.clear()
        await session.send(b"here")
        assert await exactly(session, 4) == b"here"
        end.refuse["ResumeSession"] = (503, "ServiceUnavailableException")
        end.cut()
        began = time.monotonic()
        with pytest.raises(SessionFailed, match="could not be made again"):
            await session.collect(1)
        assert time.monotonic() - began < 10

    lost(end, back)


def test_a_reader_that_is_slow_holds_the_node_back_and_loses_nothing_at_the_end() -> None:
    """Also when the session is over before he has read."""
    end = FarEnd(silent)
    piece = os.urandom(64 * 1024)

    async def script(session: Session) -> None:
        for _ in range(400):
            end.send(PayloadType.OUTPUT, piece)
        await asyncio.sleep(0.5)
        end.end()
        assert await exactly(session, 400 * len(piece)) == piece * 400
        assert await session.receive() == b""

    play(end, script)


def test_a_stream_that_is_none_ends_the_session() -> None:
    end = FarEnd(silent)

    async def script(session: Session) -> None:
        end.babble(b"\x00" * 200)
        with pytest.raises(SessionFailed, match="broken"):
            await session.collect(1)

    play(end, script)
    assert end.called("TerminateSession")
