"""Programs of Windows, from the registry's list of what can be removed; both of its views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetward.agent.inventory.rows import Row, row
from fleetward.agent.platforms.registry import key_values, subkeys

VIEWS = {
    "x86_64": r"HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall",
    "i386": r"HKEY_LOCAL_MACHINE\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall",
}


def installed() -> list[Row]:
    """What installers have entered there."""
    rows = []
    for architecture, path in VIEWS.items():
        for name in subkeys(path):
            found = read(name, key_values(f"{path}\\{name}"), architecture)
            if found is not None:
                rows.append(found)
    return rows


def read(key: str, values: Mapping[str, Any], architecture: str) -> Row | None:
    """The row of one key; None for updates, parts of others and what the Control Panel does not show."""
    name = values.get("DisplayName")
    if not name or values.get("SystemComponent") == 1 or values.get("ParentKeyName"):
        return None
    date = str(values.get("InstallDate") or "")
    is_date = len(date) == 8 and date.isdecimal()
    return row(
        {
            "Name": name,
            "Publisher": values.get("Publisher"),
            "Version": values.get("DisplayVersion"),
            "Architecture": architecture,
        },
        {
            "InstalledTime": f"{date[:4]}-{date[4:6]}-{date[6:]}T00:00:00Z" if is_date else "",
            "URL": values.get("URLInfoAbout"),
            "Summary": values.get("Comments"),
            "PackageId": key,
        },
    )
