"""Items: what was uploaded as compliance of one type, in chunks that are stored compressed, and the counts of it. Pure.

A set of 10,000 items of 300 bytes packs into a ninth of its size, in some 30 ms and so beside the writer; a list
reads the few chunks it needs.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from fleetward.server.ssm.errors import ItemSizeLimitExceededException, TotalSizeLimitExceededException

SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNSPECIFIED")
"""The worst first."""
COMPLIANT, NON_COMPLIANT = "COMPLIANT", "NON_COMPLIANT"
STATUSES = (COMPLIANT, NON_COMPLIANT)

CHUNK = 500
"""Items that are stored together."""
MOST_MERGED = 2_000
"""Items of a set that is made in an entry, as a PARTIAL upload does; there can be as many associations."""
ITEM_BYTES = 64 * 1024
TOTAL_BYTES = 4 * 1024 * 1024
"""Ours: AWS names no figures for these two."""

Item = Mapping[str, Any]
"""An item as PutComplianceItems takes it; `Execution` where its execution is not that of its set."""
Counts = list[list[int]]
"""How many items by status and severity, in the orders of STATUSES and SEVERITIES."""


@dataclass(frozen=True, slots=True)
class Overall:
    """What a set of items comes to: `severity` is the worst that is not complied with, UNSPECIFIED when all is."""

    status: str
    severity: str
    counts: Counts


def pack(compliance_type: str, items: Iterable[Item]) -> list[bytes]:
    """The chunks of items that are in order. Raises when one item or all together are too large."""
    texts = []
    for item in items:
        text = orjson.dumps(item)
        if len(text) > ITEM_BYTES:
            raise ItemSizeLimitExceededException(
                f"The item {name(item)[:100]!r} is larger than {ITEM_BYTES} bytes.", TypeName=compliance_type
            )
        texts.append(text)
    if sum(map(len, texts)) > TOTAL_BYTES:
        raise TotalSizeLimitExceededException(f"The items are larger than {TOTAL_BYTES} bytes together.")
    return [
        zlib.compress(b"[" + b",".join(texts[start : start + CHUNK]) + b"]", 1) for start in range(0, len(texts), CHUNK)
    ]


def made(compliance_type: str, items: Iterable[Item]) -> tuple[list[bytes], Overall]:
    """A whole set, given in any order: its chunks and what it comes to."""
    ordered = in_order(items)
    return pack(compliance_type, ordered), overall(ordered)


def unpack(content: bytes) -> list[dict[str, Any]]:
    """The items of a chunk, in order."""
    items: list[dict[str, Any]] = orjson.loads(zlib.decompress(content))
    return items


def name(item: Item) -> str:
    """What an item is known by in its set: its id, or its title where it has none."""
    known: str = item.get("Id") or item.get("Title", "")
    return known


def in_order(items: Iterable[Item]) -> list[Item]:
    """Items in the order in which they are listed."""
    return sorted(items, key=name)


def merged(old: Iterable[Item], new: Iterable[Item]) -> list[Item]:
    """The old items, those that are named alike replaced by the new ones, in order."""
    replacing = {name(item): item for item in new}
    return in_order([*(item for item in old if name(item) not in replacing), *replacing.values()])


def overall(items: Iterable[Item]) -> Overall:
    """The state of a set; without any item it is compliant."""
    found = Counter((item["Status"], item["Severity"]) for item in items)
    counts = [[found[status, severity] for severity in SEVERITIES] for status in STATUSES]
    worst = next((severity for severity, number in zip(SEVERITIES, counts[1], strict=True) if number), None)
    if worst is None:
        return Overall(COMPLIANT, SEVERITIES[-1], counts)
    return Overall(NON_COMPLIANT, worst, counts)


def summaries(counts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Counts as AWS's two summaries; every counter is there."""
    return {
        f"{word}Summary": {
            f"{word}Count": sum(numbers),
            "SeveritySummary": {
                f"{severity.capitalize()}Count": number for severity, number in zip(SEVERITIES, numbers, strict=True)
            },
        }
        for word, numbers in zip(("Compliant", "NonCompliant"), counts, strict=True)
    }
