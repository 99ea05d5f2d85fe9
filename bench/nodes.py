"""Nodes: the process in which a bench's virtual nodes live; told by lines on its standard input what to say."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

from bench.limits import raise_limits
from fleetward.protocol.sigv4 import Credentials
from fleetward.server import keys, ssmmessages
from fleetward.testing.virtual_fleet import NodeIdentity, VirtualFleet


async def main(file: Path) -> None:
    """Run the nodes of a configuration file until standard input ends."""
    config = json.loads(file.read_text())
    ring = keys.load_ring(Path(config["data"]))

    def token(node_id: str) -> str:
        return ssmmessages.seal_token(ring, "123456789012", node_id, time.time())

    fleet = VirtualFleet(
        config["endpoint"],
        ca_file=Path(config["ca"]),
        heartbeats=config["heartbeats"],
        channel_token=token if config["mint"] else None,
        output="hello\n",
    )
    fleet.start(
        NodeIdentity(node_id, Credentials(key_id, secret, session_token), name)
        for node_id, name, key_id, secret, session_token in config["nodes"]
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        stats = {
            "connected": fleet.connected,
            "jobs": fleet.jobs,
            "repeated": fleet.repeated_jobs,
            "finished": fleet.finished,
            "failures": fleet.failures,
        }
        print(json.dumps(stats), flush=True)


if __name__ == "__main__":
    raise_limits()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
