"""Flatpaks that are installed for everybody, by `flatpak list`."""

from __future__ import annotations

from fleetward.agent.inventory.programs import printed_by
from fleetward.agent.inventory.rows import GatherFault, Row, architecture, row

COLUMNS = ("application", "name", "version", "branch", "arch", "origin", "description")


def installed() -> list[Row]:
    """What is installed as a flatpak; none where there is no flatpak."""
    try:
        printed = printed_by("flatpak", "list", "--system", f"--columns={','.join(COLUMNS)}")
    except GatherFault:
        return []
    return read(printed) if printed is not None else []


def read(printed: str) -> list[Row]:
    """The rows of a list whose columns are apart by tabs; runtimes often have no version, but a branch."""
    rows = []
    for line in printed.splitlines():
        fields = line.split("\t", len(COLUMNS) - 1)
        if len(fields) < len(COLUMNS):
            continue
        column = dict(zip(COLUMNS, fields, strict=True))
        rows.append(
            row(
                {
                    "Name": column["name"] or column["application"],
                    "Publisher": column["origin"],
                    "Version": column["version"] or column["branch"],
                    "Architecture": architecture(column["arch"]),
                },
                {
                    "ApplicationType": "flatpak",
                    "Summary": column["description"],
                    "PackageId": f"{column['application']}/{column['arch']}/{column['branch']}",
                },
            )
        )
    return rows
