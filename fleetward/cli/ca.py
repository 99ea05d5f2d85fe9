"""`fleetward ca`: the CA of a data folder, and how another one takes its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.failure import Failure

program = typer.Typer(no_args_is_help=True, help="The CA that nodes and clients trust: show, rotate.")
Data = Annotated[Path, typer.Option(envvar="FLEETWARD_DATA", help="The server's data folder.")]
TAKES_UP = "A running server takes it up within an hour, or at once by SIGHUP (systemctl reload fleetward-server)."


@program.command("show")
def show(
    data: Data,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    pem: Annotated[bool, typer.Option("--pem", help="Print the certificates to trust.")] = False,
) -> None:
    """Show which CAs are to be trusted, which one signs, and when that changes."""
    if pem:
        print((_folder(data) / "ca.pem").read_text(), end="")
        return
    state = _state(data)
    if as_json:
        print(json.dumps(state))
        return
    for each in state["trusted"]:
        role = "signs" if each["signs"] else "to come" if state["rotating"] else "trusted"
        print(f"{role:8} {each['sha256']}  until {each['not_after'][:10]}  {each['name']}")
    if state["rotating"]:
        print(f"switch   {state['switch_at'] or 'by `fleetward ca rotate --finish`'}")


@program.command("rotate")
def rotate(
    data: Data,
    switch_on: Annotated[
        str, typer.Option(help="Date (UTC), YYYY-MM-DD, from which the new CA signs; also moves a date set before.")
    ] = "",
    finish: Annotated[bool, typer.Option("--finish", help="Let the new CA sign now and forget the old one.")] = False,
) -> None:
    """Make a new CA that is trusted beside the old one until the switch; nodes of ours learn it by themselves."""
    from fleetward.server import authority

    if finish and switch_on:
        raise Failure("give either --switch-on or --finish", 2)
    folder, now = _folder(data), datetime.now(UTC)
    try:
        rotating = authority.state(folder).rotating
        if finish and not rotating:
            raise Failure("no rotation is under way: begin with `fleetward ca rotate`")
        if rotating and not finish and not switch_on:
            raise Failure("a rotation is under way already: --finish ends it, --switch-on sets its date")
        at = now if finish else _date(switch_on, now)
        if rotating:
            authority.switch(folder, at)
        else:
            authority.begin(folder, now, at)
    except authority.CertificateFault as fault:
        raise Failure(str(fault)) from fault
    if finish:
        print(f"The new CA signs. {TAKES_UP}")
        return
    print(f"Both CAs are in {folder / 'ca.pem'}: give it to whoever trusts this server, official agents' machines too.")
    print(f"The switch comes {f'on {switch_on}' if switch_on else 'by `fleetward ca rotate --finish`'}.")
    print("Nodes with Fleetward's agent look every six hours; those that are away until the switch have to join anew.")


def _date(text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as fault:
        raise Failure(f"{text!r} is no date of the form YYYY-MM-DD", 2) from fault
    if at <= now:
        raise Failure(f"{text} is not in the future; --finish switches now", 2)
    return at


def _folder(data: Path) -> Path:
    folder = data.absolute() / "tls"
    if not (folder / "ca.key").exists():
        raise Failure(f"{folder} holds no CA: is it the data folder of a server that has started?")
    return folder


def _state(data: Path) -> dict[str, Any]:
    from fleetward.server import authority

    try:
        state = authority.state(_folder(data))
    except authority.CertificateFault as fault:
        raise Failure(str(fault)) from fault
    return {
        "trusted": [
            {"name": each.name, "sha256": each.sha256, "not_after": each.not_after.isoformat(), "signs": each.issues}
            for each in state.trusted
        ],
        "rotating": state.rotating,
        "switch_at": state.switch_at.isoformat() if state.switch_at is not None else None,
    }
