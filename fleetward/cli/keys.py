"""`fleetward keys`: the master keys that secrets in the store are sealed with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

program = typer.Typer(no_args_is_help=True, help="Master keys: rotate, watch, retire.")


@program.command("rotate")
def rotate() -> None:
    """Bring a new master key into use and wrap every sealed row anew; servers go on meanwhile."""
    _show("RotateKeys", {})


@program.command("status")
def status() -> None:
    """Show which key is in use, which servers have it, and how far a rotation is."""
    _show("DescribeKeys", {})


@program.command("retire")
def retire(
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for temporary credentials: they end at once.")
    ] = False,
) -> None:
    """Remove the keys before the one in use, 36 hours after the rotation. Older backups cannot be read without them."""
    _show("RetireKeys", {"AtOnce": now})


def _show(operation: str, members: dict[str, Any]) -> None:
    from fleetward.cli.api import Api

    state: dict[str, Any] = Api().call(operation, members)
    print(f"in use     {state['InUse']}, since {_time(state['RotatedAt'])}")
    if "Wanted" in state:
        missing = ", ".join(state["WaitingFor"]) or "nobody"
        print(f"coming     {state['Wanted']}, waiting for {missing}")
    print(f"rows       {'all sealed with it' if 'RewrappedAt' in state else 'being sealed with it'}")
    if "RetireAt" in state:
        print(f"retirement of older keys at {_time(state['RetireAt'])}")
    for server in state["Servers"]:
        print(f"server     {server['ServerId']} holds {', '.join(map(str, server['Keys']))}")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
