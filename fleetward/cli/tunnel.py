"""`fleetward tunnel` and `fleetward ssh-proxy`: ports of nodes, and of hosts that nodes can reach, on this machine."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fleetward.cli.failure import Failure

if TYPE_CHECKING:
    from fleetward.client import Fleet
    from fleetward.client.tunnel import Tunnel

LARGEST_PORT = 65535
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Forward:
    """One forward that was asked for; no host is the node itself, local port 0 is any free one."""

    port: int
    host: str | None
    local_port: int


def tunnel(
    node_id: Annotated[str, typer.Argument(help="Id of the node, mi-…")],
    ports: Annotated[list[str], typer.Argument(help="PORT of the node, or PORT:HOST of a host that it can reach.")],
    local: Annotated[
        list[int] | None, typer.Option(help="Local port; once for each forward, in order. Any free one unless given.")
    ] = None,
    bind: Annotated[str, typer.Option(help="Local address to listen on.")] = LOOPBACK,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
) -> None:
    """Lead local ports to ports of a node, until Ctrl-C. Each forward is a session of its own."""
    from fleetward.cli.sessions import run

    forwards = _forwards(ports, local or [])
    run(lambda fleet: _tunnel(fleet, node_id, forwards, bind, reason))


def ssh_proxy(
    node_id: Annotated[str, typer.Argument(help="Id of the node, mi-…")],
    port: Annotated[int, typer.Argument(help="Port of the node's SSH server.", min=1, max=LARGEST_PORT)] = 22,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
) -> None:
    """Carry one connection to a node's port at standard input and output.

    For ~/.ssh/config: ProxyCommand fleetward ssh-proxy %h %p
    """
    from fleetward.cli.sessions import run

    run(lambda fleet: fleet.proxy(node_id, port, reason=reason))


async def _tunnel(fleet: Fleet, node_id: str, forwards: list[Forward], bind: str, reason: str) -> None:
    import asyncio

    from fleetward.client.terminal import Signals

    enough = asyncio.Event()
    tunnels: list[Tunnel] = []

    async def serve() -> None:
        for forward in forwards:
            tunnels.append(await _open(fleet, node_id, forward, bind, reason))
        _print("Waiting for connections...")
        await _first_end(tunnels)

    with Signals(interrupted=enough.set, ended=enough.set):
        work = [asyncio.ensure_future(serve()), asyncio.ensure_future(enough.wait())]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in work:
                each.cancel()
            await asyncio.gather(*(each.close() for each in tunnels))
    for task in done:
        task.result()


async def _open(fleet: Fleet, node_id: str, forward: Forward, bind: str, reason: str) -> Tunnel:
    target = f"{forward.host or node_id}:{forward.port}"

    def note(text: str) -> None:
        print(f"fleetward: {_plain(target)}: {text}", file=sys.stderr)

    made = await fleet.forward(node_id, forward.port, host=forward.host, reason=reason, note=note)
    address = await made.open(bind, forward.local_port)
    _print(f"{address.host}:{address.port} leads to {target}, session {made.session_id}")
    return made


async def _first_end(tunnels: list[Tunnel]) -> None:
    """Wait until a session ends by itself, which is a failure."""
    import asyncio

    ends = {asyncio.ensure_future(each.wait()): each for each in tunnels}
    done, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in waiting:
        end.cancel()
    for end in done:
        raise Failure(f"session {_plain(ends[end].session_id)} ended: {_plain(end.result().reason or 'it was closed')}")


def _forwards(ports: list[str], local: list[int]) -> list[Forward]:
    if len(local) > len(ports):
        raise Failure("there are more local ports than forwards", 2)
    locals_ = [*local, *[0] * (len(ports) - len(local))]
    return [_forward(text, local_port) for text, local_port in zip(ports, locals_, strict=True)]


def _forward(text: str, local_port: int) -> Forward:
    port, colon, host = text.partition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= LARGEST_PORT) or (colon and not host):
        raise Failure(f"a forward is PORT or PORT:HOST, not {_plain(text)}", 2)
    if not 0 <= local_port <= LARGEST_PORT:
        raise Failure(f"{local_port} is no port", 2)
    return Forward(int(port), host.strip("[]") if colon else None, local_port)


def _print(text: str) -> None:
    print(_plain(text), flush=True)


def _plain(text: str) -> str:
    from fleetward.client.errors import plain

    return plain(text)
