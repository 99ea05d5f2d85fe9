"""The rows of sessions: who opened one to which node, what it is for, who holds its ends, and how it went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

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
    Text,
    bindparam,
    insert,
    select,
)

from fleetward.protocol.status import ACTIVE_SESSIONS
from fleetward.server.call import Call
from fleetward.server.key_rotation import SealedColumn
from fleetward.server.schema import UtcDateTime, in_tenant, metadata, tenant

sessions = Table(
    "session_manager_sessions",
    metadata,
    *tenant(),
    Column("session_id", String(96), primary_key=True),
    Column("node_id", String(40), nullable=False),
    Column("status", String(16), nullable=False),  # SessionStatus
    Column("access_type", String(16), nullable=False),
    Column("reason", String(256), nullable=False, default=""),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("details", String(1024), nullable=False, default=""),  # how it ended, for its client and its history
    # what it is for
    Column("document_name", String(128), nullable=False),
    Column("document_named", String(128), nullable=False),  # as the caller named it; empty: not at all
    Column("session_type", String(32), nullable=False),
    Column("recorded", Boolean, nullable=False),  # whether the server sees and keeps its screen
    Column("content", Text, nullable=False),  # what the node is sent
    Column("target_host", String(255), nullable=False, default=""),
    Column("target_port", String(5), nullable=False, default=""),
    # who opened it, and what he held
    Column("owner_arn", Text, nullable=False),
    Column("owner_id", String(256), nullable=False),  # aws:userid
    Column("access_key_id", String(32), nullable=False, default=""),
    Column("session_token", LargeBinary),  # sealed; null: a long-lived key, or the session has ended
    Column("source_ip", String(45), nullable=False, default=""),
    # its ends; each epoch counts the connections of one end, `left_at` is null while it is connected
    Column("client_token", String(64)),  # SHA-256; null once it was used
    Column("client_server", String(36)),
    Column("client_epoch", Integer, nullable=False, default=0),
    Column("client_left_at", UtcDateTime),
    Column("node_token", String(64)),
    Column("node_server", String(36)),  # the server that holds the node's end, and so the session
    Column("node_epoch", Integer, nullable=False, default=0),
    Column("node_left_at", UtcDateTime),
    # its limits
    Column("idle_minutes", Integer),  # null: may be idle for ever
    Column("max_duration", String(4), nullable=False, default=""),  # minutes, as the preferences say it
    Column("due_at", UtcDateTime),  # when a limit may be reached; null once it ended
    Column("active_at", UtcDateTime, nullable=False),
    Column("bytes_in", BigInteger, nullable=False, default=0),  # to the node
    Column("bytes_out", BigInteger, nullable=False, default=0),
    # what is left of it
    Column("ended_by", Text, nullable=False, default=""),
    Column("s3_url", Text, nullable=False, default=""),
    Column("log_url", Text, nullable=False, default=""),
    Column("recording_key", String(256), nullable=False, default=""),
    Column("recording_bytes", BigInteger, nullable=False, default=0),
    Index("session_manager_sessions_newest", "account_id", "region", "started_at", "session_id"),
    Index("session_manager_sessions_node", "account_id", "region", "node_id", "started_at"),
    Index("session_manager_sessions_due", "due_at"),
    Index("session_manager_sessions_ended", "ended_at"),
)

THIS = (*in_tenant(sessions), sessions.c.session_id == bindparam("session"))
ADD = insert(sessions)
FIND = select(sessions).where(*THIS)
LOCK = FIND.with_for_update()
LOCK_MANY = (
    select(sessions)
    .where(*in_tenant(sessions), sessions.c.session_id.in_(bindparam("some", expanding=True)))
    .order_by(sessions.c.session_id)
    .with_for_update()
)
MANY = select(sessions).where(*in_tenant(sessions), sessions.c.session_id.in_(bindparam("some", expanding=True)))
STANDING = select(*(column for column in sessions.c if column.name != "content")).where(
    *in_tenant(sessions), sessions.c.session_id.in_(bindparam("some", expanding=True))
)
"""Rows without what the node was sent, which may be long: servers read them every second."""
ACTIVE_OF_NODE = select(sessions.c.session_id).where(
    *in_tenant(sessions), sessions.c.node_id == bindparam("node"), sessions.c.status.in_(ACTIVE_SESSIONS)
)


def token_identity(key: Key) -> str:
    """What the sealed session token of a session's owner belongs to."""
    return f"session-grant/{key.account}/{key.region}/{key.session_id}"


SEALED = (SealedColumn(sessions, "session_token", lambda row: token_identity(key_of(row))),)


class Key(NamedTuple):
    """Which session, among those of all tenants."""

    account: str
    region: str
    session_id: str

    @property
    def topic(self) -> str:
        """What is woken when something about the session changes."""
        return f"session/{self.account}/{self.region}/{self.session_id}"


def key_of(row: Row[Any]) -> Key:
    """The key of a row."""
    return Key(row.account_id, row.region, row.session_id)


def find(call: Call, session_id: str) -> Row[Any] | None:
    """The row of one session."""
    return call.db.first(FIND, **call.here, session=session_id)


def lock(call: Call, session_id: str) -> Row[Any] | None:
    """The row of one session, held until the end of the transaction."""
    return call.db.first(LOCK, **call.here, session=session_id)


def hold(call: Call, session_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The rows of several sessions, held until the end of the transaction."""
    return {row.session_id: row for row in call.db.all(LOCK_MANY, **call.here, some=sorted(set(session_ids)))}


def these(call: Call, session_id: str) -> dict[str, str]:
    """The parameters that name one session in the statements of this capability."""
    return {**call.here, "session": session_id}


def active_of_node(call: Call, node_id: str) -> Sequence[str]:
    """The ids of a node's sessions that have not ended."""
    return call.db.values(ACTIVE_OF_NODE, **call.here, node=node_id)
