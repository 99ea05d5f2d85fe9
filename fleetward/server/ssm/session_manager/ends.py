"""Ends: the two websockets of a session as the store knows them: their tokens, who holds them, their traffic."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import orjson
from sqlalchemy import Row, Update, bindparam, update

from fleetward.protocol.status import SessionStatus, session_advances
from fleetward.server import mailbox, presence
from fleetward.server.call import Call, Resource, Sent
from fleetward.server.errors import AccessDeniedException
from fleetward.server.keys import KeyFault, KeyRing, token_hash
from fleetward.server.ssm.errors import ResourceNotFoundException
from fleetward.server.ssm.session_manager import limits, table
from fleetward.server.ssm.session_manager.ending import end as end_session
from fleetward.server.ssm.session_manager.table import Key, key_of, sessions
from fleetward.server.ssmmessages import ssmmessages

NONCE_BYTES = 16
TERMINATED = "Session is already terminated"
"""What an official agent looks for in the refusal, to stop trying (AP 11.3)."""
WITH_SCREEN = frozenset({"Standard_Stream", "InteractiveCommands"})
"""Types of session that have a screen, which is recorded unless it is encrypted from end to end."""

GIVE_NODE_TOKEN = update(sessions).where(*table.THIS).values(node_token=bindparam("token"))
NODE_LEAVES = (
    update(sessions)
    .where(*table.THIS, sessions.c.node_epoch == bindparam("of_epoch"), sessions.c.ended_at.is_(None))
    .values(node_left_at=bindparam("now"), due_at=bindparam("now"))
)
CLIENT_LEAVES = (
    update(sessions)
    .where(*table.THIS, sessions.c.client_epoch == bindparam("of_epoch"))
    .values(client_left_at=bindparam("now"), status=bindparam("to_status"), due_at=bindparam("now"))
)
COUNT = (
    update(sessions)
    .where(*table.THIS)
    .values(
        active_at=bindparam("active"),
        bytes_in=sessions.c.bytes_in + bindparam("more_in"),
        bytes_out=sessions.c.bytes_out + bindparam("more_out"),
    )
)


class End(Enum):
    """Which end of a session."""

    NODE = "node"
    CLIENT = "client"

    @property
    def other(self) -> End:
        """The one at the other end."""
        return End.CLIENT if self is End.NODE else End.NODE


def _joins(which: End) -> Update:
    """The statement by which an end joins."""
    end = which.value
    return (
        update(sessions)
        .where(*table.THIS)
        .values(
            {
                f"{end}_token": None,
                f"{end}_server": bindparam("server"),
                f"{end}_epoch": sessions.c[f"{end}_epoch"] + 1,
                f"{end}_left_at": None,
                "status": bindparam("to_status"),
                "due_at": bindparam("at"),
            }
        )
    )


JOINS = {which: _joins(which) for which in End}


@dataclass(frozen=True, slots=True)
class Joined:
    """What the edge has to know of a session whose end it holds. `ended`: it is over, and what its client is told."""

    key: Key
    node_id: str
    epoch: int
    owner: str | None
    """The server that holds the node's end; None: nobody yet."""
    recorded: bool
    title: str
    started_at: datetime
    node_epoch: int
    repeats_well: bool
    """Whether the node's agent repeats all that is lost: ours does, official ones need help with it."""
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through a session since the last count."""

    key: Key
    bytes_in: int
    bytes_out: int
    active_at: datetime


def new_client_token(keys: KeyRing, key: Key) -> str:
    """A token that opens a session's client end once: it carries its tenant, since that end signs nothing."""
    body = orjson.dumps([key.account, key.region, secrets.token_hex(NONCE_BYTES)])
    return base64.urlsafe_b64encode(keys.seal(body, f"session-client/{key.session_id}")).decode()


def tenant_of(keys: KeyRing, token: str, session_id: str) -> Key | None:
    """The session that a client's token was made for; None when it was not made for this one."""
    try:
        sealed = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        account, region, _ = orjson.loads(keys.open(sealed, f"session-client/{session_id}"))
    except (KeyFault, ValueError):
        return None
    return Key(account, region, session_id)


