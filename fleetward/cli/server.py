"""`fleetward server`: run the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.failure import Failure

Text = Annotated[str | None, typer.Option()]


def server(
    data: Annotated[Path | None, typer.Option(help="Folder of database, objects, keys and certificates.")] = None,
    listen: Annotated[list[str] | None, typer.Option(help="TLS address, host:port. [default: 127.0.0.1:8443]")] = None,
    http: Annotated[str | None, typer.Option(help="Plain-HTTP address on loopback, host:port.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Host name or address that clients use.")] = None,
    public_url: Annotated[str | None, typer.Option(help="URL that clients and nodes reach this server by.")] = None,
    trusted_proxy: Annotated[list[str] | None, typer.Option(help="Network whose forwarded headers count.")] = None,
    proxy_protocol: Annotated[
        bool | None, typer.Option("--proxy-protocol", help="Expect a PROXY header from the trusted proxies.")
    ] = None,
    allow_fetch: Annotated[list[str] | None, typer.Option(help="Network that the server may fetch from.")] = None,
    account: Annotated[str | None, typer.Option(help="Account id, 12 digits. [default: 123456789012]")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Region to serve. [default: us-east-1]")] = None,
    database: Annotated[str | None, typer.Option(help="postgresql://… instead of SQLite.")] = None,
    bus: Annotated[str | None, typer.Option(help="nats://… instead of the bus inside the process.")] = None,
    objects: Annotated[str | None, typer.Option(help="s3://… instead of a folder.")] = None,
    peer_listen: Annotated[str | None, typer.Option(help="Address for other servers, host:port.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    ephemeral: Annotated[
        bool | None, typer.Option("--ephemeral", help="Data need not outlive the server; --data may be left out.")
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Start with the system from now on.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file with any of the settings.")] = None,
) -> None:
    """Run the control plane until SIGTERM; prints `ready https://HOST:PORT` once it serves."""
    given: dict[str, Any] = {
        "data": data,
        "listen": tuple(listen) if listen else None,
        "http": http,
        "name": tuple(name) if name else None,
        "public_url": public_url,
        "trusted_proxy": tuple(trusted_proxy) if trusted_proxy else None,
        "proxy_protocol": proxy_protocol,
        "allow_fetch": tuple(allow_fetch) if allow_fetch else None,
        "account": account,
        "region": tuple(region) if region else None,
        "database": database,
        "bus": bus,
        "objects": objects,
        "peer_listen": peer_listen,
        "log_level": log_level,
        "ephemeral": ephemeral,
    }
    if install:
        _install(given, config)
    else:
        run(given, config)


def _install(given: dict[str, Any], config: Path | None) -> None:
    from fleetward.cli import server_unit
    from fleetward.server import settings

    try:
        print(server_unit.install(given, config))
    except settings.DataNotGiven as fault:
        raise Failure(str(fault), 2) from fault
    except (settings.SettingsFault, OSError) as fault:
        raise Failure(str(fault)) from fault


def run(given: dict[str, Any], config: Path | None) -> None:
    """Load the settings and serve; what cannot be used ends with one sentence."""
    from fleetward.server import app, logging_setup, settings
    from fleetward.server.certificates import CertificateFault
    from fleetward.server.keys import KeyFault

    try:
        chosen = settings.load(given, config)
        logging_setup.configure(chosen.log_level)
        with _runner() as runner:
            runner.run(app.run(chosen, lambda line: print(line, flush=True)))
    except settings.DataNotGiven as fault:
        raise Failure(str(fault), 2) from fault
    except (settings.SettingsFault, CertificateFault, KeyFault) as fault:
        raise Failure(str(fault)) from fault


def _runner() -> Any:
    import asyncio

    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
