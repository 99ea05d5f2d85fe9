"""Packages of Arch Linux and its kin, from pacman's local database, one `desc` file for each."""

from __future__ import annotations

from pathlib import Path

from fleetward.agent.inventory.rows import Row, architecture, iso, row

DATABASE = Path("/var/lib/pacman/local")


def installed() -> list[Row]:
    """What pacman has installed; none where there is no pacman."""
    files = sorted(DATABASE.glob("*/desc"))
    return [found for file in files if (found := read(file.read_text(errors="replace"))) is not None]


def read(desc: str) -> Row | None:
    """The row of one `desc` file: a field's name between percent signs, then its lines, then an empty one."""
    field: dict[str, list[str]] = {}
    for paragraph in desc.split("\n\n"):
        name, *lines = paragraph.strip().splitlines() or [""]
        field[name.strip("%")] = lines
    if not field.get("NAME") or not field.get("VERSION"):
        return None

    def first(name: str) -> str:
        return next(iter(field.get(name, [])), "")

    whole = first("VERSION")
    version, _, release = whole.partition(":")[2].rpartition("-") if ":" in whole else whole.rpartition("-")
    built_at = first("INSTALLDATE")
    return row(
        {
            "Name": first("NAME"),
            "Publisher": first("PACKAGER"),
            "Version": version,
            "Architecture": architecture(first("ARCH")),
        },
        {
            "Release": release,
            "Epoch": whole.partition(":")[0] if ":" in whole else "",
            "ApplicationType": " ".join(field.get("GROUPS", [])),
            "InstalledTime": iso(int(built_at)) if built_at.isdecimal() else "",
            "URL": first("URL"),
            "Summary": first("DESC"),
            "PackageId": f"{first('NAME')}-{whole}-{first('ARCH')}",
        },
    )
