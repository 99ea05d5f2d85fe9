"""Own agent: memory and processor time of our agent, idle and connected, against the official one's memory."""

from __future__ import annotations

import asyncio

from bench.admission import admit
from bench.agents import agents
from bench.figures import Figure, Size, at_most
from bench.processes import folder, serving

OFFICIAL_MIB = 42.8
"""Resident memory of amazon-ssm-agent 3.3 at start, recorded."""
SETTLE_SECONDS = 10.0


async def measure(size: Size) -> list[Figure]:
    """Resident memory and share of one processor over the time that idle things are watched."""
    with folder() as scratch:
        admit(scratch / "data", 1)
        async with serving(scratch / "data") as server, agents(server, scratch, 1) as (_, programs):
            process = programs[0].process
            await asyncio.sleep(0.5 if size.tiny else SETTLE_SECONDS)
            before = process.cpu_times()
            seconds = 1.0 if size.tiny else size.seconds
            await asyncio.sleep(seconds)
            after = process.cpu_times()
            used = after.user + after.system - before.user - before.system
            memory = process.memory_info().rss / 2**20
    return [
        at_most("own agent, idle: resident memory", memory, 0.6 * OFFICIAL_MIB, " MiB"),
        at_most("own agent, idle: processor", 100 * used / seconds, 0.2, " %", f"over {seconds:.0f} s"),
    ]
