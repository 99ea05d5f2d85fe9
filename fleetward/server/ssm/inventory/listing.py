"""ListInventoryEntries, GetInventory and GetInventorySchema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyroaring import BitMap
from sqlalchemy import Row

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import InvalidAggregatorException
from fleetward.server.ssm.inventory import aggregate, custom, filters, query, rows, served
from fleetward.server.ssm.inventory.query import Fleet
from fleetward.server.ssm.inventory.table import CONTENT, CONTENTS, ITEM, ITEMS, MEMBERS
from fleetward.server.ssm.inventory.types import INFORMATION, Type
from fleetward.server.ssm.nodes.table import unknown

PAGE = 50
ROWS_OF_PAGE = 20_000
"""A page of GetInventory ends behind the node with which it has so many rows."""
SCHEMAS_PAGE = 200


@ssm.operation("ListInventoryEntries", reads=True)
def list_inventory_entries(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The items of one type on one node, in the order in which it told them."""
    node_id, kind = request["InstanceId"], custom.find(call, request["TypeName"])
    if not call.db.all(MEMBERS, **call.here, node_ids=[node_id]):
        raise unknown([node_id])
    wanted = filters.of_entries(kind.name, request.get("Filters", ()))
    told = _told(call, kind, [node_id]).get(node_id)
    if told is None:
        return {"TypeName": kind.name, "InstanceId": node_id, "SchemaVersion": kind.version, "Entries": []}
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("ListInventoryEntries", request.get("NextToken"))
    fitting = [
        (index, row)
        for index, row in enumerate(told["Content"])
        if (after is None or index > after[0]) and all(each.fits(row) for each in wanted)
    ]
    page, more = paging.page("ListInventoryEntries", fitting, limit, lambda each: [each[0]])
    shown: dict[str, Any] = {name: told[name] for name in ("SchemaVersion", "CaptureTime") if name in told}
    return {"TypeName": kind.name, "InstanceId": node_id, **shown, "Entries": [row for _, row in page], **more}


