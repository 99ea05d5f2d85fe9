"""`fleetward region`: the regions that the servers accept signatures of."""

from __future__ import annotations

from typing import Annotated, Any

import typer

program = typer.Typer(no_args_is_help=True, help="Regions that are served.")


@program.command("add")
def add(name: Annotated[str, typer.Argument(help="Name of the region, such as eu-central-1.")]) -> None:
    """Serve one more region; every server does within a second."""
    from fleetward.cli.api import Api

    _show(Api().call("AddRegion", {"RegionName": name}))


@program.command("list")
def list_all() -> None:
    """List the regions that are served, the default first."""
    from fleetward.cli.api import Api

    _show(Api().call("ListRegions", {}))


def _show(answer: dict[str, Any]) -> None:
    from datetime import UTC, datetime

    for region in answer["Regions"]:
        since = "by the settings"
        if "AddedAt" in region:
            since = f"since {datetime.fromtimestamp(region['AddedAt'], UTC):%Y-%m-%d %H:%M} UTC, {region['AddedBy']}"
        print(f"{region['RegionName']:24} {since}")
