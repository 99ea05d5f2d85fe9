"""AWS:Application: software installed by package managers, Windows installers or as bundles of macOS."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from fleetward.agent import platforms
from fleetward.agent.inventory.rows import Row

SOURCES = {
    "Linux": ("dpkg", "rpm", "apk", "pacman", "snap", "flatpak"),
    "MacOS": ("macos_bundles", "macos_receipts"),
    "Windows": ("windows_installer",),
}
"""Where software is looked for: one file each."""


def gather(asked: str = "") -> list[Row]:
    """Everything that is installed; a node may have several package managers, and all of them are asked."""
    rows: list[Row] = []
    for source in SOURCES[platforms.current().platform_type]:
        installed: Callable[[], list[Row]] = import_module(f"{__name__}.{source}").installed
        rows += installed()
    return rows
