"""Login and logout, and what `aws` runs for keys (`fleetward login --credentials PROFILE`)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetward.cli.login import browser, kept, profile
from fleetward.cli.login.door import Door, Refused

FRESH = 16 * 60
"""Seconds that keys are good for at least when they are handed out again: the SDKs ask anew below 15 minutes."""


def login(
    endpoint: Annotated[str, typer.Option(help="The server's URL; default: that of the profile.")] = "",
    ca: Annotated[str, typer.Option(help="PEM file of the CA to trust; default: that of the profile.")] = "",
    name: Annotated[str, typer.Option("--profile", help="AWS profile to write.")] = "fleetward",
    user: Annotated[str, typer.Option(help="User name; asked for when not given.")] = "",
    oidc: Annotated[bool, typer.Option("--oidc", help="Sign in with a browser, by an OIDC provider.")] = False,
    provider: Annotated[str, typer.Option(help="Name of the provider, where the server knows several.")] = "",
    credentials: Annotated[str, typer.Option(help="Print keys of a profile for `aws`, which runs this.")] = "",
) -> None:
    """Sign in, and write an AWS profile whose keys renew themselves while the sign-in lasts."""
    if credentials:
        _print_keys(credentials)
        return
    import sys

    known = profile.read(name)
    door = Door(endpoint or _endpoint(known), _ca_file(ca, known), _device_of(name))
    profile.check(name)
    answer = browser.sign_in(door, provider) if oidc or provider else _by_password(door, user)
    _keep(name, door, _ca_file(ca, known), answer)
    print(f"Signed in as {answer['Arn']} until {answer['SignInExpiration']}.", file=sys.stderr)
    print(f"Try: aws --profile {name} sts get-caller-identity", file=sys.stderr)


def logout(name: Annotated[str, typer.Option("--profile", help="AWS profile to sign out.")] = "fleetward") -> None:
    """Sign out: the keys end within a second, and the profile asks us no more."""
    import sys

    from fleetward.cli.failure import Failure

    with kept.alone(name):
        held = kept.load(name)
        if held is None:
            raise Failure(f"nobody is signed in with the profile {name}")
        try:
            Door(held.endpoint, held.ca_file, held.cookies).leave()
        except Failure as fault:
            print(f"The server was not told, the sign-in ends there by itself: {fault}", file=sys.stderr)
        kept.remove(name)
        profile.remove(name)
    print(f"Signed out of {held.endpoint}.", file=sys.stderr)


def _endpoint(known: dict[str, str]) -> str:
    import os

    from fleetward.cli.failure import Failure

    found = known.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL", "")
    if not found:
        raise Failure("say where to sign in: --endpoint https://HOST:PORT", 2)
    return found


def _ca_file(given: str, known: dict[str, str]) -> str:
    import os
    from pathlib import Path

    from fleetward.cli.failure import Failure

    found = given or known.get("ca_bundle") or os.environ.get("AWS_CA_BUNDLE", "")
    if found and not Path(found).is_file():
        raise Failure(f"there is no CA file {found}", 2)
    return str(Path(found).absolute()) if found else ""


def _device_of(name: str) -> dict[str, str]:
    """The token that tells this program from strangers, from an earlier login."""
    from fleetward.cli.login.door import DEVICE

    held = kept.load(name)
    return {} if held is None else {key: value for key, value in held.cookies.items() if key == DEVICE}


def _by_password(door: Door, user: str) -> dict[str, Any]:
    """Ask for what the server wants until it has enough."""
    import getpass
    import sys

    print(f"Signing in to {door.endpoint}", file=sys.stderr)
    members = {"UserName": user or typer.prompt("User", err=True)}
    members["Password"] = getpass.getpass("Password: ")
    while True:
        try:
            return door.enter(members)
        except Refused as refused:
            wanted = [each for each in refused.needs if each in ("TokenCode", "NewPassword") and each not in members]
            if not wanted:
                raise
        if "NewPassword" in wanted:
            print("Your password has to be changed.", file=sys.stderr)
            members["NewPassword"] = _new_password()
        if "TokenCode" in wanted:
            members["TokenCode"] = typer.prompt("Code of your device", err=True).strip()


def _new_password() -> str:
    import getpass
    import sys

    while True:
        first = getpass.getpass("New password: ")
        if first == getpass.getpass("New password again: "):
            return first
        print("These are not the same.", file=sys.stderr)


def _keep(name: str, door: Door, ca_file: str, answer: dict[str, Any]) -> None:
    with kept.alone(name):
        held = kept.Login(door.endpoint, ca_file, answer["Arn"], "", door.cookies, answer["Credentials"])
        kept.store(name, held)
        settings = {"region": answer["Region"], "endpoint_url": door.endpoint, "ca_bundle": ca_file}
        profile.write(name, {**settings, "credential_process": profile.process_of(name)})


def _print_keys(name: str) -> None:
    """Keys as botocore wants them of a process; those of last time while they are fresh, so that few are made."""
    import json

    from fleetward.cli.failure import Failure

    again = f"sign in again: fleetward login --profile {name}"
    with kept.alone(name):
        held = kept.load(name)
        if held is None:
            raise Failure(f"nobody is signed in with the profile {name}; {again}")
        if _seconds_left(held) < FRESH:
            door = Door(held.endpoint, held.ca_file, held.cookies)
            try:
                held.credentials = door.refresh()["Credentials"]
            except Refused as refused:
                raise Failure(f"{refused} ({again})") from refused
            except Failure:
                if _seconds_left(held) <= 0:
                    raise
            held.cookies = door.cookies
            kept.store(name, held)
    print(json.dumps({"Version": 1, **held.credentials}))


def _seconds_left(held: kept.Login) -> float:
    from datetime import UTC, datetime

    expires = held.credentials.get("Expiration", "1970-01-01T00:00:00Z")
    return (datetime.fromisoformat(expires) - datetime.now(UTC)).total_seconds()
