"""`fleetward signin`: who is signed in, and ending it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

program = typer.Typer(no_args_is_help=True, help="People who are signed in.")


@program.command("list")
def list_all(
    user: Annotated[str, typer.Option(help="Only this user's.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List sign-ins: id, who, since when, last used from where, until when."""
    import json

    from fleetward.cli.api import Api

    found = _all(Api(), user)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for each in found:
        print(_line(each))


@program.command("revoke")
def revoke(
    sign_in: Annotated[str, typer.Argument(help="Id of the sign-in, as `list` shows it.")] = "",
    user: Annotated[str, typer.Option(help="All sign-ins of this user instead.")] = "",
) -> None:
    """End a sign-in; within a second its keys are worth nothing."""
    from fleetward.cli.api import Api
    from fleetward.cli.failure import Failure

    if bool(sign_in) == bool(user):
        raise Failure("give either the id of a sign-in or --user NAME", 2)
    api = Api()
    ids = [sign_in] if sign_in else [each["SignInId"] for each in _all(api, user)]
    for each in ids:
        api.call("RevokeSignIn", {"SignInId": each})
        print(f"{each} ended")


def _all(api: Any, user: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"UserName": user} if user else {}
    while True:
        answer = api.call("ListSignIns", asked)
        found += answer["SignIns"]
        if not answer.get("NextToken"):
            return found
        asked["NextToken"] = answer["NextToken"]


def _line(each: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    times = (f"{datetime.fromtimestamp(each[name], UTC):%Y-%m-%d %H:%M}" for name in _TIMES)
    created, used, expires = times
    factor = "second factor" if each["MfaUsed"] else each.get("Provider", "password")
    head = f"{each['SignInId']}  {each['UserName']:20} {factor:14} since {created}  used {used}  until {expires} UTC"
    return f"{head}  {each['SourceIp']}  {each['UserAgent']}"


_TIMES = ("CreatedAt", "LastUsedAt", "ExpiresAt")
