"""AWS:WindowsRole: roles and features of Windows Server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleetward.agent.inventory.programs import objects_of_powershell
from fleetward.agent.inventory.rows import GatherFault, Row, row

ATTRIBUTES = (
    "Name",
    "DisplayName",
    "Description",
    "Installed",
    "InstalledState",
    "FeatureType",
    "Path",
    "SubFeatures",
    "ServerComponentDescriptor",
    "DependsOn",
    "Parent",
)
FEATURES = (
    "if (Get-Command Get-WindowsFeature -ErrorAction SilentlyContinue) { Get-WindowsFeature | ForEach-Object { "
    "[pscustomobject]@{ Name=$_.Name; DisplayName=$_.DisplayName; Description=$_.Description; Installed=$_.Installed; "
    'InstalledState="$($_.InstallState)"; FeatureType=$_.FeatureType; Path=$_.Path; SubFeatures=@($_.SubFeatures); '
    'ServerComponentDescriptor="$($_.ServerComponentDescriptor)"; DependsOn=@($_.DependsOn); Parent=$_.Parent } } } '
    "else { throw 'only Windows Server has roles' }"
)


def gather(asked: str = "") -> list[Row]:
    """All roles, installed or not; a Windows that is no server has none."""
    try:
        return read(objects_of_powershell(FEATURES))
    except GatherFault as fault:
        if "only Windows Server has roles" in str(fault):
            return []
        raise


def read(features: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows of Get-WindowsFeature."""
    return [row({name: _shown(each.get(name)) for name in ATTRIBUTES}) for each in features]


def _shown(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value)  # True and False, as PowerShell says them
    return ",".join(map(str, value)) if isinstance(value, list) else value
