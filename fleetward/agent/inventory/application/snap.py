"""Snaps, by `snap list`."""

from __future__ import annotations

from fleetward.agent.inventory.programs import printed_by
from fleetward.agent.inventory.rows import GatherFault, Row, row

MARKS = "*✓✪"
"""What snap writes behind publishers that its store has looked at."""


def installed() -> list[Row]:
    """What is installed as a snap; none where there is no snap, or its daemon does not run."""
    try:
        printed = printed_by("snap", "list", "--color=never", "--unicode=never")
    except GatherFault:
        return []
    return read(printed) if printed is not None else []


def read(printed: str) -> list[Row]:
    """The rows of a list whose columns are apart by blanks: Name Version Rev Tracking Publisher Notes."""
    rows = []
    for line in printed.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 6:
            continue
        name, version, revision, _, publisher, *_ = fields
        rows.append(
            row(
                {"Name": name, "Publisher": publisher.rstrip(MARKS).strip("-"), "Version": version, "Architecture": ""},
                {"Release": revision, "ApplicationType": "snap", "PackageId": f"{name}_{revision}.snap"},
            )
        )
    return rows
