"""Custom inventory: types that the node's owner writes as JSON files, one for each type (SEM 8.2)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetward.agent.inventory.rows import GatherFault, Row

MOST_TYPES = 20
MOST_ATTRIBUTES = 50
LONGEST_TYPE_NAME = 100
LONGEST_ATTRIBUTE_NAME = 64
LONGEST_VALUE = 4096
LARGEST_FILE_BYTES = 3072 * 1024

_VERSION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class CustomType:
    """What one file says."""

    name: str
    schema_version: str
    rows: list[Row]


def gather(folder: Path) -> tuple[list[CustomType], list[str]]:
    """The types in the folder's own `*.json` files, and what is wrong with the files that are left out."""
    found: dict[str, CustomType] = {}
    wrong: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            custom = read(_text(path))
            if custom.name in found:
                raise GatherFault(f"there is another file of {custom.name}")
            if len(found) == MOST_TYPES:
                raise GatherFault(f"there are {MOST_TYPES} types already")
            found[custom.name] = custom
        except GatherFault as fault:
            wrong.append(f"{path.name}: {fault}")
    return list(found.values()), wrong


def read(text: str) -> CustomType:
    """One file's type; GatherFault when it breaks a rule."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        raise GatherFault("this is not JSON") from None
    if not isinstance(whole, dict):
        raise GatherFault("this is not a JSON object")
    name, version, content = whole.get("TypeName"), whole.get("SchemaVersion"), whole.get("Content")
    if not isinstance(name, str) or not name.startswith("Custom:") or len(name) > LONGEST_TYPE_NAME:
        raise GatherFault(f"TypeName must begin with Custom: and have at most {LONGEST_TYPE_NAME} characters")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise GatherFault("SchemaVersion must be a text like 1.0")
    entries = content if isinstance(content, list) else [content]
    return CustomType(name, version, [_row(entry) for entry in entries])


def _row(entry: Any) -> Row:
    if not isinstance(entry, dict) or not entry:
        raise GatherFault("Content must be an object of texts, or a list of such objects")
    if len(entry) > MOST_ATTRIBUTES:
        raise GatherFault(f"an entry has {len(entry)} attributes, {MOST_ATTRIBUTES} are allowed")
    for name, value in entry.items():
        if not name or len(name) > LONGEST_ATTRIBUTE_NAME:
            raise GatherFault(f"names of attributes have 1 to {LONGEST_ATTRIBUTE_NAME} characters")
        if not isinstance(value, str) or len(value) > LONGEST_VALUE:
            raise GatherFault(f"{name} must be a text of at most {LONGEST_VALUE} characters")
    return dict(entry)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise GatherFault(f"it cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_FILE_BYTES:
        raise GatherFault(f"it is longer than {LARGEST_FILE_BYTES} bytes")
    return data.decode(errors="replace")
