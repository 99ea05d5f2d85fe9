"""`fleetward audit`: the trail of who did what, as a stream of JSON lines, and whether its chain holds."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

import typer

from fleetward.cli.failure import Failure

program = typer.Typer(no_args_is_help=True, help="The audit trail.")
PAGE = 500


@program.command("export")
def export(
    after: Annotated[int, typer.Option(help="Only records with higher numbers than this.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Also check every hash from the first record on.")] = False,
) -> None:
    """Write records, oldest first, one JSON object a line; the last line's `sequence` is the next call's --after."""
    from fleetward.cli.api import Api

    api = Api()
    before: dict[str, Any] | None = None
    while True:
        records = api.call("ListAuditRecords", {"After": after, "MaxResults": PAGE})["Records"]
        for record in records:
            if verify:
                _check(before, record)
            body = json.loads(record["Body"])
            print(json.dumps({"sequence": record["Sequence"], "hash": record["Hash"], **body}))
            before, after = record, record["Sequence"]
        if len(records) < PAGE:
            return


def _check(before: dict[str, Any] | None, record: dict[str, Any]) -> None:
    """The first record seen is taken as it is: what came before it may have been removed after its time."""
    if before is None:
        return
    text = f"{before['Hash']}\n{record['Sequence']}\n{record['Body']}"
    following = record["Sequence"] == before["Sequence"] + 1
    if not following or hashlib.sha256(text.encode()).hexdigest() != record["Hash"]:
        raise Failure(f"the audit chain is broken at record {record['Sequence']}")
