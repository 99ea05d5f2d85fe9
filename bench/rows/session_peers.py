"""Session peers: a tunnel whose client is at one server and whose node is at another, by the same with both at one.

Two servers on one PostgreSQL and one nats-server, which the tests' own helpers start; where either is not installed the
row says so. The node is at the first server; clients come to either, round by round.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from bench.agents import agents
from bench.figures import Figure, Size, at_least, median
from bench.processes import Server, folder, free_port
from bench.rows.sessions import MIB, far_port, fetch, our_tunnel, push
from fleetward.server import keys
from tests.services import Nats, Postgres, nats_program, postgres_programs

POSTGRES_USER = "postgres"
ROOT = "root-credentials.json"


async def measure(size: Size) -> list[Figure]:
    """Both directions, in rounds that alternate."""
    if postgres_programs() is None or nats_program() is None:
        return [Figure("tunnel across servers", "PostgreSQL or nats-server is not installed")]
    amount = size.of(256, 4) * MIB
    with folder() as scratch:
        async with _two_servers(scratch) as (first, second):
            with far_port(amount) as far:
                async with (
                    agents(first, scratch, 1) as (ids, _),
                    our_tunnel(first, scratch, ids[0], far) as same,
                    our_tunnel(second, scratch, ids[0], far) as across,
                ):
                    return [await _compare(way, (across, same), amount, size) for way in ("down", "up")]


async def _compare(way: str, ports: tuple[int, int], amount: int, size: Size) -> Figure:
    transfer = {"down": fetch, "up": push}[way]
    speeds = [[await asyncio.to_thread(transfer, port, amount) / 1e6 for port in ports] for _ in range(size.rounds)]
    share = median([100 * across / same for across, same in speeds])
    across, same = (median([each[place] for each in speeds]) for place in (0, 1))
    note = f"{across:.0f} MB/s, at one server {same:.0f}"
    return at_least(f"tunnel {way} across servers, by one at one server", share, 60, " %", note)


@contextlib.asynccontextmanager
async def _two_servers(scratch: Path) -> AsyncIterator[tuple[Server, Server]]:
    """Servers on one database, bus and key ring, which reach each other."""
    with _services(scratch) as settings:
        servers = [Server(scratch / name / "data", settings=settings) for name in ("a", "b")]
        try:
            for server in servers:
                server.set(FLEETWARD_PEER_LISTEN=f"127.0.0.1:{free_port()}")
                server.data.mkdir(parents=True)
                await server.start()
            shutil.copy(servers[0].data / ROOT, servers[1].data / ROOT)
            yield servers[0], servers[1]
        finally:
            for server in servers:
                await server.stop()


@contextlib.contextmanager
def _services(scratch: Path) -> Iterator[dict[str, str]]:
    """The settings that servers on fresh services share."""
    programs, nats = postgres_programs(), nats_program()
    assert programs is not None
    assert nats is not None
    scratch.chmod(0o711)
    home = scratch / "postgres"
    home.mkdir(mode=0o700)
    if os.geteuid() == 0:
        owner = pwd.getpwnam(POSTGRES_USER)
        os.chown(home, owner.pw_uid, owner.pw_gid)
    keys.load_ring(scratch / "ring")
    with contextlib.ExitStack() as stack:
        postgres = Postgres(home, programs, POSTGRES_USER)
        stack.callback(postgres.program.stop)
        bus = Nats(scratch, nats)
        stack.callback(bus.program.stop)
        yield {
            "FLEETWARD_DATABASE": postgres.url(postgres.new_database()),
            "FLEETWARD_BUS": f"nats://{bus.address}",
            "FLEETWARD_KEYS": str(scratch / "ring" / "keys.json"),
        }
