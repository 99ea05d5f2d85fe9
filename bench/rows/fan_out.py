"""Fan-out: SendCommand to 5,000 connected nodes, every result stored and read back, against plain sockets.

One round: SendCommand at MaxConcurrency 100 % by tag, ListCommands until the command has succeeded, then every result
by ListCommandInvocations with details. The plain program exchanges the same messages in the same round. Then the
curve: the time per node from 100 to as many nodes as this machine has file descriptors for.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from bench.admission import admit
from bench.client import Api
from bench.figures import Figure, Size, at_most, median, shown
from bench.limits import raise_limits
from bench.processes import Nodes, Program, Server, folder, free_port, serving, virtual_nodes
from fleetward.protocol.control_channel import SEND_COMMAND, ServerControlChannel
from fleetward.protocol.frame import Frame, encode
from fleetward.server.ssm.library import run_shell_script
from fleetward.testing import virtual_fleet

PAGE = 50
SPARE_FILES = 300


async def measure(size: Size) -> list[Figure]:
    """The ratio to plain sockets, and the curve."""
    count = size.of(5000, 20)
    with folder() as scratch:
        identities = admit(scratch / "data", count, lambda _: {"bench": "all"})
        async with serving(scratch / "data") as server, virtual_nodes(server, identities) as nodes:
            await nodes.until_connected(count, 120)
            ours, plain = await _compare(server, nodes, count, size, scratch)
    ratio = median([our[0] / their for our, their in zip(ours, plain, strict=True)])
    return [
        at_most(f"fan-out to {count:,} nodes, by plain sockets", ratio, 3.0, " x", _seconds(ours, plain)),
        *await _curve(size),
    ]


async def _compare(
    server: Server, nodes: Nodes, count: int, size: Size, scratch: Path
) -> tuple[list[tuple[float, float]], list[float]]:
    config = {
        "port": free_port(),
        "sizes": message_sizes(),
        "certificate": str(server.data / "tls" / "server.pem"),
        "key": str(server.data / "tls" / "server.key"),
        "ca": str(server.ca),
        "count": count,
    }
    programs = [
        Program(sys.executable, "-m", "bench.plain_socket", part, json.dumps(config), log=scratch / "plain.log")
        for part in ("serve", "connect")
    ]
    try:
        await programs[0].start()
        await asyncio.sleep(1)
        await programs[1].start()
        await programs[1].line(120)
        ours: list[tuple[float, float]] = []
        plain: list[float] = []
        async with server.api() as api:
            await one_round(api, count)  # what is made once is made
            await programs[0].ask(str(count))
            for _ in range(size.rounds):
                ours.append(await one_round(api, count))
                plain.append(await programs[0].ask(str(count)))
        return ours, plain
    finally:
        for program in programs:
            await program.end()


ALL = {"Key": "tag:bench", "Values": ["all"]}


async def one_round(
    api: Api, count: int, target: dict[str, object] = ALL, *, read_back: bool = True
) -> tuple[float, float]:
    """Seconds from SendCommand until every result was stored and read back; and until it was stored."""
    started = time.perf_counter()
    sent = await api.call(
        "SendCommand",
        {
            "Targets": [target],
            "DocumentName": "AWS-RunShellScript",
            "Parameters": {"commands": ["echo hello"]},
            "MaxConcurrency": "100%",
        },
    )
    command_id = sent["Command"]["CommandId"]
    command = sent["Command"]
    while command["Status"] in ("Pending", "InProgress"):
        await asyncio.sleep(0.02)
        if time.perf_counter() - started > 120:
            raise RuntimeError(f"the command did not end: {command}")
        command = (await api.call("ListCommands", {"CommandId": command_id}))["Commands"][0]
    if (command["Status"], command["CompletedCount"], command["TargetCount"]) != ("Success", count, count):
        raise RuntimeError(f"the command did not succeed everywhere: {command}")
    stored = time.perf_counter() - started
    if read_back:
        await _read_back(api, command_id, count)
    return time.perf_counter() - started, stored


async def _read_back(api: Api, command_id: str, count: int) -> None:
    seen: set[str] = set()
    request = {"CommandId": command_id, "Details": True, "MaxResults": PAGE}
    while True:
        page = await api.call("ListCommandInvocations", request)
        for each in page["CommandInvocations"]:
            if each["Status"] != "Success" or each["CommandPlugins"][0]["Output"].strip() != "hello":
                raise RuntimeError(f"not the result of the command: {each}")
            seen.add(each["InstanceId"])
        if not page.get("NextToken"):
            break
        request["NextToken"] = page["NextToken"]
    if len(seen) != count:
        raise RuntimeError(f"{len(seen)} of {count} results were read back")


async def _curve(size: Size) -> list[Figure]:
    """Commands to a part of one connected fleet; each node's tags say which parts it belongs to."""
    most = min(20_000, raise_limits() - SPARE_FILES)
    counts = (5, 10) if size.tiny else (100, 1000, 5000, most)
    costs: dict[int, float] = {}
    with folder() as scratch:
        identities = admit(
            scratch / "data",
            max(counts),
            lambda number: {f"part-{count}": "yes" for count in counts if number <= count},
        )
        async with serving(scratch / "data") as server, virtual_nodes(server, identities) as nodes:
            await nodes.until_connected(max(counts), 300)
            async with server.api() as api:
                for count in counts:
                    target = {"Key": f"tag:part-{count}", "Values": ["yes"]}
                    taken = [(await one_round(api, count, target))[0] for _ in range(min(size.rounds, 3) + 1)]
                    costs[count] = median(taken[1:]) / count * 1e6
    shape = ", ".join(f"{count:,}: {cost:.0f}" for count, cost in costs.items())
    growth = costs[max(costs)] / costs[min(costs)]
    return [
        at_most(
            f"fan-out, cost per node at {max(costs):,} by that at {min(costs)}", growth, 1.25, " x", f"us: {shape}"
        ),
        shown("fan-out, results per second", 1e6 / costs[max(costs)], "/s"),
    ]


def message_sizes() -> dict[str, int]:
    """Bytes of each message of one command on one node, as the real programs make them."""
    command, node = str(uuid.UUID(int=1)), "mi-0123456789abcdef0"
    job = f"aws.ssm.{command}.{node}"
    content = json.dumps({"Parameters": {"commands": ["echo hello"]}, "DocumentContent": _document()})
    server = ServerControlChannel()
    server.receive_text('{"TokenValue":"t"}')
    identity = uuid.UUID(int=2)
    answers = virtual_fleet.Answers(content, "hello\n")
    reply = [
        len(encode(Frame("agent_job_reply", job.encode().join(p), identity, 1))) for p in (answers.begun, answers.ended)
    ]
    ack = {
        "jobId": job,
        "acknowledgedMessageId": str(identity),
        "createdDate": "2026-11-22T20:04:42.388Z",
        "statusCode": "200",
        "errorMessage": "Successful",
    }
    return {
        "job": len(server.send_job(job, SEND_COMMAND, content, message_id=identity, now_ms=1)),
        "reply_ack": len(server.acknowledge_reply(job, identity, message_id=identity, now_ms=1)),
        "job_ack": len(encode(Frame("agent_job_ack", json.dumps(ack).encode(), identity, 1))),
        "begun": reply[0],
        "ended": reply[1],
    }


def _document() -> object:
    return run_shell_script.DOCUMENT


def _seconds(ours: Sequence[tuple[float, float]], plain: Sequence[float]) -> str:
    return (
        f"{median([each[0] for each in ours]):.2f} s, stored after {median([each[1] for each in ours]):.2f} s;"
        f" plain {median(plain):.2f} s"
    )
