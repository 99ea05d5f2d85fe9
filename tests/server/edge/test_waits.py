"""Waits: parked requests."""

from __future__ import annotations

import asyncio
import time

import pytest

from fleetward.server.edge.waits import Waits
from tests.serving import Node, ServerProcess, StartServer, eventually


def test_a_wake_ends_the_waits_of_its_topic_alone() -> None:
    """All who wait for it, nobody else."""

    async def scenario() -> tuple[bool, bool, bool]:
        waits = Waits()
        first, second, other = (asyncio.create_task(waits.sleep(topic, 60, waits.mark())) for topic in ("a", "a", "b"))
        await asyncio.sleep(0)
        waits.wake(["a", "nobody"])
        await asyncio.sleep(0.01)
        ended = first.done(), second.done(), other.done()
        other.cancel()
        return ended

    assert asyncio.run(scenario()) == (True, True, False)


def test_time_ends_a_wait_and_nothing_of_it_stays() -> None:
    """No memory of topics that nobody waits for."""

    async def scenario() -> dict[str, object]:
        waits = Waits()
        await waits.sleep("a", 0.001, waits.mark())
        cancelled = asyncio.create_task(waits.sleep("b", 60, waits.mark()))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        return dict(waits._waiting)

    assert asyncio.run(scenario()) == {}


@pytest.mark.parametrize("others", [0, 20_000])
def test_a_wake_between_looking_and_sleeping_is_not_lost(others: int) -> None:
    """Who marks, looks and sleeps sees what came meanwhile, also when topics without number were woken since."""

    async def scenario() -> None:
        waits = Waits()
        mark = waits.mark()
        waits.wake(["a"])
        for number in range(others):
            waits.wake([str(number)])
        await asyncio.wait_for(waits.sleep("a", 60, mark), 1)

    asyncio.run(scenario())


def test_a_closed_server_lets_nobody_wait() -> None:
    """Who waits is woken, who comes later returns at once."""

    async def scenario() -> None:
        waits = Waits()
        waiting = asyncio.create_task(waits.sleep("a", 60, waits.mark()))
        await asyncio.sleep(0)
        waits.close()
        await asyncio.wait_for(waiting, 1)
        await asyncio.wait_for(waits.sleep("a", 60, waits.mark()), 1)

    asyncio.run(scenario())


@pytest.fixture
def poller(serving: ServerProcess) -> Node:
    """A node without a control channel."""
    return serving.join(6)


def poll(node: Node) -> list[dict[str, str]]:
    """GetMessages."""
    answer = node.call("GetMessages", {"Destination": node.node_id, "MessagesRequestId": "1"}, "ec2messages")
    assert answer.status == 200, answer.body
    messages: list[dict[str, str]] = answer.json["Messages"]
    return messages


def test_a_parked_poll_is_answered_by_the_wake(poller: Node) -> None:
    """The command comes within moments, not after the poll's 15 seconds."""
    from concurrent.futures import ThreadPoolExecutor

    server = poller.server
    request = {
        "InstanceIds": [poller.node_id],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["true"]},
    }
    with ThreadPoolExecutor() as pool:
        polling = pool.submit(poll, poller)
        eventually(lambda: polling.running())
        started = time.monotonic()
        command_id = server.call("SendCommand", request, server.root).json["Command"]["CommandId"]
        (message,) = polling.result(10)
    assert time.monotonic() - started < 5
    assert command_id in message["MessageId"]


def test_a_stopping_server_answers_parked_polls(start_server: StartServer) -> None:
    """With an error that tells the agent to ask again."""
    from concurrent.futures import ThreadPoolExecutor

    server = start_server()
    node = server.join(6)
    request = {"Destination": node.node_id, "MessagesRequestId": "1"}
    with ThreadPoolExecutor() as pool:
        polling = pool.submit(node.call, "GetMessages", request, "ec2messages")
        eventually(lambda: polling.running())
        _until_parked(server)
        assert server.stop() == 0
        answer = polling.result(10)
    assert (answer.status, answer.code) == (503, "ServiceUnavailableException")


def _until_parked(server: ServerProcess) -> None:
    """Another call that comes after the poll is answered, so the poll is parked by then."""
    for _ in range(3):
        assert server.call("ListNodes", {}, server.root).status == 200
