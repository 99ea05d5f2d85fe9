"""Applications of macOS: bundles, whose Info.plist says what they are."""

from __future__ import annotations

import os
import plistlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from fleetward.agent.inventory.rows import Row, iso, row

FOLDERS = (Path("/Applications"), Path("/System/Applications"), Path("/Library/Apple/System/Library/CoreServices"))
DEEPEST = 3


def installed(folders: Iterable[Path] = FOLDERS) -> list[Row]:
    """The bundles in the folders where applications live."""
    rows = []
    for folder in folders:
        for bundle in _bundles(folder, DEEPEST):
            information = bundle / "Contents" / "Info.plist"
            try:
                rows.append(read(bundle.stem, plistlib.loads(information.read_bytes()), information.stat().st_mtime))
            except (OSError, ValueError, ExpatError, plistlib.InvalidFileException):
                continue
    return rows


def read(stem: str, information: Mapping[str, Any], changed_at: float) -> Row:
    """The row of one bundle, from its Info.plist."""
    identifier = str(information.get("CFBundleIdentifier") or "")
    return row(
        {
            "Name": information.get("CFBundleDisplayName") or information.get("CFBundleName") or stem,
            "Publisher": "Apple" if identifier.startswith("com.apple.") else "",
            "Version": information.get("CFBundleShortVersionString") or information.get("CFBundleVersion"),
            "Architecture": "",
        },
        {
            "Release": information.get("CFBundleVersion"),
            "ApplicationType": "application",
            "InstalledTime": iso(changed_at),
            "Summary": information.get("CFBundleGetInfoString"),
            "PackageId": identifier,
        },
    )


def _bundles(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            continue
        if entry.name.endswith(".app"):
            yield Path(entry.path)
        elif depth > 1:
            yield from _bundles(Path(entry.path), depth - 1)
