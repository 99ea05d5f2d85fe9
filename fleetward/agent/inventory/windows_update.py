"""AWS:WindowsUpdate: the updates of Windows that are installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleetward.agent.inventory.programs import objects_of_powershell
from fleetward.agent.inventory.rows import Row, row

UPDATES = (
    "Get-HotFix | ForEach-Object { [pscustomobject]@{ HotFixId=$_.HotFixID; Description=$_.Description; "
    "InstalledTime=$(if ($_.InstalledOn) { $_.InstalledOn.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ') } else "
    "{ '' }); InstalledBy=$_.InstalledBy } }"
)


def gather(asked: str = "") -> list[Row]:
    """All hot fixes."""
    return read(objects_of_powershell(UPDATES))


def read(updates: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows of Get-HotFix."""
    names = ("HotFixId", "Description", "InstalledTime", "InstalledBy")
    return [row({name: each.get(name) for name in names}) for each in updates if each.get("HotFixId")]