def _itself(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """A node's end is the node itself, as its keys allow no more; whether the session is its own is looked at after."""
    return (Resource(call.arn(f"managed-instance/{call.caller.node_id}")),)


@ssmmessages.operation("CreateDataChannel", resources=_itself, audience="node")
def create_data_channel(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A token that opens the node's end of one of its sessions, once."""
    row = _of_node(call, request["SessionId"])
    token = secrets.token_urlsafe(32)
    call.db.run(GIVE_NODE_TOKEN, {**table.these(call, row.session_id), "token": token_hash(token)})
    mailbox.finish(call, [(row.node_id, row.session_id)])
    return {"TokenValue": token, "MessageSchemaVersion": request.get("MessageSchemaVersion", "1.0")}


@ssmmessages.operation("OpenDataChannel", resources=_itself, audience="node", reads=True)
def open_data_channel(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Whether the node may open its end; the edge asks before it answers the upgrade."""
    _checked(call, request["SessionId"], table.find(call, request["SessionId"]))
    return {}


def _of_node(call: Call, session_id: str) -> Row[Any]:
    """The calling node's session, held until the end of the transaction."""
    return _checked(call, session_id, table.lock(call, session_id))


def _checked(call: Call, session_id: str, row: Row[Any] | None) -> Row[Any]:
    """The row, if it is of a running session of the calling node; another node is not told whether there is one."""
    if row is None or row.node_id != call.caller.node_id:
        raise AccessDeniedException(f"{call.caller.node_id} has no session {session_id}.")
    if row.ended_at is not None:
        raise ResourceNotFoundException(f"{TERMINATED}: {session_id}")
    return row


def node_joins(call: Call, request: tuple[str, str, str]) -> Joined:
    """Entry: a node opens its end `(session_id, token, server_id)`. AccessDeniedException unless the token is good."""
    session_id, token, server_id = request
    row = _of_node(call, session_id)
    if row.node_token is None or not secrets.compare_digest(row.node_token, token_hash(token)):
        raise AccessDeniedException("The token was used, or is not one of this session.")
    call.db.run(JOINS[End.NODE], _joining(call, row, server_id, "node_left_at", row.client_left_at is None))
    call.wake(key_of(row).topic)
    return _joined(call, row, row.node_epoch + 1, server_id)


def client_joins(call: Call, request: tuple[str, str, str]) -> Joined:
    """Entry: a client opens its end `(session_id, token, server_id)`, also of a session that is over, to hear why."""
    session_id, token, server_id = request
    row = table.lock(call, session_id)
    good = row is not None and row.client_token is not None
    if row is None or not good or not secrets.compare_digest(row.client_token, token_hash(token)):
        raise AccessDeniedException("The token was used, or is not one of this session.")
    if row.ended_at is not None:
        return _joined(call, row, row.client_epoch, row.node_server, ended=row.details)
    call.db.run(JOINS[End.CLIENT], _joining(call, row, server_id, "client_left_at", row.node_left_at is None))
    call.wake(key_of(row).topic)
    return _joined(call, row, row.client_epoch + 1, row.node_server if row.node_left_at is None else None)


def client_is_brought(call: Call, request: tuple[str, int, str, str]) -> Joined:
    """Entry: another server brings an end that it holds: `(session_id, client's epoch, its id, this server's)`.

    AccessDeniedException unless the client's end is there and the node's here, as the store has it.
    """
    session_id, epoch, there, here = request
    row = table.find(call, session_id)
    client = None if row is None else (row.client_server, row.client_epoch, row.client_left_at)
    if row is None or row.ended_at is not None or client != (there, epoch, None):
        raise AccessDeniedException(f"The client's end of {session_id} is not at that server.")
    if row.node_server != here or row.node_left_at is not None:
        raise AccessDeniedException(f"The node's end of {session_id} is not at this server.")
    return _joined(call, row, epoch, here)


def node_leaves(call: Call, request: tuple[str, int]) -> None:
    """Entry: the connection `(session_id, epoch)` of a node is gone; a newer one is not touched."""
    session_id, epoch = request
    call.db.run(NODE_LEAVES, {**table.these(call, session_id), "of_epoch": epoch, "now": call.now})


def node_ended(call: Call, session_id: str) -> None:
    """Entry: a node said that a session ends there, left, and its word of how it ended did not come."""
    row = table.lock(call, session_id)
    if row is not None and row.node_left_at is not None:
        end_session(call, row, SessionStatus.TERMINATED, "", node_knows=True)


def client_leaves(call: Call, request: tuple[str, int]) -> None:
    """Entry: the connection `(session_id, epoch)` of a client is gone; a newer one is not touched."""
    session_id, epoch = request
    row = table.lock(call, session_id)
    if row is not None and row.ended_at is None:
        status = _after(row, SessionStatus.DISCONNECTED)
        call.db.run(
            CLIENT_LEAVES,
            {**table.these(call, session_id), "of_epoch": epoch, "now": call.now, "to_status": status},
        )


def look(call: Call, session_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Entry: the rows of sessions of one tenant, by id."""
    return {row.session_id: row for row in call.db.all(table.STANDING, **call.here, some=list(session_ids))}


def count(call: Call, counted: Sequence[Sent]) -> list[None]:
    """Batch entry: what went through sessions (`Traffic`) since it was last counted."""
    rows = [
        {
            **table.these(call, traffic.key.session_id),
            "active": traffic.active_at,
            "more_in": traffic.bytes_in,
            "more_out": traffic.bytes_out,
        }
        for traffic in (sent.request for sent in counted)
    ]
    call.db.run(COUNT, rows)
    return [None] * len(counted)


def _joining(call: Call, row: Row[Any], server_id: str, end: str, both: bool) -> dict[str, Any]:
    """The parameters of the statement by which an end joins; `both`: the other one is there already."""
    status = _after(row, SessionStatus.CONNECTED) if both else SessionStatus(row.status)
    after = _Standing(row, end)
    return {
        **table.these(call, row.session_id),
        "server": server_id,
        "to_status": status,
        "at": limits.due_at(call, after),
    }


class _Standing:
    """A row as it will stand once one end has joined."""

    def __init__(self, row: Row[Any], joined: str) -> None:
        self._row = row
        self._joined = joined

    def __getattr__(self, name: str) -> Any:
        return None if name == self._joined else getattr(self._row, name)


def _after(row: Row[Any], status: SessionStatus) -> SessionStatus:
    current = SessionStatus(row.status)
    return status if session_advances(current, status) else current


def _joined(call: Call, row: Row[Any], epoch: int, owner: str | None, ended: str | None = None) -> Joined:
    return Joined(
        key=key_of(row),
        node_id=row.node_id,
        epoch=epoch,
        owner=owner,
        recorded=row.recorded,
        title=f"{row.owner_arn} on {row.node_id}",
        started_at=row.started_at,
        node_epoch=row.node_epoch,
        repeats_well=presence.agent_version(call, row.node_id).startswith("fleetward"),
        ended=ended,
    )
