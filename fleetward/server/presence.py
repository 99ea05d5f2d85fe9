"""Presence: which server holds which node's connection; epochs, and the servers' own leases.

A connection counts while its row names a server whose lease lives. Each new connection of a node gets a higher epoch;
only the newest may send, whichever server holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import BigInteger, Column, Index, String, Table, bindparam, delete, insert, select, update

from fleetward.server.call import Call, Sent
from fleetward.server.schema import UtcDateTime, in_tenant, metadata, tenant

SERVER_LEASE = timedelta(seconds=20)
ASKED_AT_ONCE = 10_000
"""Nodes in one statement; PostgreSQL takes 65,535 parameters."""

servers = Table(
    "presence_servers",
    metadata,
    Column("server_id", String(36), primary_key=True),
    Column("peer_address", String(255), nullable=False, default=""),
    Column("lease_until", UtcDateTime, nullable=False),
)

connections = Table(
    "presence_connections",
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("server_id", String(36)),  # null: not connected
    Column("epoch", BigInteger, nullable=False),
    Column("connected_at", UtcDateTime, nullable=False),
    Column("agent_version", String(32), nullable=False, default=""),
    Index("presence_connections_server", "server_id"),
)

_NODE = (*in_tenant(connections), connections.c.node_id == bindparam("node"))
ADD_CONNECTION = insert(connections)
MOVE = (
    update(connections)
    .where(*_NODE)
    .values(
        server_id=bindparam("server"),
        epoch=bindparam("to_epoch"),
        connected_at=bindparam("now"),
        agent_version=bindparam("version"),
    )
)
LEAVE = update(connections).where(*_NODE, connections.c.epoch == bindparam("of_epoch")).values(server_id=None)
FORGET_NODE = delete(connections).where(*_NODE)
CURRENT = select(
    connections.c.node_id, connections.c.epoch, connections.c.connected_at, connections.c.agent_version
).where(*in_tenant(connections), connections.c.node_id.in_(bindparam("nodes", expanding=True)))
LOCK_CURRENT = CURRENT.order_by(connections.c.node_id).with_for_update()
CONNECTED = (
    select(connections.c.node_id)
    .join(servers, servers.c.server_id == connections.c.server_id)
    .where(
        *in_tenant(connections),
        connections.c.node_id.in_(bindparam("nodes", expanding=True)),
        servers.c.lease_until > bindparam("now"),
    )
)
RENEW = update(servers).where(servers.c.server_id == bindparam("server")).values(lease_until=bindparam("until"))
ADD_SERVER = insert(servers)
ALL_SERVERS = select(servers.c.server_id)
LAPSED = select(servers.c.server_id).where(servers.c.lease_until < bindparam("before"))
LIVING = select(servers.c.server_id).where(servers.c.lease_until > bindparam("now"))
PEER_ADDRESS = select(servers.c.peer_address).where(
    servers.c.server_id == bindparam("server"), servers.c.lease_until > bindparam("now")
)
DROP_SERVER = delete(servers).where(servers.c.server_id == bindparam("server"))
DROP_CONNECTIONS = update(connections).where(connections.c.server_id == bindparam("server")).values(server_id=None)


def connect(call: Call, arrivals: Sequence[Sent]) -> list[int]:
    """Batch entry: nodes opened their channels here, `(node_id, server_id, agent_version)`; returns their epochs."""
    nodes = [member.request[0] for member in arrivals]
    scope = {**call.here, "nodes": nodes}
    known = {row.node_id: row.epoch for row in call.db.all(LOCK_CURRENT, **scope)}
    epochs = []
    for member in arrivals:
        node_id, server_id, agent_version = member.request
        epoch = known.get(node_id, 0) + 1
        if node_id in known:
            call.db.run(
                MOVE,
                {
                    **call.here,
                    "node": node_id,
                    "server": server_id,
                    "to_epoch": epoch,
                    "now": call.now,
                    "version": agent_version,
                },
            )
        else:
            call.db.run(
                ADD_CONNECTION,
                {
                    **call.tenant,
                    "node_id": node_id,
                    "server_id": server_id,
                    "epoch": epoch,
                    "connected_at": call.now,
                    "agent_version": agent_version,
                },
            )
        known[node_id] = epoch
        epochs.append(epoch)
        call.wake_node(node_id)
    return epochs


def leave(call: Call, departures: Sequence[Sent]) -> list[None]:
    """Batch entry: channels closed, `(node_id, epoch)`; a newer connection elsewhere is not touched."""
    rows = [{**call.here, "node": member.request[0], "of_epoch": member.request[1]} for member in departures]
    call.db.run(LEAVE, rows)
    return [None] * len(rows)


def connected(call: Call, node_ids: Sequence[str]) -> set[str]:
    """Those of the nodes whose channel is open on a living server."""
    found: set[str] = set()
    for first in range(0, len(node_ids), ASKED_AT_ONCE):
        some = node_ids[first : first + ASKED_AT_ONCE]
        found.update(call.db.values(CONNECTED, **call.here, nodes=some, now=call.now))
    return found


def agent_version(call: Call, node_id: str) -> str:
    """What the agent on the node's newest connection called itself; empty for a node that never had one."""
    row = call.db.first(CURRENT, **call.here, nodes=[node_id])
    return "" if row is None else str(row.agent_version)


def forget(call: Call, node_id: str) -> None:
    """The node is deregistered: no connection of it counts any more."""
    call.db.run(FORGET_NODE, {**call.here, "node": node_id})


def renew(call: Call, request: tuple[str, str]) -> None:
    """Entry: `(server_id, peer_address)` lives; servers that have not renewed for a minute lose their connections."""
    server_id, peer_address = request
    until = call.now + SERVER_LEASE
    if not call.db.run(RENEW, {"server": server_id, "until": until}):
        call.db.run(ADD_SERVER, {"server_id": server_id, "peer_address": peer_address, "lease_until": until})
    for lapsed in call.db.values(LAPSED, before=call.now - timedelta(minutes=1)):
        drop_server(call, lapsed)


def living(call: Call) -> Sequence[str]:
    """The servers whose leases have not lapsed."""
    return call.db.values(LIVING, now=call.now)


def peer_address(call: Call, server_id: str) -> str | None:
    """Where a server is reached by others; empty when it is not, None when it does not live."""
    address: str | None = call.db.value(PEER_ADDRESS, server=server_id, now=call.now)
    return address


def alone(call: Call, server_id: str) -> None:
    """Entry: this server is the only one there can be, so whatever another held is free at once."""
    for other in call.db.values(ALL_SERVERS):
        if other != server_id:
            drop_server(call, other)


def drop_server(call: Call, server_id: str) -> None:
    """Entry: this server holds nothing any more."""
    call.db.run(DROP_CONNECTIONS, {"server": server_id})
    call.db.run(DROP_SERVER, {"server": server_id})
