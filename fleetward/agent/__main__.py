"""`python -m fleetward.agent --state DIR`: the resident process, without the command line's own weight."""

from __future__ import annotations

import os
import sys
from pathlib import Path

USAGE = "usage: python -m fleetward.agent --state DIR"


def main(arguments: list[str]) -> int:
    """Run the agent of a state folder until SIGTERM; 0 when asked to stop, 1 when it cannot run, 2 for wrong usage."""
    match arguments:
        case ["--state", folder]:
            pass
        case [argument] if argument.startswith("--state="):
            folder = argument.partition("=")[2]
        case _:
            sys.stderr.write(f"{USAGE}\n")
            return 2
    from fleetward.agent import app

    return app.run(Path(folder).absolute())


def command(folder: Path) -> list[str]:
    """The command that starts the resident process; without docstrings in memory it is 2 MiB smaller."""
    return [sys.executable, "-P", "-OO", "-m", "fleetward.agent", "--state", str(folder)]


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
