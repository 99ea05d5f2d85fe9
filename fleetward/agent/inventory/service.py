"""AWS:Service: what runs in the background, by systemd on Linux and the service manager on Windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleetward.agent import platforms
from fleetward.agent.inventory.programs import objects_of_powershell, printed_by
from fleetward.agent.inventory.rows import Row, row

SYSTEMD = Path("/run/systemd/system")
PROPERTIES = (
    "Id",
    "Description",
    "Type",
    "ActiveState",
    "UnitFileState",
    "Requires",
    "Wants",
    "RequiredBy",
    "LoadState",
)
SERVICES = (
    "Get-Service | ForEach-Object { [pscustomobject]@{ Name=$_.Name; DisplayName=$_.DisplayName; "
    'Status="$($_.Status)"; ServiceType="$($_.ServiceType)"; StartType="$($_.StartType)"; '
    "DependentServices=@($_.DependentServices | ForEach-Object Name); "
    "ServicesDependedOn=@($_.ServicesDependedOn | ForEach-Object Name) } }"
)

# The words of Windows, which consumers of this type know.
STATUSES = {
    "active": "Running",
    "reloading": "Running",
    "activating": "StartPending",
    "deactivating": "StopPending",
    "failed": "Stopped",
    "inactive": "Stopped",
}
START_TYPES = {
    "enabled": "Automatic",
    "enabled-runtime": "Automatic",
    "disabled": "Disabled",
    "masked": "Disabled",
    "masked-runtime": "Disabled",
}


def gather(asked: str = "") -> list[Row]:
    """All services; none on a Linux that systemd does not run, and on macOS."""
    if platforms.current().platform_type == "Windows":
        return from_windows(objects_of_powershell(SERVICES))
    if not SYSTEMD.is_dir():
        return []
    printed = printed_by("systemctl", "show", "--all", "--no-pager", f"--property={','.join(PROPERTIES)}", "*.service")
    return from_systemctl(printed or "")


def from_systemctl(printed: str) -> list[Row]:
    """The rows of `systemctl show`: NAME=VALUE lines, services apart by empty lines."""
    rows = []
    for block in printed.split("\n\n"):
        value = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if not value.get("Id") or value.get("LoadState") == "not-found":
            continue
        state = value.get("UnitFileState", "")
        needed = [*value.get("Requires", "").split(), *value.get("Wants", "").split()]
        rows.append(
            row(
                {
                    "Name": value["Id"].removesuffix(".service"),
                    "DisplayName": value.get("Description"),
                    "Status": STATUSES.get(value.get("ActiveState", ""), "Stopped"),
                    "DependentServices": _services(value.get("RequiredBy", "").split()),
                    "ServicesDependedOn": _services(needed),
                    "ServiceType": value.get("Type"),
                    "StartType": START_TYPES.get(state, "Manual"),
                }
            )
        )
    return rows


def from_windows(services: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows of Get-Service."""
    return [
        row(
            {
                "Name": each.get("Name"),
                "DisplayName": each.get("DisplayName"),
                "Status": each.get("Status"),
                "DependentServices": " ".join(map(str, each.get("DependentServices") or [])),
                "ServicesDependedOn": " ".join(map(str, each.get("ServicesDependedOn") or [])),
                "ServiceType": each.get("ServiceType"),
                "StartType": each.get("StartType"),
            }
        )
        for each in services
    ]


def _services(units: Iterable[str]) -> str:
    return " ".join(unit.removesuffix(".service") for unit in units if unit.endswith(".service"))
