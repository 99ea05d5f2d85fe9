"""The rows of managed nodes: who they are, what they last told about themselves, and when they were last heard of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    LargeBinary,
    Row,
    String,
    Table,
    and_,
    bindparam,
    select,
    update,
)

from fleetward.server.call import Call, Resource
from fleetward.server.iam import principals
from fleetward.server.schema import UtcDateTime, in_tenant, metadata, same_tenant, tenant
from fleetward.server.ssm import tags
from fleetward.server.ssm.errors import InvalidInstanceId

RESOURCE_TYPE = "ManagedInstance"
MOST_NAMED = 20

nodes = Table(
    "nodes",
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("activation_id", String(36), nullable=False),
    Column("iam_role", String(64), nullable=False),
    Column("name", String(256), nullable=False, default=""),
    Column("created_at", UtcDateTime, nullable=False),
    # what it proves itself with
    Column("public_key", LargeBinary, nullable=False),  # DER, SubjectPublicKeyInfo
    Column("key_hash", String(64), nullable=False),  # of the key it registered with
    Column("previous_public_key", LargeBinary),
    Column("previous_until", UtcDateTime),
    Column("rekeyed_by_previous_at", UtcDateTime),
    Column("rotation_requested", Boolean, nullable=False, default=False),
    Column("fingerprint", String(256), nullable=False),
    Column("fingerprint_state", String(16), nullable=False, default="Known"),
    Column("other_fingerprint", String(256)),  # Changed: the one before; Waiting, Refused: the one not accepted
    Column("fingerprint_changed_at", UtcDateTime),
    Column("fingerprint_returns", BigInteger, nullable=False, default=0),
    Column("quarantined_at", UtcDateTime),
    Column("quarantine_reason", String(256)),
    # what it tells about itself
    Column("platform_type", String(16)),
    Column("platform_name", String(256)),
    Column("platform_version", String(256)),
    Column("agent_name", String(256)),
    Column("agent_version", String(256)),
    Column("ip_address", String(256)),
    Column("computer_name", String(256)),
    Column("availability_zone", String(256)),
    Column("availability_zone_id", String(256)),
    Column("channel", String(64)),
    # versions with every number padded to the same width, so that text order is version order
    Column("agent_version_order", String(256)),
    Column("platform_version_order", String(256)),
    Index("nodes_key_hash", "account_id", "region", "key_hash"),
    Index("nodes_activation", "account_id", "region", "activation_id"),
)

pings = Table(
    "nodes_pings",  # narrow and apart from the rest: a heartbeat rewrites nothing but this
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("last_seen_at", UtcDateTime),  # null: never since it registered
    Column("told", String(32)),  # hash of what the last heartbeat told
)

HERE = in_tenant(nodes)
THIS = (*HERE, nodes.c.node_id == bindparam("node"))
WITH_PING = nodes.join(
    pings,
    and_(*same_tenant(pings, nodes), pings.c.node_id == nodes.c.node_id),
)
SHOWN = (
    nodes.c.node_id,
    nodes.c.activation_id,
    nodes.c.iam_role,
    nodes.c.name,
    nodes.c.created_at,
    nodes.c.platform_type,
    nodes.c.platform_name,
    nodes.c.platform_version,
    nodes.c.agent_name,
    nodes.c.agent_version,
    nodes.c.ip_address,
    nodes.c.computer_name,
    nodes.c.availability_zone,
    nodes.c.availability_zone_id,
    pings.c.last_seen_at,
)
"""The columns that other capabilities and the lists see: all but keys and fingerprints."""

EVERYWHERE = select(nodes.c.account_id, nodes.c.region, nodes.c.node_id)
EXISTS = select(nodes.c.node_id).where(*THIS)
WHOLE = select(nodes).where(*THIS)
LOCK = select(nodes).where(*THIS).with_for_update()
FIND_SHOWN = (
    select(*SHOWN).select_from(WITH_PING).where(*HERE, nodes.c.node_id.in_(bindparam("node_ids", expanding=True)))
)
ALL_SHOWN = select(*SHOWN).select_from(WITH_PING).where(*HERE)
PLATFORMS = select(nodes.c.node_id, nodes.c.platform_type).where(
    *HERE, nodes.c.node_id.in_(bindparam("node_ids", expanding=True))
)
TOUCH = (
    update(pings)
    .where(*in_tenant(pings), pings.c.node_id.in_(bindparam("node_ids", expanding=True)))
    .values(last_seen_at=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """Event: a machine registered and is a node now."""

    node_id: str


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """Event: a node is deregistered; its rows, mailbox and credentials are gone already."""

    node_id: str
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What it had told about itself, by column."""


