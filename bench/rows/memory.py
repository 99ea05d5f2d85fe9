"""Memory: what a connected, idle node costs the server, its own state and its share of the store's cache included."""

from __future__ import annotations

import asyncio

from bench.admission import admit
from bench.figures import Figure, Size, at_most
from bench.processes import folder, serving, virtual_nodes

WARM = 500
MORE = 4500
SETTLE_SECONDS = 15.0
"""Longer than the server waits before it gives back what the burst of openings left."""


async def measure(size: Size) -> list[Figure]:
    """Growth of the server's resident memory per node, from 500 connected nodes to 5,000."""
    return [
        at_most("server memory per idle node, plain", await _per_node(size, plain=True), 14.0, " KiB"),
        at_most("server memory per idle node, TLS", await _per_node(size, plain=False), 60.0, " KiB"),
    ]


async def _per_node(size: Size, *, plain: bool) -> float:
    warm, more = size.of(WARM, 5), size.of(MORE, 10)
    with folder() as scratch:
        identities = admit(scratch / "data", warm + more)
        async with (
            serving(scratch / "data") as server,
            virtual_nodes(server, identities[:warm], plain=plain, mint=False, heartbeats=True) as first,
        ):
            await first.until_connected(warm, 60)
            await asyncio.sleep(0.1 if size.tiny else SETTLE_SECONDS)
            before = server.process.memory_info().rss
            async with virtual_nodes(server, identities[warm:], plain=plain, mint=False, heartbeats=True) as second:
                await second.until_connected(more, 180)
                await asyncio.sleep(0.1 if size.tiny else SETTLE_SECONDS)
                return float(server.process.memory_info().rss - before) / more / 1024
