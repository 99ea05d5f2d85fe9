"""`python -m fleetward.testing.virtual_fleet`: register simulated nodes for a demonstration, keep them online."""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import multiprocessing
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fleetward.testing.virtual_fleet.fleet import VirtualFleet
from fleetward.testing.virtual_fleet.identity import CallFault, new_key_pair, register

MOST_REGISTERED = 100
"""Nodes that the command line makes: each costs an RSA key."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Register nodes, keep them online, answer what they are sent, until SIGTERM or SIGINT."""
    import uvloop

    options = _parser().parse_args(arguments)
    if not 1 <= options.count <= MOST_REGISTERED:
        sys.stderr.write(f"--count must be 1 to {MOST_REGISTERED}\n")
        return 2
    _say(f"making {options.count} keys")
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
        pairs = list(pool.map(new_key_pair, range(options.count)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_demonstrate(options, pairs))
        except CallFault as fault:
            sys.stderr.write(f"the simulated nodes cannot register: {fault}\n")
            return 1
    return 0


async def _demonstrate(options: argparse.Namespace, pairs: Sequence[tuple[bytes, str]]) -> None:
    ended = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, ended.set)
    fleet = VirtualFleet(options.endpoint, ca_file=options.ca, region=options.region)
    try:
        for number, (private, public) in enumerate(pairs, 1):
            name = f"{options.prefix}-{number:03}"
            node = await register(fleet, options.activation_id, options.activation_code, private, public, name)
            fleet.start([node])
            if number % 10 == 0 or number == len(pairs):
                _say(f"registered {number} of {len(pairs)} simulated nodes")
            if ended.is_set():
                return
        await fleet.until(lambda: fleet.connected == len(pairs) or ended.is_set(), 60)
        _say(f"ready {fleet.connected}")
        await ended.wait()
    finally:
        await fleet.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fleetward.testing.virtual_fleet", description=main.__doc__)
    parser.add_argument("--endpoint", required=True, help="URL of the server")
    parser.add_argument("--ca", type=Path, help="PEM file of the server's CA")
    parser.add_argument("--activation-id", required=True)
    parser.add_argument("--activation-code", required=True)
    parser.add_argument("--count", type=int, required=True, help=f"how many nodes, at most {MOST_REGISTERED}")
    parser.add_argument("--prefix", default="simulated", help="nodes are named PREFIX-001 and so on")
    parser.add_argument("--region", default="us-east-1")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
