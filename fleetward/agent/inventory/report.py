"""A node's report: what was gathered, cut into the bodies of PutInventory calls, with hashes for what has not changed.

A type whose hash the control plane has is sent as the hash alone; `[]` says that there is nothing (AP 18).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetward.agent import platforms
from fleetward.agent.inventory import ENABLED, TYPES, custom
from fleetward.agent.inventory.rows import GatherFault, Row, iso

LARGEST_TYPE_BYTES = 3072 * 1024
LARGEST_REPORT_BYTES = 10_240 * 1024
LARGEST_CALL_BYTES = 1024 * 1024
MOST_ROWS = 10_000
FILE_TYPE = "AWS:File"

Hashes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Item:
    """One type with what there is of it, as JSON."""

    type_name: str
    schema_version: str
    content: str

    @property
    def content_hash(self) -> str:
        """By which an unchanged type is known."""
        return base64.b64encode(hashlib.md5(self.content.encode(), usedforsecurity=False).digest()).decode()

    def body(self, captured_at: str, known: str | None) -> str:
        """A member of `Items`; without content when its hash is the `known` one."""
        members = {
            "TypeName": self.type_name,
            "SchemaVersion": self.schema_version,
            "CaptureTime": captured_at,
            "ContentHash": self.content_hash,
        }
        head = json.dumps(members, separators=(",", ":"))
        return head if known == self.content_hash else f'{head[:-1]},"Content":{self.content}}}'


def gather(inputs: Mapping[str, Any], custom_folder: Path) -> tuple[list[Item], list[str]]:
    """The items that the step's inputs ask for, and why some could not be had."""
    items: list[Item] = []
    faults: list[str] = []
    size = 0
    for name, version, rows, fault in _gathered(inputs, custom_folder):
        content = encode(rows)
        if fault is None:
            fault = _too_much(rows, len(content.encode()), size)
        if fault is None:
            size += len(content.encode())
            items.append(Item(name, version, content))
        else:
            faults.append(f"{name}: {fault}")
    return items, faults


def encode(rows: Iterable[Row]) -> str:
    """Rows as JSON, the same text for the same rows in whatever order they were found."""
    texts = sorted(json.dumps(each, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for each in rows)
    return f"[{','.join(texts)}]"


def bodies(node_id: str, items: Iterable[Item], known: Mapping[str, str], now: float) -> list[str]:
    """The bodies of the calls: one, or files in a call of their own when it all is more than 1 MB."""
    captured_at = iso(now)
    shown = {item.type_name: item.body(captured_at, known.get(item.type_name)) for item in items}
    if not shown:
        return []
    is_large = sum(len(text.encode()) for text in shown.values()) > LARGEST_CALL_BYTES
    apart = [name for name in shown if name == FILE_TYPE] if is_large and len(shown) > 1 else []
    together = [name for name in shown if name not in apart]
    return [_body(node_id, [shown[name] for name in names]) for names in (together, apart) if names]


def _body(node_id: str, items: Iterable[str]) -> str:
    return f'{{"InstanceId":{json.dumps(node_id)},"Items":[{",".join(items)}]}}'


def _gathered(inputs: Mapping[str, Any], custom_folder: Path) -> Iterable[tuple[str, str, list[Row], str | None]]:
    """Name, schema version and rows of each type that is asked for, or the reason why it cannot be gathered."""
    is_windows = platforms.current().platform_type == "Windows"
    for each in TYPES:
        asked = _text(inputs.get(each.parameter))
        if each.is_windows_only and not is_windows:
            continue
        if asked.strip() if each.is_filter else asked == ENABLED:
            try:
                yield each.name, each.schema_version, each.gather(asked), None
            except (GatherFault, OSError) as fault:
                yield each.name, each.schema_version, [], str(fault)
    if inputs.get("customInventory") == ENABLED:
        asked = _text(inputs.get("customInventoryDirectory"))
        found, wrong = custom.gather(Path(asked) if asked else custom_folder)
        for known in found:
            yield known.name, known.schema_version, known.rows, None
        for reason in wrong:
            yield "custom inventory", "", [], reason


def _text(value: Any) -> str:
    """An input as text; documents may have the filters as lists, too."""
    return value if isinstance(value, str) else json.dumps(value) if value else ""


def _too_much(rows: list[Row], size: int, before: int) -> str | None:
    if len(rows) > MOST_ROWS:
        return f"there are {len(rows)} entries, {MOST_ROWS} are allowed"
    if size > LARGEST_TYPE_BYTES:
        return f"it has {size} bytes, {LARGEST_TYPE_BYTES} are allowed"
    if before + size > LARGEST_REPORT_BYTES:
        return f"with it the report has more than {LARGEST_REPORT_BYTES} bytes"
    return None
