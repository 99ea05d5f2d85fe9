"""Apart: a pure function computed in a process of its own, which is ended when it takes too long or too much memory."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fleetward.server.effects import Failed
from fleetward.server.errors import AwsError

MEMORY_BYTES = 1 << 30
TOO_LONG = "it takes too long to work out"


def computed_apart(function: Callable[..., Any], arguments: Sequence[Any], seconds: float) -> Any:
    """What `ComputeApart` comes to; not for the event loop."""
    order = {"module": function.__module__, "name": function.__name__, "arguments": list(arguments)}
    command = [sys.executable, "-m", __name__, str(int(seconds))]
    try:
        done = subprocess.run(
            command, input=json.dumps(order).encode(), capture_output=True, timeout=2 * seconds + 5, check=False
        )
    except subprocess.TimeoutExpired:
        return Failed(TOO_LONG)
    if done.returncode != 0:
        return Failed(TOO_LONG if done.returncode < 0 else "it cannot be worked out")
    answer = json.loads(done.stdout)
    if "code" in answer:
        kind: type[AwsError] = getattr(importlib.import_module(answer["module"]), answer["code"])
        return kind(answer["message"])
    return answer["value"]


def main() -> None:
    """The process: an order from standard input, computed within limits of time and memory; the answer goes out."""
    _limit(int(sys.argv[1]))
    order = json.load(sys.stdin)
    function = getattr(importlib.import_module(order["module"]), order["name"])
    try:
        answer = {"value": function(*order["arguments"])}
    except AwsError as fault:
        answer = {"module": type(fault).__module__, "code": fault.code, "message": fault.message}
    json.dump(answer, sys.stdout)


def _limit(seconds: int) -> None:
    if sys.platform == "win32":
        return  # the parent's clock alone
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    main()