@ssm.operation("GetInventory", reads=True)
def get_inventory(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes that fit, with the items of one type; or counts of them.

    Ours: nodes come in the order in which they joined, and a node without items of the type has no Data.
    """
    fleet = Fleet(call)
    found = query.matching(fleet, filters.parse(request.get("Filters", ())))
    if "Aggregators" in request:
        if "ResultAttributes" in request:
            raise InvalidAggregatorException("Give either Aggregators or ResultAttributes, not both.")
        return _aggregated(fleet, request, found)
    return _listed(fleet, request, found)


@ssm.operation("GetInventorySchema", reads=True)
def get_inventory_schema(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The types whose names begin as asked, with their attributes; or with those alone that one may aggregate by."""
    prefix, aggregates = request.get("TypeName", ""), request.get("Aggregator", False)
    after = paging.decode("GetInventorySchema", request.get("NextToken"))
    kinds = [
        kind
        for kind in sorted(custom.every(call), key=lambda kind: kind.name)
        if kind.name.startswith(prefix)
        and (kind.aggregates or not aggregates)
        and (kind.name == "AWS:ComplianceItem" or not request.get("SubType", False))
        and (after is None or kind.name > after[0])
    ]
    limit = request.get("MaxResults", SCHEMAS_PAGE)
    page, more = paging.page("GetInventorySchema", kinds[: limit + 1], limit, lambda kind: [kind.name])
    return {"Schemas": [_schema(kind, aggregates) for kind in page], **more}


def _schema(kind: Type, aggregates: bool) -> dict[str, Any]:
    shown = kind.aggregates if aggregates else kind.attributes
    named = {"DisplayName": kind.display_name} if kind.display_name else {}
    attributes = [{"Name": name, "DataType": "number" if name in kind.numbers else "string"} for name in shown]
    return {"TypeName": kind.name, "Version": kind.version, "Attributes": attributes, **named}


def _listed(fleet: Fleet, request: Mapping[str, Any], found: BitMap) -> dict[str, Any]:
    name = next((each["TypeName"] for each in request.get("ResultAttributes", ())), INFORMATION)
    kind = custom.find(fleet.call, name)
    after = paging.decode("GetInventory", request.get("NextToken"))
    rest = found[found.rank(after[0]) :] if after is not None else found
    chosen = list(rest[: request.get("MaxResults", PAGE)])
    told = _told(fleet.call, kind, [fleet.ids[ordinal] for ordinal in chosen])
    entities, number, last = [], 0, -1
    for ordinal in chosen:
        item = told.get(fleet.ids[ordinal])
        entities.append({"Id": fleet.ids[ordinal], "Data": {} if item is None else {kind.name: item}})
        number, last = number + (0 if item is None else len(item["Content"])), ordinal
        if number >= ROWS_OF_PAGE:
            break
    is_more = len(entities) < len(rest)
    more = {"NextToken": paging.encode("GetInventory", [last])} if is_more and entities else {}
    return {"Entities": entities, **more}


def _told(call: Call, kind: Type, node_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What these nodes have of a type, by node, as AWS's InventoryResultItem."""
    if kind.by_service:
        return {
            node_id: {"TypeName": kind.name, "SchemaVersion": kind.version, "Content": content}
            for node_id, content in served.rows(call, kind.name, node_ids).items()
        }
    if len(node_ids) == 1:
        row = call.db.first(ITEM, **call.here, node=node_ids[0], type=kind.name)
        if row is None:
            return {}
        return {row.node_id: _item(row, call.db.value(CONTENT, **call.here, node=row.node_id, type=kind.name))}
    listed = call.db.all(ITEMS, **call.here, type=kind.name, node_ids=list(node_ids))
    contents = {
        row.node_id: row.content for row in call.db.all(CONTENTS, **call.here, type=kind.name, node_ids=list(node_ids))
    }
    return {row.node_id: _item(row, contents[row.node_id]) for row in listed}


def _item(row: Row[Any], content: bytes) -> dict[str, Any]:
    hashed = {"ContentHash": row.content_hash} if row.content_hash else {}
    return {
        "TypeName": row.type_name,
        "SchemaVersion": row.schema_version,
        "CaptureTime": row.capture_time,
        **hashed,
        "Content": rows.unpack(content),
    }


def _aggregated(fleet: Fleet, request: Mapping[str, Any], found: BitMap) -> dict[str, Any]:
    """Pages of rows: by the aggregator's place, then the most frequent first."""
    after = paging.decode("GetInventory", request.get("NextToken"))
    listed = [
        (place, number, row)
        for place, of_one in enumerate(aggregate.counted(fleet, request["Aggregators"], found))
        for number, row in enumerate(of_one)
    ]
    rest = [each for each in listed if after is None or _key(each) > _read_key(after)]
    limit = request.get("MaxResults", PAGE)
    page, more = paging.page("GetInventory", rest, limit, lambda each: list(_key(each)))
    entities: dict[int, dict[str, Any]] = {}
    for place, _, row in page:
        item = {"TypeName": row.name, "SchemaVersion": row.version, "Content": []}
        entity = entities.setdefault(place, {"Data": {row.name: item}})
        entity["Data"][row.name]["Content"].append(_content(row))
    return {"Entities": list(entities.values()), **more}


def _content(row: aggregate.Counted) -> dict[str, str]:
    count = {"Count": str(row.nodes)} if row.nodes >= 0 else {}
    return {**dict(row.values), **count}


def _key(each: tuple[int, int, aggregate.Counted]) -> tuple[Any, ...]:
    place, number, row = each
    if row.nodes < 0:  # of a group: its two rows keep their order
        return place, number, ()
    count, values = aggregate.order(row)
    return place, count, values


def _read_key(after: Sequence[Any]) -> tuple[Any, ...]:
    place, count, values = after
    return place, count, tuple(values)
