"""Packages of Debian and its kin, by dpkg-query."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleetward.agent.inventory.programs import printed_by
from fleetward.agent.inventory.rows import Row, architecture, iso, row

LISTS = Path("/var/lib/dpkg/info")
FORMAT = (
    "${db:Status-Status}\\t${binary:Package}\\t${Version}\\t${Architecture}\\t${Section}\\t${Maintainer}\\t${Homepage}"
    "\\t${binary:Summary}\\n"
)


def installed() -> list[Row]:
    """What dpkg has installed; none where there is no dpkg."""
    printed = printed_by("dpkg-query", "-W", f"-f={FORMAT}")
    return read(printed, _installed_at) if printed is not None else []


def read(printed: str, installed_at: Callable[[str], float | None]) -> list[Row]:
    """The rows of dpkg-query's lines; packages of which only the configuration is left are not installed."""
    rows = []
    for line in printed.splitlines():
        fields = line.split("\t", 7)
        if len(fields) < 8 or fields[0] != "installed":
            continue
        _, binary, version, kind, section, maintainer, homepage, summary = fields
        name = binary.partition(":")[0]
        when = installed_at(binary)
        rows.append(
            row(
                {"Name": name, "Publisher": maintainer, "Version": version, "Architecture": architecture(kind)},
                {
                    "ApplicationType": section,
                    "InstalledTime": iso(when) if when is not None else "",
                    "URL": homepage,
                    "Summary": summary,
                    "PackageId": f"{name}_{version}_{kind}.deb",
                },
            )
        )
    return rows


def _installed_at(binary: str) -> float | None:
    """When this version was unpacked: dpkg writes the list of its files then, and keeps no other record of it."""
    try:
        return (LISTS / f"{binary}.list").stat().st_mtime
    except OSError:
        return None
