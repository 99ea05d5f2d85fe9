"""Programs: everything they print arrives, and what is to end ends with all it has started."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from fleetward.agent import process
from fleetward.agent.process import Ended, Ending, Stop, run_process, run_program
from tests.agent.machine import alive, run, until


async def shell(text: str, *, seconds: float = 30, stop: Stop | None = None) -> tuple[Ended, bytes, bytes]:
    output, errors = bytearray(), bytearray()
    ended = await run_process(
        ["sh", "-c", text],
        folder=None,
        environment=os.environ,
        on_output=output.extend,
        on_errors=errors.extend,
        seconds=seconds,
        stop=stop or Stop(),
    )
    return ended, bytes(output), bytes(errors)


def test_both_streams_and_the_exit_code_arrive() -> None:
    ended, output, errors = run(shell("echo out; echo err >&2; exit 7"))
    assert (ended, output, errors) == (Ended(Ending.EXITED, 7), b"out\n", b"err\n")


def test_much_output_arrives_whole() -> None:
    _, output, _ = run(shell("yes fleetward | head -c 3000000"))
    assert len(output) == 3_000_000


def test_a_signal_is_told_as_shells_tell_it() -> None:
    assert run(shell("kill -TERM $$"))[0] == Ended(Ending.EXITED, 143)


def test_time_out_ends_the_whole_group() -> None:
    ended, output, _ = run(shell("sleep 100 & echo $!; wait", seconds=0.3))
    assert ended == Ended(Ending.TIMED_OUT, 137)
    run(until(lambda: not alive(int(output))))


def test_cancel_ends_the_whole_group() -> None:
    async def work() -> tuple[Ended, bytes, bytes]:
        stop = Stop()
        running = asyncio.create_task(shell("sleep 100 & echo $!; wait", stop=stop))
        await asyncio.sleep(0.1)
        stop.set()
        return await running

    ended, output, _ = run(work())
    assert ended == Ended(Ending.CANCELLED, 137)
    run(until(lambda: not alive(int(output))))


def test_a_stopping_agent_takes_its_programs_along(tmp_path: Path) -> None:
    async def work() -> None:
        running = asyncio.create_task(shell(f"echo $$ > {tmp_path}/pid; exec sleep 100"))
        await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(work())
    assert not alive(int((tmp_path / "pid").read_text()))


def test_what_a_script_leaves_in_the_background_does_not_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LINGER_SECONDS", 0.1)
    begun = time.monotonic()
    ended, output, _ = run(shell("sleep 100 & echo $!"))
    assert ended == Ended(Ending.EXITED, 0)
    assert time.monotonic() - begun < 50
    assert alive(int(output))
    os.kill(int(output), 9)


def test_a_missing_program_is_an_error_and_leaks_nothing() -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def work() -> None:
        with pytest.raises(OSError, match="/no/such/program"):
            await run_process(
                ["/no/such/program"],
                folder=None,
                environment={},
                on_output=bytearray().extend,
                on_errors=bytearray().extend,
                seconds=1,
                stop=Stop(),
            )
        await shell("true")

    run(work())
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_child_reads_what_it_is_given() -> None:
    assert run(run_program(["cat"], b"given")) == (0, b"given", b"")


def test_scripts_have_a_usual_umask() -> None:
    before = os.umask(0o077)
    try:
        assert run(shell("umask"))[1].strip() == b"0022"
    finally:
        os.umask(before)
