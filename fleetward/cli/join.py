"""`fleetward join`: make this machine a managed node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetward.cli.failure import Failure


def join(
    endpoint: Annotated[str, typer.Option(help="Address of the control plane, https://HOST:PORT.")],
    activation_id: Annotated[str, typer.Option(help="Id of the activation.")],
    activation_code: Annotated[str, typer.Option(help="Code of the activation.")],
    state: Annotated[Path, typer.Option(help="Folder for keys, journal and outputs; it belongs to this node alone.")],
    ca: Annotated[Path | None, typer.Option(help="Certificate of the control plane's CA (PEM).")] = None,
    ca_sha256: Annotated[
        str, typer.Option(help="SHA-256 of that certificate (DER); it is then fetched and checked.")
    ] = "",
    region: Annotated[str, typer.Option(help="Region of the node; the control plane knows it.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Join again although this folder has joined before.")] = False,
) -> None:
    """Exchange an activation for a node id and print it."""
    import asyncio

    from fleetward.agent.identity import IdentityFault

    if endpoint.startswith("https:") and (ca is None) == (not ca_sha256):
        raise Failure("give either --ca or --ca-sha256", 2)
    try:
        given = ca.read_text() if ca else ""
        node_id = asyncio.run(
            _join(
                endpoint.rstrip("/"), activation_id, activation_code, state.absolute(), given, ca_sha256, region, force
            )
        )
    except (IdentityFault, OSError) as fault:
        raise Failure(str(fault)) from fault
    print(node_id)


async def _join(
    endpoint: str,
    activation_id: str,
    activation_code: str,
    folder: Path,
    given: str,
    ca_sha256: str,
    region: str,
    force: bool,
) -> str:
    from fleetward.agent import identity, platforms
    from fleetward.agent.state import StateFolder, write_whole

    state = StateFolder(folder)
    if (state.vault / "identity.json").exists() and not force:
        node_id = identity.load(state).node_id
        raise identity.IdentityFault(f"{folder} has joined as {node_id}: leave first, or join again with --force")
    pem = await identity.fetch_ca(endpoint, ca_sha256) if ca_sha256 else given
    state.prepare()
    if pem:
        write_whole(state.ca, pem.encode(), mode=0o644)
    made = await identity.register(state, platforms.current(), endpoint, region, activation_id, activation_code)
    return made.node_id
