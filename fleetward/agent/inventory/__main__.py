"""The child that gathers: what to do as JSON on standard input, what came of it as JSON on standard output.

The bodies of the calls are files in the folder named, so that they pass through nobody's memory twice.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from fleetward.agent.inventory.report import bodies, gather


def report(asked: dict[str, Any], now: float) -> dict[str, Any]:
    """Gather and write: `changed` are the files to send, `full` those to send if the control plane lost what it had."""
    folder = Path(asked["folder"])
    items, faults = gather(asked["inputs"], Path(asked["custom_folder"]))
    known = asked["hashes"]
    return {
        "changed": _written(folder, "changed", bodies(asked["node_id"], items, known, now)),
        "full": _written(folder, "full", bodies(asked["node_id"], items, {}, now)),
        "hashes": {item.type_name: item.content_hash for item in items},
        "faults": faults,
    }


def _written(folder: Path, name: str, texts: list[str]) -> list[str]:
    paths = []
    for number, text in enumerate(texts):
        path = folder / f"{name}-{number}.json"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        paths.append(str(path))
    return paths


def main() -> None:
    """Read, do, write."""
    sys.stdout.write(json.dumps(report(json.loads(sys.stdin.buffer.read()), time.time())))


if __name__ == "__main__":
    main()
