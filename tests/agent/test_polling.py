"""The road by polling, against a real server: commands, results, cancel, and no work lost between the roads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleetward.agent import identity, platforms
from fleetward.agent.association_reports import AssociationReports
from fleetward.agent.client import Client
from fleetward.agent.identity import RoleTokens
from fleetward.agent.node import Node
from fleetward.agent.polling import Polling
from fleetward.agent.report import Replies
from fleetward.agent.worker import Worker
from tests.agent.machine import AgentProcess, run
from tests.serving import ServerProcess


@pytest.fixture
def agent(serving: ServerProcess, tmp_path: Path) -> AgentProcess:
    return AgentProcess(serving, tmp_path)


async def polling(agent: AgentProcess, *commands: str) -> list[dict[str, object]]:
    """Poll until these commands have ended."""
    kept = identity.load(agent.state)
    endpoint = identity.endpoint_of(agent.state, kept.endpoint, kept.region)
    client = Client(endpoint, kept.node_id, RoleTokens(agent.state, endpoint, platforms.current()))
    replies = Replies()
    worker = Worker(
        Node(kept.node_id, kept.region, agent.state, platforms.current(), client), replies, AssociationReports(client)
    )
    road = Polling(client, worker, replies)
    road.start()
    try:
        return [await asyncio.to_thread(agent.result, command) for command in commands]
    finally:
        road.stop()
        await worker.stop(0)


def test_commands_come_and_results_go_by_polling(agent: AgentProcess) -> None:
    commands = [agent.send(f"echo {number}; exit {number}") for number in range(3)]
    results = run(polling(agent, *commands))
    assert [(seen["Status"], seen["ResponseCode"], seen["StandardOutputContent"]) for seen in results] == [
        ("Success", 0, "0\n"),
        ("Failed", 1, "1\n"),
        ("Failed", 2, "2\n"),
    ]


def test_cancel_comes_by_polling_too(agent: AgentProcess) -> None:
    async def work() -> dict[str, object]:
        command_id = agent.send("sleep 100")
        ending = asyncio.create_task(polling(agent, command_id))
        while not list(agent.state.orchestration.glob("*/steps/*/process")):
            await asyncio.sleep(0.02)
        await asyncio.to_thread(agent.server.client().cancel_command, CommandId=command_id)
        (seen,) = await ending
        return seen

    seen = run(work())
    assert (seen["Status"], seen["ResponseCode"]) == ("Cancelled", 137)
