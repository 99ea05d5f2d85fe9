"""Agents: real agents of ours, each a process on a state folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from bench.processes import Program, Server

AT_ONCE = 4


@contextlib.asynccontextmanager
async def agents(
    server: Server, scratch: Path, count: int, *, endpoint: str = ""
) -> AsyncIterator[tuple[list[str], list[Program]]]:
    """So many agents, joined and connected, by another address of the server if need be: their node ids, processes."""
    async with server.api() as api:
        made = await api.call("CreateActivation", {"IamRole": "SSMServiceRole", "RegistrationLimit": count})
        gate = asyncio.Semaphore(AT_ONCE)

        async def join(number: int) -> str:
            async with gate:
                arguments = ["join", "--endpoint", endpoint or server.url, "--ca", str(server.ca)]
                arguments += ["--activation-id", made["ActivationId"], "--activation-code", made["ActivationCode"]]
                arguments += ["--state", str(scratch / f"agent-{number}")]
                program = Program(sys.executable, "-m", "fleetward.cli", *arguments, log=scratch / "join.log")
                await program.start()
                node_id = await program.line(120)
                await program.end()
                return node_id.split()[-1]

        ids = list(await asyncio.gather(*(join(number) for number in range(count))))
        started = []
        try:
            for number in range(count):
                arguments = ["-P", "-OO", "-m", "fleetward.agent", "--state", str(scratch / f"agent-{number}")]
                program = Program(sys.executable, *arguments, log=scratch / "agents.log")
                await program.start()
                started.append(program)
            async with asyncio.timeout(90):
                for node_id in ids:
                    while (await api.call("GetConnectionStatus", {"Target": node_id}))["Status"] != "connected":
                        await asyncio.sleep(0.2)
            yield ids, started
        finally:
            await asyncio.gather(*(program.end() for program in started))
