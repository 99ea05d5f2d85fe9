"""`fleetward init`: prepare a data folder and say how to reach the server that will use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.failure import Failure


def init(
    data: Annotated[Path, typer.Option(help="Folder of database, objects, keys and certificates.")],
    listen: Annotated[list[str] | None, typer.Option(help="TLS address the server will use, host:port.")] = None,
    account: Annotated[str | None, typer.Option(help="Account id, 12 digits.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Region to serve.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    reset_root: Annotated[bool, typer.Option(help="Replace root's access key by a new one.")] = False,
) -> None:
    """Create keys, CA, tables and root's access key where they are missing; later calls omit the secret."""
    from fleetward.server import settings
    from fleetward.server.keys import KeyFault

    given = {
        "data": data,
        "account": account,
        "listen": tuple(listen) if listen else None,
        "region": tuple(region) if region else None,
    }
    try:
        result = prepare(settings.load(given), reset_root=reset_root)
    except (settings.SettingsFault, KeyFault) as fault:
        raise Failure(str(fault)) from fault
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


def prepare(settings: Any, *, reset_root: bool) -> dict[str, Any]:
    """Make the folder ready; the returned secret exists nowhere else but in root-credentials.json."""
    from fleetward.server import app, beginning, certificates
    from fleetward.server.edge.http import server_names

    application = app.Application(settings)
    try:
        created = beginning.first_start(application.runner, settings)
        if reset_root:
            created = beginning.reset_root(application.runner, settings)
        if created is not None:
            beginning.write_root_credentials(settings, created)
        files = certificates.prepare(
            settings.data / "tls", server_names(settings), settings.region, application.clock.now()
        )
    finally:
        application.store.close()
        if application.lock is not None:
            application.lock.close()
    known = json.loads((settings.data / "root-credentials.json").read_text())
    result = {
        "endpoint": settings.own_url,
        "ca_file": str(files.ca.resolve()),
        "account": settings.account,
        "region": settings.default_region,
        "access_key_id": known["access_key_id"],
    }
    if created is not None:
        result["secret_access_key"] = created["secret_access_key"]
    return result
