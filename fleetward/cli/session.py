"""`fleetward session`: shells on nodes, what sessions there are and were, and the recordings of shells."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from fleetward.cli.failure import Failure

if TYPE_CHECKING:
    from fleetward.cli.api import Api

program = typer.Typer(no_args_is_help=True, help="Shells on nodes; sessions and their recordings.")
SessionId = Annotated[str, typer.Argument(help="Id of the session.")]


@program.command("start")
def start(
    node_id: Annotated[str, typer.Argument(help="Id of the node, mi-…")],
    document: Annotated[str, typer.Option(help="Session document; your shell preferences unless named.")] = "",
    parameter: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of the document; may be repeated.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
) -> None:
    """Open a shell on a node; exits as the shell does."""
    from fleetward.cli.sessions import run

    parameters = _parameters(parameter or [])
    sys.exit(run(lambda fleet: fleet.shell(node_id, document=document or None, parameters=parameters, reason=reason)))


@program.command("list")
def list_(
    history: Annotated[
        bool, typer.Option("--history", help="Those that have ended, instead of the open ones.")
    ] = False,
    node: Annotated[str, typer.Option(help="Only those of this node.")] = "",
    owner: Annotated[str, typer.Option(help="Only those of this ARN.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1)] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List sessions."""
    from fleetward.cli.api import Api

    filters = [{"key": key, "value": value} for key, value in (("Target", node), ("Owner", owner)) if value]
    request: dict[str, Any] = {"State": "History" if history else "Active"}
    if filters:
        request["Filters"] = filters
    found = _described(Api(), request, limit)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for row in [("SESSION", "NODE", "STATUS", "STARTED", "ENDED", "OWNER", "REASON"), *map(_row, found)]:
        print(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, (32, 20, 12, 19, 19, 0, 0), strict=True)).rstrip()
        )


@program.command("show")
def show(
    session_id: SessionId,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Say who opened a session, to where, how much passed each way and how it ended."""
    from fleetward.cli.api import Api

    found = Api().call("DescribeSession", {"SessionId": session_id})
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        said = _local(value) if name.endswith("Date") else value
        print(f"{name:<14}{_plain(str(said))}".rstrip())


@program.command("terminate")
def terminate(session_id: SessionId) -> None:
    """End a session, whoever opened it, if your policies allow."""
    from fleetward.cli.api import Api

    Api().ssm("TerminateSession", {"SessionId": session_id})
    print(f"Ended {_plain(session_id)}.")


@program.command("play")
def play(
    session_id: SessionId,
    speed: Annotated[float, typer.Option(help="How many times as fast.", min=0.01, max=1000)] = 1.0,
    idle: Annotated[float, typer.Option(help="The longest pause in seconds, as recorded.", min=0)] = 2.0,
) -> None:
    """Show a shell as it was seen. Its control sequences drive this terminal, as they did the operator's."""
    from fleetward.cli.api import Api, failures
    from fleetward.client.recording import pieces

    out = sys.stdout.buffer
    try:
        with failures():
            for piece in pieces(_recording(Api(), session_id), speed=speed, longest_pause=idle):
                if piece.pause:
                    out.flush()
                    time.sleep(piece.pause)
                out.write(piece.data)
    finally:
        out.write(AS_BEFORE if sys.stdout.isatty() else b"")
        out.flush()


@program.command("export")
def export(
    session_id: SessionId,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write; else standard output.")
    ] = None,
) -> None:
    """Write a shell's recording as an asciicast v2 file."""
    from fleetward.cli.api import Api

    recorded = _recording(Api(), session_id)
    if output is None:
        for chunk in recorded:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    first = next(recorded, b"")
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(first)
            file.writelines(recorded)
    except OSError as fault:
        raise Failure(f"{output} cannot be written: {fault.strerror}") from fault


AS_BEFORE = b"\x1b[!p\x1b[?1049l\x1b[?25h\x1b[0m\r\n"
"""Undoes what a recording that stops in the middle leaves: a soft reset, the ordinary screen, a cursor, no colours."""


def _recording(api: Api, session_id: str) -> Iterator[bytes]:
    return api.pieces(f"/_fleetward/sessions/{quote(session_id, safe='')}/recording")


def _described(api: Api, request: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = api.ssm("DescribeSessions", {**request, "MaxResults": min(200, limit - len(found))})
        found += answer["Sessions"]
        if len(found) >= limit or not answer.get("NextToken"):
            return found[:limit]
        request["NextToken"] = answer["NextToken"]


def _row(session: dict[str, Any]) -> tuple[str, ...]:
    started, ended = (_local(session.get(name)) for name in ("StartDate", "EndDate"))
    named = (session.get(name) or "" for name in ("SessionId", "Target", "Status", "Owner", "Reason"))
    session_id, node, status, owner, reason = map(_plain, named)
    return session_id, node, status, started, ended, owner, reason


def _local(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def _plain(text: str) -> str:
    from fleetward.client.errors import plain

    return plain(text).replace("\n", "?")


def _parameters(pairs: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise Failure(f"--parameter is NAME=VALUE, not {_plain(pair)}", 2)
        found.setdefault(name, []).append(value)
    return found
