"""`fleetward agent`: run the agent of this machine, now or with the system."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fleetward.cli.failure import Failure


def agent(
    state: Annotated[Path, typer.Option(help="The folder that `fleetward join` made.")],
    install: Annotated[bool, typer.Option("--install", help="Start with the system from now on.")] = False,
    prepare_template: Annotated[
        bool, typer.Option("--prepare-template", help="Forget who this node is, before the machine becomes a template.")
    ] = False,
) -> None:
    """Run in the foreground until SIGTERM."""
    import os
    import subprocess

    from fleetward.agent.__main__ import command

    folder = state.absolute()
    if install or prepare_template:
        _set_up(folder, install=install)
        return
    words = command(folder)
    sys.stdout.flush()
    if sys.platform == "win32":
        raise typer.Exit(subprocess.run(words, check=False).returncode)
    os.execv(words[0], words)  # noqa: S606 - the resident process must not carry the command line's modules


def _set_up(folder: Path, *, install: bool) -> None:
    from fleetward.agent import identity, platforms
    from fleetward.agent.__main__ import command
    from fleetward.agent.state import StateFolder

    state = StateFolder(folder)
    try:
        if install:
            identity.load(state)
            print(platforms.current().install_service(command(folder), folder))
            return
        lock = platforms.current().lock(state.lock) if folder.is_dir() else None
        if lock is None:
            raise identity.IdentityFault(f"{folder} is not there, or an agent runs on it: stop it first")
        identity.forget(state)
        print("This node is no node any more: join again on the machines made from the template.")
    except (identity.IdentityFault, OSError) as fault:
        raise Failure(str(fault)) from fault
