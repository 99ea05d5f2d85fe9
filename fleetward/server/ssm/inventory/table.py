"""The rows of inventory: what each node told of each type, the catalogue of all items, and changes not yet folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    bindparam,
    delete,
    false,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or_change

from fleetward.server.call import Call
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, same_tenant, tenant

members = Table(
    "inventory_nodes",
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("ordinal", Integer, nullable=False),  # its place in the bitmaps
    Column("forget_at", UtcDateTime),  # null: it is registered
    Column("facts", Json),  # its AWS:InstanceInformation when it left
    Index("inventory_nodes_ordinal", "account_id", "region", "ordinal", unique=True),
    Index("inventory_nodes_forgotten", "forget_at"),
)

ordinals = Table(
    "inventory_ordinals",
    metadata,
    *tenant(),
    Column("following", Integer, nullable=False),
)

items = Table(
    "inventory_items",  # narrow and apart from the content: an unchanged put rewrites nothing but this
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("type_name", String(100), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("schema_version", String(16), nullable=False),
    Column("capture_time", String(20), nullable=False),  # as told, ISO 8601
    Column("content_hash", String(256), nullable=False),  # as told; empty: none
    Column("number", Integer, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("gone", Boolean, nullable=False),  # deleted; waits to be taken out of the catalogue
    Index("inventory_items_type", "account_id", "region", "type_name", "ordinal"),
    Index("inventory_items_changed", "account_id", "region", "changed_at", "node_id", "type_name"),
)

blobs = Table(
    "inventory_blobs",
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("type_name", String(100), primary_key=True),
    Column("content", LargeBinary, nullable=False),  # rows.pack_all
    Column("digests", LargeBinary, nullable=False),  # of these rows
    Column("folded", LargeBinary, nullable=False),  # the digests under which the catalogue has the node
)

catalogue = Table(
    "inventory_catalogue",
    metadata,
    *tenant(),
    Column("type_name", String(100), primary_key=True),
    Column("digest", BigInteger, primary_key=True, autoincrement=False),
    Column("identity", Json, nullable=False),
    Column("number", Integer, nullable=False),  # of nodes
    Column("nodes", LargeBinary, nullable=False),  # bitmap of ordinals
)

changes = Table(
    "inventory_changes",  # whose blobs are not folded
    metadata,
    *tenant(),
    Column("type_name", String(100), primary_key=True),
    Column("node_id", String(40), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("inventory_changes_at", "at"),
)

custom_types = Table(
    "inventory_custom_types",
    metadata,
    *tenant(),
    Column("type_name", String(100), primary_key=True),
    Column("version", String(16), nullable=False),
    Column("attributes", Json, nullable=False),
    Column("disabled", String(16), nullable=False),  # versions up to this one are ignored; empty: none
)

TYPE_KEY = ["account_id", "region", "node_id", "type_name"]


def _of(table: Table) -> tuple[Any, ...]:
    """The condition that a row is that of one node and type."""
    return (*in_tenant(table), table.c.node_id == bindparam("node"), table.c.type_name == bindparam("type"))


NEXT_ORDINAL = (
    insert_or_change(ordinals)
    .values(following=1)
    .on_conflict_do_update(index_elements=["account_id", "region"], set_={"following": ordinals.c.following + 1})
)
LAST_ORDINAL = select(ordinals.c.following).where(*in_tenant(ordinals))
ADD_MEMBER = insert(members)
MEMBERS = select(members.c.node_id, members.c.ordinal, members.c.forget_at).where(
    *in_tenant(members), members.c.node_id.in_(bindparam("node_ids", expanding=True))
)
LEAVE = (
    update(members)
    .where(*in_tenant(members), members.c.node_id == bindparam("node"))
    .values(forget_at=bindparam("until"), facts=bindparam("told", type_=Json))
)
REMOVE_MEMBER = delete(members).where(*in_tenant(members), members.c.node_id == bindparam("node"))
FORGOTTEN = (
    select(members.c.node_id)
    .where(*in_tenant(members), members.c.forget_at <= bindparam("now"))
    .order_by(members.c.forget_at)
    .limit(bindparam("most"))
)

KNOWN = (
    select(items.c.node_id, items.c.type_name, items.c.content_hash, items.c.schema_version)
    .where(*in_tenant(items), items.c.node_id.in_(bindparam("node_ids", expanding=True)), items.c.gone.is_(false()))
    .order_by(items.c.node_id, items.c.type_name)
)
TOUCH = update(items).where(*_of(items)).values(capture_time=bindparam("captured"))
_ADD_ITEM = insert_or_change(items)
PUT_ITEM = _ADD_ITEM.on_conflict_do_update(
    index_elements=TYPE_KEY,
    set_={each.name: _ADD_ITEM.excluded[each.name] for each in items.columns if each.name not in TYPE_KEY},
)
_ADD_BLOB = insert_or_change(blobs)
PUT_BLOB = _ADD_BLOB.on_conflict_do_update(
    index_elements=TYPE_KEY, set_={"content": _ADD_BLOB.excluded.content, "digests": _ADD_BLOB.excluded.digests}
)
_ADD_CHANGE = insert_or_change(changes)
PUT_CHANGE = _ADD_CHANGE.on_conflict_do_update(
    index_elements=["account_id", "region", "type_name", "node_id"], set_={"at": _ADD_CHANGE.excluded.at}
)
CHANGED_ORDINALS = select(changes.c.ordinal).where(*in_tenant(changes), changes.c.type_name == bindparam("type"))

ITEM = select(items).where(*_of(items), items.c.gone.is_(false()))
CONTENT = select(blobs.c.content).where(*_of(blobs))
CONTENTS = select(blobs.c.node_id, blobs.c.content).where(
    *in_tenant(blobs),
    blobs.c.type_name == bindparam("type"),
    blobs.c.node_id.in_(bindparam("node_ids", expanding=True)),
)
ITEMS = select(items).where(
    *in_tenant(items),
    items.c.type_name == bindparam("type"),
    items.c.node_id.in_(bindparam("node_ids", expanding=True)),
    items.c.gone.is_(false()),
)
HAVING_TYPE = (
    select(items.c.ordinal)
    .where(*in_tenant(items), items.c.type_name.in_(bindparam("types", expanding=True)), items.c.gone.is_(false()))
    .distinct()
)
WITH_BLOB = items.join(
    blobs,
    same_tenant(blobs, items)[0]
    & same_tenant(blobs, items)[1]
    & (blobs.c.node_id == items.c.node_id)
    & (blobs.c.type_name == items.c.type_name),
)
BLOBS_FROM = (
    select(items.c.ordinal, items.c.node_id, blobs.c.content, blobs.c.digests)
    .select_from(WITH_BLOB)
    .where(
        *in_tenant(items),
        items.c.type_name == bindparam("type"),
        items.c.ordinal >= bindparam("first"),
        items.c.gone.is_(false()),
    )
    .order_by(items.c.ordinal)
    .limit(bindparam("most"))
)
BLOBS_OF = (
    select(items.c.ordinal, items.c.node_id, blobs.c.content, blobs.c.digests)
    .select_from(WITH_BLOB)
    .where(
        *in_tenant(items),
        items.c.type_name == bindparam("type"),
        items.c.ordinal.in_(bindparam("of_ordinals", expanding=True)),
        items.c.gone.is_(false()),
    )
    .order_by(items.c.ordinal)
)
CATALOGUE = select(catalogue.c.digest, catalogue.c.identity, catalogue.c.number, catalogue.c.nodes).where(
    *in_tenant(catalogue), catalogue.c.type_name == bindparam("type")
)

CUSTOM_TYPES = select(custom_types).where(*in_tenant(custom_types)).order_by(custom_types.c.type_name)
_ADD_CUSTOM = insert_or_change(custom_types)
PUT_CUSTOM = _ADD_CUSTOM.on_conflict_do_update(
    index_elements=["account_id", "region", "type_name"],
    set_={name: _ADD_CUSTOM.excluded[name] for name in ("version", "attributes", "disabled")},
)
REMOVE_CUSTOM = delete(custom_types).where(*in_tenant(custom_types), custom_types.c.type_name == bindparam("type"))

MARK_GONE = (
    update(items)
    .where(*_of(items))
    .values(gone=bindparam("is_gone"), number=0, content_hash="", changed_at=bindparam("now"))
)
EMPTY_BLOB = update(blobs).where(*_of(blobs)).values(content=bindparam("nothing"), digests=bindparam("nothing"))
ITEMS_OF_NODE = (
    select(items.c.node_id, items.c.type_name, items.c.ordinal)
    .where(*in_tenant(items), items.c.node_id == bindparam("node"), items.c.gone.is_(false()))
    .limit(bindparam("most"))
)
ANY_ITEM = select(items.c.type_name).where(*in_tenant(items), items.c.node_id == bindparam("node")).limit(1)
VERSIONS_OF_TYPE = (
    select(items.c.schema_version, func.count())
    .where(*in_tenant(items), items.c.type_name == bindparam("type"), items.c.gone.is_(false()))
    .group_by(items.c.schema_version)
    .order_by(items.c.schema_version)
)


def ordinal_of(call: Call, node_id: str) -> int:
    """The place of a node in the bitmaps, given at its first mention."""
    known = call.db.first(MEMBERS, **call.here, node_ids=[node_id])
    if known is not None:
        ordinal: int = known.ordinal
        return ordinal
    call.db.run(NEXT_ORDINAL, call.tenant)  # holds the row: two nodes never get the same
    ordinal = call.db.value(LAST_ORDINAL, **call.here)
    call.db.run(ADD_MEMBER, {**call.tenant, "node_id": node_id, "ordinal": ordinal})
    return ordinal


def empty(call: Call, rows: Iterable[Row[Any]]) -> None:
    """What these nodes told of these types is gone; the catalogue follows (columns node_id, type_name, ordinal)."""
    chosen: Sequence[Row[Any]] = list(rows)
    keys = [{**call.here, "node": row.node_id, "type": row.type_name} for row in chosen]
    told = [{"type_name": row.type_name, "node_id": row.node_id, "ordinal": row.ordinal} for row in chosen]
    call.db.run(PUT_CHANGE, [{**call.tenant, **each, "at": call.now} for each in told])
    call.db.run(MARK_GONE, [{**key, "is_gone": True, "now": call.now} for key in keys])
    call.db.run(EMPTY_BLOB, [{**key, "nothing": b""} for key in keys])
