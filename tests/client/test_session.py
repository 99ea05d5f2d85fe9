"""Sessions as programs use them: output of both kinds, exit codes, sizes, limits."""

from __future__ import annotations

import asyncio

import pytest

from fleetward.client import Finished, Session, SessionFailed
from fleetward.client.session import read_exit_code
from fleetward.protocol.frame import PayloadType
from tests.client.far_end import NODE, FarEnd, served
from tests.client.test_channel import fleet_of, play


def prints(end: FarEnd, payload_type: int, payload: bytes) -> None:
    """A program that prints on both streams when something is typed, and ends with 3."""
    end.send(PayloadType.OUTPUT, b"out ")
    end.send(PayloadType.STANDARD_ERROR, b"err")
    end.send(PayloadType.OUTPUT, b"put")
    end.send(PayloadType.EXIT_CODE, b"EXIT_CODE: 3")
    end.end()


def test_output_errors_and_exit_code_are_told_apart() -> None:
    async def script(session: Session) -> None:
        await session.send(b"go\n")
        assert await session.collect(100) == Finished(3, b"out put", b"err")
        assert await session.wait() == 3
        with pytest.raises(SessionFailed):
            await session.send(b"more")

    play(FarEnd(prints), script)


def test_sizes_and_keys_arrive_in_order_and_large_pastes_whole() -> None:
    end = FarEnd(is_ours=False)
    paste = b"".join(b"line %d\n" % number for number in range(5000))

    async def script(session: Session) -> None:
        session.resize(111, 33)
        await session.send(paste)
        taken = b""
        while len(taken) < len(paste):
            taken += await session.receive()
        assert taken == paste

    play(end, script)
    assert end.sizes() == [{"cols": 111, "rows": 33}]
    assert end.received[0][0] == PayloadType.SIZE
    assert end.typed() == paste


def test_a_command_whose_session_is_ended_has_not_ended_well() -> None:
    end = FarEnd()

    async def script(session: Session) -> None:
        end.end("Terminated by alice.")
        with pytest.raises(SessionFailed, match="Terminated by alice"):
            await session.collect(100)

    play(end, script)


def test_a_command_that_prints_too_much_is_ended() -> None:
    end = FarEnd(prints)

    async def script(session: Session) -> None:
        await session.send(b"go\n")
        with pytest.raises(SessionFailed, match="more than 3 bytes"):
            await session.collect(3)

    play(end, script)


def test_a_port_is_no_program() -> None:
    async def whole() -> None:
        with pytest.raises(SessionFailed, match="open a tunnel"):
            await fleet_of(end).start_session(NODE)

    with served(FarEnd(session_type="Port", properties={"portNumber": "22"})) as end:
        asyncio.run(whole())


@pytest.mark.parametrize(
    ("payload", "code"), [(b"EXIT_CODE: 0", 0), (b"EXIT_CODE: 130\n", 130), (b"EXIT_CODE: ", None), (b"7", None)]
)
def test_exit_codes_are_read(payload: bytes, code: int | None) -> None:
    assert read_exit_code(payload) == code
