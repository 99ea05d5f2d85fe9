"""Writes: heartbeats of many nodes and single writes of an operator, over real sockets and at the store alone."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.admission import FACTS, Identity, admit
from bench.client import rate, signed
from bench.figures import Figure, Size, at_least, median, shown
from bench.processes import Server, folder, serving
from fleetward.protocol.sigv4 import Credentials
from fleetward.server import app
from fleetward.server.call import Caller, Context, service_context
from fleetward.server.iam import principals
from fleetward.server.service import Entry
from fleetward.server.settings import Settings
from fleetward.server.ssm import nodes, ssm, tags

NODES = 1000
CONNECTIONS = 64
AHEAD = 4
"""Requests on their way on one connection."""


async def measure(size: Size) -> list[Figure]:
    """Per second: signed heartbeats and signed AddTagsToResource over TLS; their entries at the store."""
    with folder() as scratch:
        identities = admit(scratch / "data", size.of(NODES, 10))
        async with serving(scratch / "data") as server:
            beats, singles = await _over_sockets(server, identities, size)
        entries, single_entries = await asyncio.to_thread(_at_the_store, scratch / "data", identities, size)
    return [
        at_least("heartbeats over sockets (TLS, signed)", median(beats), 30_000, "/s"),
        at_least("single writes over sockets (TLS, signed)", median(singles), 5_000, "/s"),
        shown("heartbeats at the store, as batch entries", median(entries), "/s"),
        shown("single writes at the store", median(single_entries), "/s"),
    ]


async def _over_sockets(server: Server, identities: Sequence[Identity], size: Size) -> tuple[list[float], list[float]]:
    api = server.api()
    authority = api.url.netloc
    connections = [await api.connect(f"127.2.0.{number + 1}") for number in range(size.of(CONNECTIONS, 2))]
    beats, singles = [], []
    for _ in range(size.rounds):
        chosen = [random.choice(identities) for _ in range(size.of(10_000, 20))]
        messages = [
            signed(authority, Credentials(*each[2:]), "UpdateInstanceInformation", orjson.dumps(_facts(each)))
            for each in chosen
        ]
        beats.append(await rate(connections, messages, ahead=AHEAD))
        messages = [api.message("AddTagsToResource", _tag(random.choice(identities)[0])) for _ in chosen[::2]]
        singles.append(await rate(connections, messages, ahead=AHEAD))
    return beats, singles


def _facts(identity: Identity) -> dict[str, Any]:
    return {"InstanceId": identity[0], "ComputerName": identity[1], **FACTS}


def _tag(node_id: str) -> dict[str, Any]:
    return {
        "ResourceType": "ManagedInstance",
        "ResourceId": node_id,
        "Tags": [{"Key": "number", "Value": str(random.randrange(1000))}],
    }


def _at_the_store(data: Path, identities: Sequence[Identity], size: Size) -> tuple[list[float], list[float]]:
    """The same entries submitted by this thread: no sockets, signatures or models."""
    settings = Settings(data=data)
    application = app.Application(settings)
    try:
        heartbeat = ssm.operations["UpdateInstanceInformation"]
        put = Entry("put", lambda call, request: tags.put(call, nodes.table.RESOURCE_TYPE, *request), audit=False)
        number = size.of(50_000, 50)
        beats = [(context, _facts(each)) for each, context in ((each, _context(each)) for each in identities)]
        operator = service_context(settings.account, settings.default_region)
        entries, singles = [], []
        for _ in range(size.rounds):
            entries.append(_submit(application, heartbeat, [random.choice(beats) for _ in range(number)]))
            writes = [(operator, (random.choice(identities)[0], {"k": str(n)})) for n in range(number // 10)]
            singles.append(_submit(application, put, writes))
        return entries, singles
    finally:
        application.store.close()
        if application.lock is not None:
            application.lock.close()


def _context(identity: Identity) -> Context:
    arn = principals.node_arn("123456789012", "us-east-1", identity[0])
    caller = Caller(
        kind="node",
        arn=arn,
        account="123456789012",
        node_id=identity[0],
        policies=principals.node_policies(),
        context={"aws:PrincipalArn": arn, "ssm:SourceInstanceARN": arn},
    )
    return Context(account="123456789012", region="us-east-1", caller=caller)


def _submit(application: app.Application, entry: Entry, requests: Sequence[tuple[Context, Any]]) -> float:
    import threading

    done = threading.Semaphore(0)
    faults: list[BaseException] = []

    def told(outcome: Any) -> None:
        if isinstance(outcome, BaseException):
            faults.append(outcome)
        done.release()

    started = time.perf_counter()
    for context, request in requests:
        application.runner.submit(entry, context, request, told)
    for _ in requests:
        done.acquire()
    if faults:
        raise faults[0]
    return len(requests) / (time.perf_counter() - started)
