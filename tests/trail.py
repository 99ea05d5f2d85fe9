"""The audit trail in tests: what a real server wrote down about something."""

from __future__ import annotations

import json
from typing import Any

from tests.serving import ServerProcess, eventually


def bodies(server: ServerProcess) -> list[str]:
    """The text of every sealed record."""
    found: list[str] = []
    after = 0
    while True:
        answer = server.call("ListAuditRecords", {"After": after}, server.root, service="fleetward")
        records = answer.json["Records"]
        if not records:
            return found
        found += [record["Body"] for record in records]
        after = records[-1]["Sequence"]


def trail(server: ServerProcess, about: str, least: int = 2) -> list[dict[str, Any]]:
    """The records that mention something, once there are so many; sealing them takes a few seconds."""

    def mentioning() -> list[dict[str, Any]]:
        found = [json.loads(body) for body in bodies(server) if about in body]
        return found if len(found) >= least else []

    records: list[dict[str, Any]] = eventually(mentioning, within=15.0)
    return records
