"""`make bench`: measure every row, or those named, and print the table."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import time

import uvloop

from bench.figures import Figure, Size, table
from bench.limits import raise_limits

ROWS = (
    "authorization",
    "signed_read",
    "writes",
    "objects",
    "memory",
    "own_agent",
    "real_agents",
    "fan_out",
    "tag_condition",
    "fleet_back",
    "session_relay",
    "sessions",
    "session_cuts",
    "session_peers",
)
ROW_SECONDS = 1200.0


def main() -> int:
    """Run the rows asked for; 0 unless a row broke (a missed bar is a finding, not a failure)."""
    options = _parser().parse_args()
    raise_limits()
    size = Size(rounds=1 if options.quick or options.tiny else 5, tiny=options.tiny, seconds=options.idle_seconds)
    figures: list[Figure] = []
    broken = 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for name in options.rows or ROWS:
            started = time.perf_counter()
            try:
                found = runner.run(_row(name, size))
            except Exception as fault:
                broken += 1
                found = [Figure(name, f"broke: {type(fault).__name__}: {fault}"[:300])]
            figures += found
            print(f"-- {name}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
            print(table(found), file=sys.stderr, flush=True)
    print(table(figures))
    return 1 if broken else 0


async def _row(name: str, size: Size) -> list[Figure]:
    async with asyncio.timeout(ROW_SECONDS):
        found: list[Figure] = await importlib.import_module(f"bench.rows.{name}").measure(size)
        return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[*ROWS, []], help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="one round of each ratio instead of five")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: shows that the bench works, measures nothing")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="how long idle things are watched")
    return parser


if __name__ == "__main__":
    sys.exit(main())
