"""Real agents: one command on 20 agents of ours, against Salt's and Ansible's recorded times for the same."""

from __future__ import annotations

import asyncio
import time

from bench.admission import admit
from bench.agents import agents
from bench.client import Api
from bench.figures import Figure, Size, at_least, median
from bench.processes import folder, serving

SALT_SECONDS = 2.8
ANSIBLE_SECONDS = 9.4
"""Recorded on the reference machine with 20 minions, and 20 hosts over SSH."""


async def measure(size: Size) -> list[Figure]:
    """From SendCommand until every result is stored and read."""
    count = size.of(20, 2)
    with folder() as scratch:
        admit(scratch / "data", 1)
        async with (
            serving(scratch / "data") as server,
            agents(server, scratch, count) as (ids, _),
            server.api() as api,
        ):
            await _run(api, ids)
            taken = median([await _run(api, ids) for _ in range(size.rounds)])
    return [
        at_least("one command on 20 real agents, by Salt", SALT_SECONDS / taken, 20, " x", f"{taken:.3f} s"),
        at_least("one command on 20 real agents, by Ansible", ANSIBLE_SECONDS / taken, 50, " x", f"{taken:.3f} s"),
    ]


async def _run(api: Api, ids: list[str]) -> float:
    started = time.perf_counter()
    request = {
        "InstanceIds": ids,
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["echo hello"]},
        "MaxConcurrency": "100%",
    }
    command = (await api.call("SendCommand", request))["Command"]
    while command["Status"] in ("Pending", "InProgress"):
        await asyncio.sleep(0.005)
        command = (await api.call("ListCommands", {"CommandId": command["CommandId"]}))["Commands"][0]
        if time.perf_counter() - started > 60:
            break
    if command["Status"] != "Success":
        raise RuntimeError(f"the command did not succeed: {command}")
    found = await api.call("ListCommandInvocations", {"CommandId": command["CommandId"], "Details": True})
    outputs = [each["CommandPlugins"][0]["Output"].strip() for each in found["CommandInvocations"]]
    if outputs != ["hello"] * len(ids):
        raise RuntimeError(f"not the results of the command: {outputs}")
    return time.perf_counter() - started
