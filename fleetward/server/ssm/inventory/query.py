"""Which nodes: filters answered as bitmaps of ordinals, from the catalogue where it knows and from blobs where not.

The catalogue is behind by what is not folded yet. So every answer is that of its bitmaps without the changed nodes,
and of the changed nodes' own blobs; together they are exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyroaring import BitMap
from sqlalchemy import Row

from fleetward.server.call import Call
from fleetward.server.ssm.inventory import custom, rows, served
from fleetward.server.ssm.inventory.filters import Condition, HasType
from fleetward.server.ssm.inventory.table import BLOBS_FROM, BLOBS_OF, CATALOGUE, CHANGED_ORDINALS, HAVING_TYPE
from fleetward.server.ssm.inventory.types import Type

BLOBS_AT_ONCE = 100


class Fleet:
    """The nodes of the inventory during one call: ids and ordinals."""

    def __init__(self, call: Call) -> None:
        self.call = call
        found = call.db.all(served.ALL_MEMBERS, **call.here)
        self.ids: dict[int, str] = {row.ordinal: row.node_id for row in found}
        self.ordinals: dict[str, int] = {row.node_id: row.ordinal for row in found}
        self.everyone = BitMap(self.ids)


def matching(fleet: Fleet, conditions: Sequence[Condition | HasType]) -> BitMap:
    """The nodes that fit all conditions; those on one type must fit in one row."""
    found = fleet.everyone.copy()
    of_type: dict[str, list[Condition]] = defaultdict(list)
    for each in conditions:
        if isinstance(each, HasType):
            found &= having(fleet, each.types)
        else:
            of_type[each.type_name].append(each)
    for type_name, wanted in of_type.items():
        found &= _of_type(fleet, custom.find(fleet.call, type_name), wanted)
    return found


def having(fleet: Fleet, types: Sequence[str]) -> BitMap:
    """The nodes that told of any of the types."""
    found = BitMap(fleet.call.db.values(HAVING_TYPE, **fleet.call.here, types=list(types)))
    for name in types:
        kind = custom.find(fleet.call, name)
        if kind.by_service:
            found |= _ordinals(fleet, served.rows(fleet.call, name), ())
    return found


def groups(fleet: Fleet, kind: Type, attributes: Sequence[str]) -> dict[tuple[str, ...], BitMap]:
    """The nodes of each combination of the attributes' values that occurs in a row."""
    found: dict[tuple[str, ...], BitMap] = {}

    def values(row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row.get(name) or "" for name in attributes)

    if kind.by_service:
        for node_id, told in served.rows(fleet.call, kind.name).items():
            for row in told:
                found.setdefault(values(row), BitMap()).add(fleet.ordinals[node_id])
        return found
    together: dict[tuple[str, ...], list[Any]] = defaultdict(list)
    changed = _changed(fleet.call, kind.name)
    known: dict[int, tuple[str, ...]] = {}
    for entry in fleet.call.db.all(CATALOGUE, **fleet.call.here, type=kind.name):
        known[entry.digest] = values(entry.identity)
        together[known[entry.digest]].append(BitMap.deserialize(entry.nodes))
    for key, bitmaps in together.items():
        found[key] = BitMap.union(*bitmaps) - changed if changed else BitMap.union(*bitmaps)
    for blob in _blobs(fleet.call, kind.name, changed):
        for key in _keys_of(kind.name, blob, known, values):
            found.setdefault(key, BitMap()).add(blob.ordinal)
    return {key: bitmap for key, bitmap in found.items() if bitmap}


def _keys_of(type_name: str, blob: Row[Any], known: Mapping[int, tuple[str, ...]], values: Any) -> set[tuple[str, ...]]:
    """The combinations in a blob, by its digests where the catalogue knows them all."""
    digests = rows.read_digests(blob.digests)
    if all(digest in known for digest in digests):
        return {known[digest] for digest in digests}
    return {values(row) for row in rows.unpack(blob.content)}


def _of_type(fleet: Fleet, kind: Type, wanted: Sequence[Condition]) -> BitMap:
    call = fleet.call
    if kind.by_service:
        return _ordinals(fleet, served.rows(call, kind.name), wanted)
    if not all(each.attribute in kind.identity for each in wanted):
        return _scanned(call, kind.name, wanted)
    changed = _changed(call, kind.name)
    fitting = [
        BitMap.deserialize(entry.nodes)
        for entry in call.db.all(CATALOGUE, **call.here, type=kind.name)
        if _fits(entry.identity, wanted)
    ]
    found = (BitMap.union(*fitting) if fitting else BitMap()) - changed
    for blob in _blobs(call, kind.name, changed):
        if any(_fits(row, wanted) for row in rows.unpack(blob.content)):
            found.add(blob.ordinal)
    return found


def _ordinals(fleet: Fleet, told: served.Rows, wanted: Sequence[Condition]) -> BitMap:
    fitting = (node_id for node_id, listed in told.items() if any(_fits(row, wanted) for row in listed))
    return BitMap(fleet.ordinals[node_id] for node_id in fitting if node_id in fleet.ordinals)


def _fits(row: Mapping[str, str], wanted: Sequence[Condition]) -> bool:
    return all(each.fits(row) for each in wanted)


def _changed(call: Call, type_name: str) -> BitMap:
    return BitMap(call.db.values(CHANGED_ORDINALS, **call.here, type=type_name))


def _blobs(call: Call, type_name: str, ordinals: BitMap) -> Iterator[Row[Any]]:
    """The blobs of these nodes, a few at a time."""
    listed = list(ordinals)
    for start in range(0, len(listed), BLOBS_AT_ONCE):
        chosen = listed[start : start + BLOBS_AT_ONCE]
        yield from call.db.all(BLOBS_OF, **call.here, type=type_name, of_ordinals=chosen)


def _scanned(call: Call, type_name: str, wanted: Sequence[Condition]) -> BitMap:
    """The nodes that fit by what the catalogue does not have: every blob of the type is read."""
    found, first = BitMap(), 0
    while True:
        blobs = call.db.all(BLOBS_FROM, **call.here, type=type_name, first=first, most=BLOBS_AT_ONCE)
        for blob in blobs:
            if any(_fits(row, wanted) for row in rows.unpack(blob.content)):
                found.add(blob.ordinal)
        if len(blobs) < BLOBS_AT_ONCE:
            return found
        first = blobs[-1].ordinal + 1
