"""Packages of Alpine Linux, from apk's own database, whose format apk-tools documents."""

from __future__ import annotations

from pathlib import Path

from fleetward.agent.inventory.rows import Row, architecture, row

DATABASES = (Path("/usr/lib/apk/db/installed"), Path("/lib/apk/db/installed"))


def installed() -> list[Row]:
    """What apk has installed; none where there is no apk."""
    for database in DATABASES:
        try:
            return read(database.read_text(errors="replace"))
        except OSError:
            continue
    return []


def read(database: str) -> list[Row]:
    """The rows of a database: packages apart by empty lines, one letter for each field."""
    rows = []
    for paragraph in database.split("\n\n"):
        field = {line[0]: line[2:] for line in paragraph.splitlines() if line[1:2] == ":"}
        if "P" not in field:
            continue
        version, _, release = field.get("V", "").partition("-r")
        rows.append(
            row(
                {
                    "Name": field["P"],
                    "Publisher": field.get("m", ""),
                    "Version": version,
                    "Architecture": architecture(field.get("A", "")),
                },
                {
                    "Release": f"r{release}" if release else "",
                    "URL": field.get("U"),
                    "Summary": field.get("T"),
                    "PackageId": f"{field['P']}-{field.get('V', '')}.apk",
                },
            )
        )
    return rows
