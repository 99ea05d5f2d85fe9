"""Sessions: our agent and client through the server, against OpenSSH: keys, bulk output, tunnels.

A terminal runs `fleetward session start` on a pty, with the same command behind it as `ssh -tt` on another: `cat` for
keys, which the node's terminal echoes, and a shell that shows a large file for bulk. Tunnels lead to a program that
sends, and one that takes, as much as it can. Where openssh-server is not installed the row says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.admission import Identity, admit
from bench.agents import agents
from bench.figures import Figure, Size, at_least, at_most, median
from bench.openssh import is_installed, openssh
from bench.processes import Program, Server, folder, free_port, serving, virtual_nodes
from bench.rows import fan_out
from bench.terminal import BEGUN, DONE, SAY_BEGUN, SAY_DONE, Terminal, terminal

MIB = 1024 * 1024
DOCUMENT = "Bench-Terminal"
CONTENT = """{"schemaVersion": "1.0", "description": "One command in a terminal.", "sessionType": "InteractiveCommands",
 "parameters": {"command": {"type": "String"}},
 "properties": {"linux": {"commands": "{{ command }}", "runAsElevated": true}}}"""
KEYS = f"{SAY_BEGUN}; exec cat"


class Sides(NamedTuple):
    """Both ways to the same node."""

    ours: Callable[[str], list[str]]
    """The arguments of a program that runs a command in a terminal."""
    theirs: Callable[[str], list[str]]
    environment: dict[str, str]
    log: Path


async def measure(size: Size) -> list[Figure]:
    """Keys, bulk, tunnels; then keys while results are being stored."""
    if not is_installed():
        return [Figure("sessions, by OpenSSH", "openssh-server is not installed")]
    fleet = size.of(5000, 10)
    with folder() as scratch:
        identities = admit(scratch / "data", fleet, lambda _: {"bench": "all"})
        async with (
            serving(scratch / "data") as server,
            agents(server, scratch, 1) as (ids, _),
            openssh(scratch) as ssh,
        ):
            await _create_document(server)
            sides = _sides(server, scratch, ids[0], ssh)
            return [
                await _keys(sides, size),
                await _bulk(sides, scratch, size),
                *await _tunnels(server, scratch, ids[0], ssh, size),
                await _keys_meanwhile(server, identities, sides, size),
            ]


async def _create_document(server: Server) -> None:
    async with server.api() as api:
        await api.call("CreateDocument", {"Name": DOCUMENT, "Content": CONTENT, "DocumentType": "Session"})


def environment_of(server: Server) -> dict[str, str]:
    """What makes `fleetward` and `aws` talk to this server as its root."""
    return {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_CA_BUNDLE": str(server.ca),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": server.root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.root.secret_access_key,
    }


def _sides(server: Server, scratch: Path, node_id: str, ssh: list[str]) -> Sides:
    start = [sys.executable, "-m", "fleetward.cli", "session", "start", node_id, "--document", DOCUMENT]
    return Sides(
        lambda command: [*start, "--parameter", f"command={command}"],
        lambda command: [*ssh[:-1], "-tt", ssh[-1], command],
        environment_of(server),
        scratch / "terminals.log",
    )


async def _keys(sides: Sides, size: Size) -> Figure:
    count = size.of(300, 20)
    ratios, ours, theirs = [], [], []
    for _ in range(size.rounds):
        ours.append(median(await asyncio.to_thread(_echoes, sides, sides.ours, count)) * 1000)
        theirs.append(median(await asyncio.to_thread(_echoes, sides, sides.theirs, count)) * 1000)
        ratios.append(ours[-1] / theirs[-1])
    note = f"{median(ours):.2f} ms, OpenSSH {median(theirs):.2f} ms"
    return at_most("a key's echo in a terminal, p50, by OpenSSH", median(ratios), 2.0, " x", note)


def _echoes(sides: Sides, side: Callable[[str], list[str]], count: int) -> list[float]:
    with _begun(sides, side, KEYS) as screen:
        return screen.echoes(count)


@contextlib.contextmanager
def _begun(sides: Sides, side: Callable[[str], list[str]], command: str) -> Iterator[Terminal]:
    """A terminal in which the command runs."""
    with terminal(side(command), sides.environment, sides.log) as screen:
        try:
            screen.read_until(BEGUN)
        except EOFError as fault:
            raise RuntimeError(f"the terminal ended: {sides.log.read_text()[-500:]}") from fault
        yield screen


async def _bulk(sides: Sides, scratch: Path, size: Size) -> Figure:
    file = scratch / "text"
    line = b"The quick brown fox jumps over the lazy dog, and once more, until the line is full.\n"
    file.write_bytes(line * (size.of(64, 1) * MIB // len(line)))
    ratios, ours, theirs = [], [], []
    for _ in range(size.rounds):
        ours.append(await asyncio.to_thread(_show, sides, sides.ours, file))
        theirs.append(await asyncio.to_thread(_show, sides, sides.theirs, file))
        ratios.append(ours[-1] / theirs[-1])
    note = f"{median(ours):.1f} MB/s, OpenSSH {median(theirs):.1f} MB/s"
    return at_least("a large file shown in a terminal, by OpenSSH", median(ratios), 1.0, " x", note)


def _show(sides: Sides, side: Callable[[str], list[str]], file: Path) -> float:
    """MB a second."""
    with _begun(sides, side, f"{SAY_BEGUN}; read go; cat {file}; {SAY_DONE}; read go") as screen:
        started = time.perf_counter()
        screen.type(b"\n")
        shown_bytes = screen.read_until(DONE, 300)
        taken = time.perf_counter() - started
    if shown_bytes < file.stat().st_size:
        raise RuntimeError(f"{shown_bytes} bytes of a file of {file.stat().st_size} were shown")
    return shown_bytes / 1e6 / taken


async def _tunnels(server: Server, scratch: Path, node_id: str, ssh: list[str], size: Size) -> list[Figure]:
    """One connection at a time through each tunnel, down and up."""
    amount = size.of(256, 4) * MIB
    figures = []
    with far_port(amount) as far:
        async with our_tunnel(server, scratch, node_id, far) as ours, _their_tunnel(ssh, scratch, far) as theirs:
            for name, transfer in (("down", fetch), ("up", push)):
                speeds = []
                for _ in range(size.rounds):
                    speeds.append([await asyncio.to_thread(transfer, port, amount) / 1e6 for port in (ours, theirs)])
                ratio = median([our / their for our, their in speeds])
                note = f"{median([our for our, _ in speeds]):.0f} MB/s, OpenSSH {median([o for _, o in speeds]):.0f}"
                figures.append(at_least(f"tunnel {name}, by ssh -L", ratio, 1.0, " x", note))
    return figures


@contextlib.asynccontextmanager
async def our_tunnel(server: Server, scratch: Path, node_id: str, port: int) -> AsyncIterator[int]:
    """A local port that leads to a port of the node, by `fleetward tunnel`."""
    arguments = ["-m", "fleetward.cli", "tunnel", node_id, str(port)]
    program = Program(sys.executable, *arguments, log=scratch / "tunnel.log", environment=environment_of(server))
    await program.start()
    try:
        yield int((await program.line()).split()[0].rpartition(":")[2])
    finally:
        await program.end()


@contextlib.asynccontextmanager
async def _their_tunnel(ssh: list[str], scratch: Path, port: int) -> AsyncIterator[int]:
    local = free_port()
    forward = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{local}:127.0.0.1:{port}"]
    program = Program(*ssh[:-1], *forward, ssh[-1], log=scratch / "ssh.log")
    await program.start()
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", local)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield local
    finally:
        await program.end()


DOWN, UP = b"d", b"u"


@contextlib.contextmanager
def far_port(amount: int) -> Iterator[int]:
    """A port that sends so much to who sends it a `d`, and takes so much from who sends it a `u`."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if connection.recv(1) == DOWN:
                piece = os.urandom(MIB)
                for _ in range(amount // MIB):
                    connection.sendall(piece)
            else:
                _take(connection, amount)
                connection.sendall(b"taken")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def fetch(port: int, amount: int) -> float:
    """Bytes a second, down."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        started = time.perf_counter()
        connection.sendall(DOWN)
        _take(connection, amount)
        return amount / (time.perf_counter() - started)


def push(port: int, amount: int) -> float:
    """Bytes a second, up; until the far end says that it has all."""
    piece = os.urandom(MIB)
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        started = time.perf_counter()
        connection.sendall(UP)
        for _ in range(amount // MIB):
            connection.sendall(piece)
        _take(connection, len(b"taken"))
        return amount / (time.perf_counter() - started)


def _take(connection: socket.socket, amount: int) -> None:
    buffer = bytearray(MIB)
    while amount:
        taken = connection.recv_into(buffer, min(amount, MIB))
        if not taken:
            raise ConnectionError(f"the connection ended {amount} bytes too early")
        amount -= taken


async def _keys_meanwhile(server: Server, identities: Sequence[Identity], sides: Sides, size: Size) -> Figure:
    """Keys while a command's results are stored, again and again, by keys while nothing happens."""
    count, fleet = size.of(200, 10), len(identities)
    async with virtual_nodes(server, identities) as nodes, server.api() as api:
        await nodes.until_connected(fleet, 120)
        idle, busy = [], []
        for _ in range(size.rounds):
            idle.append(median(await asyncio.to_thread(_echoes, sides, sides.ours, count)))
            commands = asyncio.create_task(_keep_commanding(server, fleet))
            await asyncio.sleep(0.5)
            busy.append(median(await asyncio.to_thread(_echoes, sides, sides.ours, count)))
            commands.cancel()
            await asyncio.gather(commands, return_exceptions=True)
        await fan_out.one_round(api, fleet, read_back=False)
    note = f"{median(busy) * 1000:.1f} ms, idle {median(idle) * 1000:.1f} ms"
    ratio = median([one / other for one, other in zip(busy, idle, strict=True)])
    return at_most(f"the same while {fleet:,} results are being stored, by idle", ratio, 4.0, " x", note)


async def _keep_commanding(server: Server, fleet: int) -> None:
    async with server.api() as api:
        while True:
            await fan_out.one_round(api, fleet, read_back=False)
