"""Session relay: what the server costs between the two ends of sessions: 200 shells, official tunnels, floods.

One node and all clients are played by one process (`bench.session_ends`) over real sockets with TLS; the server is
`fleetward server` with everything on. It is compared in the same rounds with a bare relay on the same WebSocket library
and TLS (`bench.bare_relay`), and with socat between two TLS connections (`OPENSSL-LISTEN` to `OPENSSL`, its defaults),
which gets the same bytes in the same pieces. Where socat is not installed that figure says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil

from bench.admission import Identity, admit
from bench.figures import Figure, Size, at_least, at_most, median, shown
from bench.processes import Program, Server, folder, free_port, serving

KIB = 1024
TUNNEL = {"DocumentName": "AWS-StartPortForwardingSession", "Parameters": {"portNumber": ["80"]}}
COMPARED = 10
"""Tunnels whose cost is compared: so few that neither relay is short of processor time."""


async def measure(size: Size) -> list[Figure]:
    """The figures, in one run of one server."""
    with folder() as scratch:
        identity = admit(scratch / "data", 1)[0]
        async with serving(scratch / "data") as server, session_ends(server, scratch, identity) as ends:
            shells = await _shells(server, ends, identity, size)
            tunnels = size.of(100, 4)
            await open_sessions(server, ends, identity, "tunnels", tunnels, TUNNEL)
            figures = [shells, *await _paced(ends, tunnels, size)]
            async with _bare_relay(server, scratch, ends, size.of(COMPARED, 2)) as bare:
                figures += await _compare(server, bare, ends, size)
            return figures


@contextlib.asynccontextmanager
async def session_ends(server: Server, scratch: Path, identity: Identity) -> AsyncIterator[Program]:
    """The process that plays the ends, its node connected."""
    tls = server.data / "tls"
    config = {
        "endpoint": server.url,
        "ca": str(server.ca),
        "certificate": str(tls / "server.pem"),
        "key": str(tls / "server.key"),
        "node": list(identity),
    }
    file = scratch / "ends.json"
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    program = Program(sys.executable, "-m", "bench.session_ends", str(file), log=scratch / "ends.log")
    await program.start()
    try:
        await ask(program, "connect")
        async with server.api() as api, asyncio.timeout(30):
            while (await api.call("GetConnectionStatus", {"Target": identity[0]}))["Status"] != "connected":
                await asyncio.sleep(0.05)
        yield program
    finally:
        await program.end()


async def ask(program: Program, what: str, **arguments: Any) -> Any:
    """Have the ends do something; their answer."""
    return await program.ask(json.dumps({"do": what, **arguments}), 120)


async def open_sessions(
    server: Server, ends: Program, identity: Identity, name: str, count: int, request: dict[str, Any]
) -> None:
    """Start so many sessions and open both ends of each."""
    async with server.api() as api:
        openings = [await api.call("StartSession", {"Target": identity[0], **request}) for _ in range(count)]
    await ask(ends, "open", name=name, openings=openings)


async def _shells(server: Server, ends: Program, identity: Identity, size: Size) -> Figure:
    count = size.of(200, 4)
    await open_sessions(server, ends, identity, "shells", count, {})
    found = await ask(ends, "echo", name="shells", seconds=_seconds(size, 10), every=0.2)
    await ask(ends, "close", name="shells")
    note = f"5 keys a second in each, {found['count']:,} keys, p50 {found['p50']:.1f} ms"
    return at_most(f"{count} shells at once, p99 of a key's echo", found["p99"], 50.0, " ms", note)


async def _paced(ends: Program, tunnels: int, size: Size) -> list[Figure]:
    seconds = _seconds(size, 10)
    figures = []
    for both, ways in ((False, "down"), (True, "both ways")):
        found = await ask(ends, "paced", name="tunnels", seconds=seconds, count=tunnels, both=both)
        note = f"{found['bytes'] / found['seconds'] / 1e6:.0f} MB/s"
        name = f"{tunnels} official-paced tunnels {ways}, share of full pace"
        share = 100 * found["share"]
        figures.append(shown(name, share, " %", note) if both else at_least(name, share, 95.0, " %", note))
    return figures


@contextlib.asynccontextmanager
async def _bare_relay(server: Server, scratch: Path, ends: Program, count: int) -> AsyncIterator[Program]:
    port = free_port()
    config = {
        "port": port,
        "certificate": str(server.data / "tls" / "server.pem"),
        "key": str(server.data / "tls" / "server.key"),
    }
    relay = Program(sys.executable, "-m", "bench.bare_relay", json.dumps(config), log=scratch / "relay.log")
    await relay.start()
    try:
        await relay.line()
        await ask(ends, "open_bare", name="bare", url=f"wss://127.0.0.1:{port}", count=count)
        yield relay
    finally:
        await relay.end()


async def _compare(server: Server, bare: Program, ends: Program, size: Size) -> list[Figure]:
    count, seconds = size.of(COMPARED, 2), _seconds(size, 5)
    costs: list[tuple[float, float]] = []
    floods: list[tuple[float, float, float | None]] = []
    large: list[tuple[float, float]] = []
    for _ in range(size.rounds):
        ours = await _cost(server.process, ends, "tunnels", count, seconds)
        costs.append((ours, await _cost(bare.process, ends, "bare", count, seconds)))
        speeds = [await _flood(ends, name, seconds, KIB) for name in ("tunnels", "bare")]
        floods.append((speeds[0], speeds[1], await _socat(server, ends, seconds, KIB)))
        speeds = [await _flood(ends, name, seconds, 256 * KIB) for name in ("tunnels", "bare")]
        large.append((speeds[0], speeds[1]))
    ratio = median([ours / other for ours, other in costs])
    note = (
        f"{median([each[0] for each in costs]) * 1000:.1f} ms/MB, bare {median([each[1] for each in costs]) * 1000:.1f}"
    )
    return [
        at_most("processor per MB of official-paced tunnels, by a bare relay", ratio, 1.5, " x", note),
        _by_socat(floods),
        shown("relay of 256 KiB frames", median([each[0] for each in large]), " MB/s", _bare(large)),
    ]


def _by_socat(floods: list[tuple[float, float, float | None]]) -> Figure:
    ours = median([each[0] for each in floods])
    ratios = [100 * each[0] / each[2] for each in floods if each[2]]
    if not ratios:
        return shown("relay of 1 KiB frames", ours, " MB/s", "socat is not installed")
    socat = median([each[2] for each in floods if each[2]])
    note = f"{ours:.0f} MB/s, socat {socat:.0f}, bare relay {median([each[1] for each in floods]):.0f}"
    return at_least("relay of 1 KiB frames, by socat", median(ratios), 25.0, " %", note)


def _bare(speeds: list[tuple[float, float]]) -> str:
    return f"bare relay {median([each[1] for each in speeds]):.0f}"


async def _cost(process: psutil.Process, ends: Program, name: str, count: int, seconds: float) -> float:
    """Processor seconds for a MB of payload."""
    before = process.cpu_times()
    found = await ask(ends, "paced", name=name, seconds=seconds, count=count)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    megabytes: float = found["bytes"] / 1e6
    return spent / megabytes


def _seconds(size: Size, wanted: float) -> float:
    return 0.2 if size.tiny else wanted


async def _flood(ends: Program, name: str, seconds: float, frame: int) -> float:
    """MB/s; what is under way afterwards is left to arrive."""
    speed: float = await ask(ends, "flood", name=name, seconds=seconds, frame=frame)
    await asyncio.sleep(0.5)
    return speed / 1e6


async def _socat(server: Server, ends: Program, seconds: float, frame: int) -> float | None:
    if shutil.which("socat") is None:
        return None
    into, out_of = free_port(), free_port()
    tls = server.data / "tls"
    listen = f"OPENSSL-LISTEN:{into},bind=127.0.0.1,cert={tls / 'server.pem'},key={tls / 'server.key'},verify=0"
    socat = await asyncio.create_subprocess_exec("socat", listen, f"OPENSSL:127.0.0.1:{out_of},verify=0")
    try:
        await asyncio.sleep(0.5)
        speed: float = await ask(ends, "flood_raw", into=into, out_of=out_of, seconds=seconds, frame=frame)
        return speed / 1e6
    finally:
        with contextlib.suppress(ProcessLookupError):
            socat.kill()
        await socat.wait()
