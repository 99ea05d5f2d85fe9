"""The nursery: sessions forked from it go on without it, and it is begun again when it is gone."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from fleetward.agent.sessions.nursery import Nursery
from tests.agent.machine import alive, until
from tests.agent.sessions.far_end import FarEnd, commands, content


def parent(far: FarEnd) -> int:
    """The process that a session's process was forked from."""
    assert far.process is not None
    return int(Path(f"/proc/{far.process.pid}/stat").read_text().rpartition(")")[2].split()[1])


async def says(far: FarEnd, word: str) -> None:
    """The session's shell answers."""
    await far.begun()
    far.type(f"echo {word[0]}''{word[1:]}\n".encode())
    await far.expect(f"{word}\r\n".encode())


def test_sessions_share_a_nursery_and_do_without_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        nursery = Nursery()
        first, second, third = (FarEnd(tmp_path / name, nursery=nursery) for name in ("1", "2", "3"))
        shell = content(commands("exec sh"))
        async with asyncio.timeout(60), first.session(shell), second.session(shell):
            await says(first, "one")
            await says(second, "two")
            assert parent(first) == parent(second) != os.getpid()
            nursery_pid = parent(first)
            os.kill(nursery_pid, signal.SIGKILL)
            await says(first, "still")
            async with third.session(shell):
                await says(third, "three")
                assert parent(third) != nursery_pid
                nursery.end()
                await says(third, "again")
                third.type(b"exit\n")
                assert (await third.ended())["status"] == "Success"

    asyncio.run(scenario())


def test_a_forked_session_waits_for_its_own_and_is_killed_with_its_group(tmp_path: Path) -> None:
    async def scenario() -> None:
        nursery = Nursery()
        far = FarEnd(tmp_path, nursery=nursery)
        async with asyncio.timeout(60), far.session(content(commands("sh -c 'exit 7'", interactive=False))):
            assert (await far.ended())["status"] == "Success"
        far = FarEnd(tmp_path / "2", nursery=nursery)
        async with asyncio.timeout(60), far.session(content(commands("exec sleep 100"))):
            await far.begun()
            assert far.process is not None
            assert far.process.pid is not None
            os.kill(far.process.pid, signal.SIGKILL)
            result = await far.ended()
            assert result["status"] == "Failed"
            assert "ended before" in result["output"]
            await until(lambda: not alive(far.process.pid))  # type: ignore[arg-type, union-attr]
        nursery.end()

    asyncio.run(scenario())
