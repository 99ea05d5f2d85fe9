"""Tag condition: SendCommand by tag to 20,000 nodes by a role that may do so on tagged nodes only."""

from __future__ import annotations

import asyncio
import time

from bench.admission import admit
from bench.client import Api, Refused
from bench.figures import Figure, Size, at_most, median, shown
from bench.processes import Server, folder, serving
from bench.sts import assume
from fleetward.protocol.sigv4 import Credentials

SETS = 20
"""Distinct sets of tags among the nodes."""


async def measure(size: Size) -> list[Figure]:
    """What the condition adds, from SendCommand until every invocation is made; nodes are not connected."""
    count = size.of(20_000, 40)
    with folder() as scratch:
        ids = [each[0] for each in admit(scratch / "data", count, lambda n: {"bench": "all", "rack": str(n % SETS)})]
        async with serving(scratch / "data") as server:
            free = Api(server.url, await _role(server, None), server.ca)
            condition = {"StringEquals": {"ssm:resourceTag/bench": "all"}}
            bound = Api(server.url, await _role(server, condition), server.ca)
            without: list[tuple[float, float]] = []
            under: list[tuple[float, float]] = []
            last = max(ids)
            await _send(bound, last)
            for _ in range(size.rounds):
                without.append(await _send(free, last))
                under.append(await _send(bound, last))
    added = median([100 * (one[1] / other[1] - 1) for one, other in zip(under, without, strict=True)])
    call = median([one[0] - other[0] for one, other in zip(under, without, strict=True)])
    note = f"{median([one[1] for one in under]):.2f} s, without {median([one[1] for one in without]):.2f} s"
    return [
        at_most(f"SendCommand by tag to {count:,} nodes, a tag condition adds", added, 15.0, " %", note),
        shown(
            "the same, the call alone: added", call * 1000, " ms", f"to {median([x[0] for x in without]) * 1e3:.1f} ms"
        ),
    ]


async def _send(api: Api, last: str) -> tuple[float, float]:
    """Seconds until SendCommand was answered, and until the last node has its invocation."""
    started = time.perf_counter()
    request = {
        "Targets": [{"Key": "tag:bench", "Values": ["all"]}],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["echo hello"]},
        "MaxConcurrency": "1",
    }
    command = (await api.call("SendCommand", request))["Command"]
    answered = time.perf_counter() - started
    while time.perf_counter() - started < 120:
        try:
            await api.call("GetCommandInvocation", {"CommandId": command["CommandId"], "InstanceId": last})
            break
        except Refused:
            await asyncio.sleep(0.01)
    else:
        raise RuntimeError("the invocations were not made")
    taken = time.perf_counter() - started
    await api.call("CancelCommand", {"CommandId": command["CommandId"]})
    await _ended(api, command["CommandId"])
    return answered, taken


async def _ended(api: Api, command_id: str) -> None:
    started = time.perf_counter()
    while time.perf_counter() - started < 120:
        command = (await api.call("ListCommands", {"CommandId": command_id}))["Commands"][0]
        if command["Status"] == "Cancelled":
            return
        await asyncio.sleep(0.1)


async def _role(server: Server, condition: dict[str, object] | None) -> Credentials:
    """Keys of the administrators' role, narrowed by a session policy."""
    on_nodes: dict[str, object] = {
        "Effect": "Allow",
        "Action": "ssm:SendCommand",
        "Resource": "arn:aws:ssm:*:*:managed-instance/*",
    }
    if condition is not None:
        on_nodes["Condition"] = condition
    others = {"Effect": "Allow", "Action": ["ssm:Get*", "ssm:List*", "ssm:CancelCommand"], "Resource": "*"}
    document = {"Effect": "Allow", "Action": "ssm:SendCommand", "Resource": "arn:aws:ssm:*:*:document/*"}
    return await assume(server, "Administrator", {"Version": "2012-10-17", "Statement": [on_nodes, others, document]})
