"""PutInventory: what nodes tell of themselves, several at once.

A node that tells a hash alone says that nothing changed, which costs one narrow row. What is new is packed beside the
writer, and the catalogue learns of it by the change row (`fold`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fleetward.server.call import Call, Sent
from fleetward.server.effects import Compute, Outside
from fleetward.server.errors import AccessDeniedException, AwsError
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import (
    InvalidInventoryItemContextException,
    InvalidItemContentException,
    InvalidTypeNameException,
    ItemContentMismatchException,
    UnsupportedInventoryItemContextException,
    UnsupportedInventorySchemaVersionException,
)
from fleetward.server.ssm.inventory import custom, rows
from fleetward.server.ssm.inventory.rows import Packed
from fleetward.server.ssm.inventory.table import KNOWN, MEMBERS, PUT_BLOB, PUT_CHANGE, PUT_ITEM, TOUCH
from fleetward.server.ssm.inventory.types import BY_AWS, CUSTOM, of_aws
from fleetward.server.ssm.nodes.table import unknown

TOGETHER = 50
CONTEXT_OF = {"AWS:ComplianceItem": frozenset(("ComplianceType", "ExecutionId", "ExecutionType", "ExecutionTime"))}
"""The one type that takes a Context, and what it may say."""

Item = Mapping[str, Any]


class Known(NamedTuple):
    """What the server has of a node: its place in the bitmaps, and of each type its hash."""

    ordinal: int
    hashes: dict[str, str]


class News(NamedTuple):
    """One item to be stored."""

    node_id: str
    ordinal: int
    item: Item
    packed: Packed


class Writing:
    """What a batch is going to write, once every member is judged."""

    def __init__(self) -> None:
        self.touched: dict[tuple[str, str], str] = {}
        self.news: dict[tuple[str, str], News] = {}

    def write(self, call: Call) -> None:
        """All of it, in the order of nodes and types; change rows first, as `fold` holds them first."""
        news = [self.news[key] for key in sorted(self.news)]
        keys = [{"node_id": each.node_id, "type_name": each.item["TypeName"]} for each in news]
        told = [
            {**call.tenant, **key, "ordinal": each.ordinal, "at": call.now}
            for key, each in zip(keys, news, strict=True)
        ]
        call.db.run(PUT_CHANGE, told)
        call.db.run(
            PUT_ITEM, [{**call.tenant, **key, **_row(call, each)} for key, each in zip(keys, news, strict=True)]
        )
        call.db.run(
            PUT_BLOB,
            [
                {**call.tenant, **key, "content": each.packed.content, "digests": each.packed.digests, "folded": b""}
                for key, each in zip(keys, news, strict=True)
            ],
        )
        call.db.run(
            TOUCH,
            [
                {**call.here, "node": node_id, "type": name, "captured": self.touched[node_id, name]}
                for node_id, name in sorted(self.touched)
            ],
        )


@ssm.operation("PutInventory", audience="both", together=TOGETHER, grows=True, audit=False)
def put_inventory(call: Call, members: Sequence[Sent]) -> list[dict[str, Any] | Outside | Exception]:
    """Batch entry: replace what nodes have of the types they name. A member that is wrong fails alone and whole."""
    known = _known(call, sorted({member.request["InstanceId"] for member in members}))
    made = custom.Types(call)
    writing = Writing()
    outputs: list[dict[str, Any] | Outside | Exception] = []
    for member in members:
        try:
            outputs.append(_put(made, known, writing, member))
        except AwsError as fault:
            outputs.append(fault)
    writing.write(call)
    made.save()
    return outputs


def _known(call: Call, node_ids: Sequence[str]) -> dict[str, Known]:
    found = {
        row.node_id: Known(row.ordinal, {})
        for row in call.db.all(MEMBERS, **call.here, node_ids=node_ids)
        if row.forget_at is None
    }
    for row in call.db.all(KNOWN, **call.here, node_ids=sorted(found)):
        found[row.node_id].hashes[row.type_name] = row.content_hash
    return found


def _put(made: custom.Types, known: Mapping[str, Known], writing: Writing, member: Sent) -> dict[str, Any] | Outside:
    context, request = member
    node_id, items = request["InstanceId"], request["Items"]
    if context.caller.kind == "node" and context.caller.node_id != node_id:
        raise AccessDeniedException(f"{context.caller.node_id} may only tell about itself, not {node_id}.")
    if node_id not in known:
        raise unknown([node_id])
    told = known[node_id]
    kept = [item for item in items if not made.ignores(_checked(item))]
    for item in kept:
        if "Content" not in item:
            _require_same(told.hashes, item)
    full = [item for item in kept if "Content" in item]
    if full and not context.outcomes:
        return Outside((Compute(rows.pack_all, (full,)),))
    packed = context.outcomes[0] if full else []
    if isinstance(packed, AwsError):
        raise packed
    made.learn(full)
    for item in kept:
        if "Content" not in item:
            writing.touched[node_id, item["TypeName"]] = item["CaptureTime"]
    for item, blob in zip(full, packed, strict=True):
        writing.news[node_id, item["TypeName"]] = News(node_id, told.ordinal, item, blob)
        told.hashes[item["TypeName"]] = item.get("ContentHash", "")
    return {}


def _require_same(hashes: Mapping[str, str], item: Item) -> None:
    """An item without Content is what the server has already, by its hash."""
    name, content_hash = item["TypeName"], item.get("ContentHash", "")
    if not content_hash:
        raise InvalidItemContentException(f"{name} has neither a Content nor a ContentHash.", TypeName=name)
    if hashes.get(name) != content_hash:
        raise ItemContentMismatchException(
            f"What is known of {name} is not what this ContentHash names; send its Content.", TypeName=name
        )


def _checked(item: Item) -> Item:
    """An item whose type, version and context are ones that can be put; raises otherwise."""
    name, version = item["TypeName"], item["SchemaVersion"]
    if name.startswith(CUSTOM):
        if name == CUSTOM:
            raise InvalidTypeNameException(f"A custom type has a name behind {CUSTOM}.")
    elif of_aws(name).by_service:
        raise InvalidTypeNameException(f"{name} is filled by the server; nobody puts it.")
    elif not _is_known(version, BY_AWS[name].version):
        raise UnsupportedInventorySchemaVersionException(
            f"The SchemaVersion of {name} is {BY_AWS[name].version}, not {version}."
        )
    if item.get("Context"):
        allowed = CONTEXT_OF.get(name)
        if allowed is None:
            raise UnsupportedInventoryItemContextException(f"{name} takes no Context.", TypeName=name)
        if not allowed.issuperset(item["Context"]):
            raise InvalidInventoryItemContextException(f"The Context of {name} can have {', '.join(sorted(allowed))}.")
    return item


def _is_known(version: str, newest: str) -> bool:
    """Whether a version of one of AWS's types is one there was: the newest one, or an earlier one of it."""
    major, minor = map(int, version.split("."))
    newest_major, newest_minor = map(int, newest.split("."))
    return major == newest_major and minor <= newest_minor


def _row(call: Call, news: News) -> dict[str, Any]:
    item = news.item
    return {
        "ordinal": news.ordinal,
        "schema_version": item["SchemaVersion"],
        "capture_time": item["CaptureTime"],
        "content_hash": item.get("ContentHash", ""),
        "number": news.packed.number,
        "changed_at": call.now,
        "gone": False,
    }