@dataclass(frozen=True, slots=True)
class NodeConflict:
    """Event: two machines hold one node's key, so it is quarantined; `reason` says how that was seen."""

    node_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FingerprintChanged:
    """Event: a node showed another fingerprint; `state` is Changed (accepted), Waiting (for approval) or Refused."""

    node_id: str
    state: str


def scope(call: Call, **parameters: Any) -> dict[str, Any]:
    """The tenant's parameters, and more."""
    return {**call.here, **parameters}


def arn(call: Call, node_id: str) -> str:
    """The ARN of a node: what IAM decides on, and the principal its keys act as."""
    return principals.node_arn(call.account, call.region, node_id)


def everywhere(call: Call) -> list[tuple[str, str, str]]:
    """Every node of the store: account, region, id."""
    return [(row.account_id, row.region, row.node_id) for row in call.db.all(EVERYWHERE)]


def exists(call: Call, node_id: str) -> bool:
    """Whether the node is registered."""
    return call.db.first(EXISTS, **scope(call, node=node_id)) is not None


def lock(call: Call, node_id: str) -> Row[Any]:
    """The node's whole row, held until the end of the transaction; raises InvalidInstanceId."""
    row = call.db.first(LOCK, **scope(call, node=node_id))
    if row is None:
        raise unknown([node_id])
    return row


def require(call: Call, node_ids: Sequence[str]) -> list[Row[Any]]:
    """The rows (columns SHOWN) of nodes in the order asked; raises InvalidInstanceId naming those unknown."""
    if not node_ids:
        return []
    found = {row.node_id: row for row in call.db.all(FIND_SHOWN, **scope(call, node_ids=list(node_ids)))}
    missing = [node_id for node_id in node_ids if node_id not in found]
    if missing:
        raise unknown(missing)
    return [found[node_id] for node_id in node_ids]


def every(call: Call) -> Sequence[Row[Any]]:
    """The rows (columns SHOWN) of all nodes, in no order: for what looks at the fleet as a whole."""
    return call.db.all(ALL_SHOWN, **call.here)


def known(call: Call, node_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """The rows (columns SHOWN) of those of the nodes that are registered, in no order."""
    return call.db.all(FIND_SHOWN, **scope(call, node_ids=list(node_ids))) if node_ids else []


def unknown(node_ids: Sequence[str]) -> InvalidInstanceId:
    """The error for ids that are not registered."""
    named = ", ".join(node_ids[:MOST_NAMED])
    more = f" and {len(node_ids) - MOST_NAMED} more" if len(node_ids) > MOST_NAMED else ""
    return InvalidInstanceId(f"Not registered as managed nodes in this account and Region: {named}{more}")


def platforms(call: Call, node_ids: Sequence[str]) -> dict[str, str]:
    """The platform type (Linux, Windows, MacOS) of those nodes that have told theirs."""
    if not node_ids:
        return {}
    rows = call.db.all(PLATFORMS, **scope(call, node_ids=list(node_ids)))
    return {row.node_id: row.platform_type for row in rows if row.platform_type}


def seen(call: Call, node_ids: Iterable[str]) -> None:
    """These nodes gave a sign of life now: one statement for all of them, at most 1,000."""
    touched = sorted(set(node_ids))
    if touched:
        call.db.run(TOUCH, scope(call, node_ids=touched, now=call.now))


def online_since(call: Call) -> Any:
    """A node heard of at or after this time is Online."""
    return call.now - timedelta(seconds=call.settings.online_for)


def tagged(call: Call, node_id: str) -> Resource:
    """A node as what IAM decides on, with its tags."""
    return Resource(arn(call, node_id), tags.of(call, RESOURCE_TYPE, [node_id])[node_id])


tags.taggable(RESOURCE_TYPE, exists=exists, arn=arn)
