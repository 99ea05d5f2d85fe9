"""Packages of macOS: the receipts that the installer leaves."""

from __future__ import annotations

import plistlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from fleetward.agent.inventory.rows import Row, iso, row

RECEIPTS = Path("/private/var/db/receipts")


def installed(folder: Path = RECEIPTS) -> list[Row]:
    """What packages have been installed and not forgotten."""
    rows = []
    for receipt in sorted(folder.glob("*.plist")):
        try:
            rows.append(read(plistlib.loads(receipt.read_bytes())))
        except (OSError, ValueError, ExpatError, plistlib.InvalidFileException):
            continue
    return rows


def read(receipt: Mapping[str, Any]) -> Row:
    """The row of one receipt."""
    identifier = str(receipt.get("PackageIdentifier") or "")
    date = receipt.get("InstallDate")
    return row(
        {
            "Name": identifier,
            "Publisher": "Apple" if identifier.startswith("com.apple.") else "",
            "Version": receipt.get("PackageVersion"),
            "Architecture": "",
        },
        {
            "ApplicationType": "package",
            "InstalledTime": iso(date.replace(tzinfo=UTC).timestamp()) if isinstance(date, datetime) else "",
            "PackageId": receipt.get("PackageFileName"),
        },
    )
