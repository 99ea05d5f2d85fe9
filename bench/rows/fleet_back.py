"""Fleet back: the server is killed and started again; 10,000 nodes come back with the official agent's pauses."""

from __future__ import annotations

import asyncio
import signal
import time

from bench.admission import admit
from bench.figures import Figure, Size, at_most
from bench.processes import Nodes, Server, folder, serving, virtual_nodes

BAR_SECONDS = 120.0
GIVE_UP_SECONDS = 300.0


async def measure(size: Size) -> list[Figure]:
    """Seconds from the kill until every channel is open again, and the slow end of API calls after the restart."""
    count = size.of(10_000, 20)
    with folder() as scratch:
        identities = admit(scratch / "data", count)
        async with serving(scratch / "data") as server, virtual_nodes(server, identities, mint=False) as nodes:
            await nodes.until_connected(count, 400)
            await server.stop(signal.SIGKILL)
            killed = time.perf_counter()
            await _all_gone(nodes)
            await server.start()
            calls: list[float] = []
            asking = asyncio.create_task(_ask(server, identities[0][0], calls))
            try:
                await nodes.until_connected(count, GIVE_UP_SECONDS)
                back = time.perf_counter() - killed
            finally:
                asking.cancel()
    slow = sorted(calls)[int(len(calls) * 0.99)]
    note = f"{len(calls)} calls, p50 {sorted(calls)[len(calls) // 2] * 1000:.0f} ms"
    return [
        at_most(f"{count:,} nodes back after kill -9 and restart", back, BAR_SECONDS, " s"),
        at_most("API p99 meanwhile", slow * 1000, 1000.0, " ms", note),
    ]


async def _all_gone(nodes: Nodes) -> None:
    async with asyncio.timeout(60):
        while (await nodes.stats())["connected"]:
            await asyncio.sleep(0.1)


async def _ask(server: Server, node_id: str, calls: list[float]) -> None:
    """An operator's signed read, 20 times a second."""
    api = server.api()
    while True:
        started = time.perf_counter()
        try:
            await api.call("GetConnectionStatus", {"Target": node_id})
        except OSError:
            pass
        calls.append(time.perf_counter() - started)
        await asyncio.sleep(0.05)
