"""`fleetward leave`: end what join and agent began."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fleetward.cli.failure import Failure


def leave(
    state: Annotated[Path, typer.Option(help="The folder that `fleetward join` made.")],
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove keys, journal and outputs, though the control plane may not know.")
    ] = False,
) -> None:
    """Deregister this node, remove its service and forget who it was; `--purge` removes the rest of the folder too."""
    import asyncio

    from fleetward.agent import identity, platforms
    from fleetward.agent.client import ServiceFault
    from fleetward.agent.http import HttpFault
    from fleetward.agent.signing import SigningFault
    from fleetward.agent.state import StateFolder

    folder = StateFolder(state.absolute())
    try:
        asyncio.run(identity.leave(folder, identity.load(folder)))
    except (identity.IdentityFault, ServiceFault, HttpFault, SigningFault) as fault:
        if not purge:
            raise Failure(f"the control plane was not told: {fault}") from fault
        print(f"fleetward: the control plane was not told: {fault}", file=sys.stderr)
    try:
        platforms.current().remove_service(folder.root)
        identity.forget(folder)
        if purge:
            folder.remove()
    except OSError as fault:
        raise Failure(str(fault)) from fault
