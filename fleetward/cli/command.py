"""`fleetward command`: outputs in full, and the brake for the day a bad document goes out."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from fleetward.cli.failure import Failure

program = typer.Typer(no_args_is_help=True, help="Outputs of commands, in full.")


@program.command("output")
def output(
    command_id: Annotated[str, typer.Argument(help="Id of the command.")],
    node_id: Annotated[str, typer.Argument(help="Id of the node.")],
    step: Annotated[str, typer.Option(help="Name of the step; needed when there are several.")] = "",
    stderr: Annotated[bool, typer.Option("--stderr", help="What the step wrote to standard error.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Write bytes as they are, control sequences too.")] = False,
) -> None:
    """Write a step's whole output, beyond the 24,000 characters that the API returns."""
    from fleetward.cli.api import Api

    api = Api()
    stream = "stderr" if stderr else "stdout"
    kept = api.call("ListCommandOutputs", {"CommandId": command_id, "InstanceId": node_id})["Outputs"]
    steps = [each["Step"] for each in kept if each["Stream"] == stream and step in ("", each["Step"])]
    if not steps:
        raise Failure(
            f"no {stream} of this invocation is kept in full; aws ssm get-command-invocation has what there is"
        )
    if len(steps) > 1:
        raise Failure(f"several steps have a {stream}: name one with --step: {', '.join(steps)}", 2)
    path = "/_fleetward/outputs/" + "/".join(quote(part, safe="") for part in (command_id, node_id, steps[0], stream))
    for piece in api.pieces(path):
        sys.stdout.buffer.write(piece if raw else printable(piece))
    sys.stdout.buffer.flush()


def halt(
    reason: Annotated[str, typer.Option(help="Why, for whoever wonders.")] = "",
    status: Annotated[bool, typer.Option("--status", help="Only say whether commands are held back.")] = False,
) -> None:
    """Release no more commands to any node of this account and region, until `fleetward resume`."""
    from fleetward.cli.api import Api

    api = Api()
    state = api.call("DescribeHalt", {}) if status else {"Halted": True, **api.call("Halt", {"Reason": reason})}
    if not state["Halted"]:
        print("Commands are released as usual.")
        return
    print(f"Halted by {state.get('CallerArn', '')}: {state.get('Reason') or 'no reason given'}")


def resume() -> None:
    """Let commands go again after `fleetward halt`."""
    from fleetward.cli.api import Api

    Api().call("Resume", {})
    print("Commands are released as usual.")


def printable(piece: bytes) -> bytes:
    """The bytes without control characters, so that an output cannot drive the terminal."""
    return bytes(byte if byte >= 32 or byte in (9, 10) else 63 for byte in piece).replace(b"\x7f", b"?")
