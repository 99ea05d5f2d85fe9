"""Mailbox: references to messages waiting for a node, and how each is accepted, repeated, given up.

A row is a reference (kind, subject), rendered when it is sent. Its states:

    waiting --taken--> sent --acknowledged--> accepted --answered--> (gone)
       ^                 | no news: again after 3, 6, 12, 30 s; refused "busy": after a finished reply or 10 s
       +-----------------+

The control channel and the polling road take from the same rows, so a message goes out on whichever is there.
At most four commands of one node are sent or accepted at a time; what is urgent (cancels, sessions) passes the queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, IntEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    Row,
    String,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from fleetward.server import presence
from fleetward.server.call import Call, Sent, node_topic
from fleetward.server.schema import UtcDateTime, in_tenant, metadata, same_tenant, tenant

COMMANDS_AT_ONCE = 4
REPEAT_AFTER = (3, 6, 12, 30)
POLLED_AGAIN_AFTER = timedelta(seconds=10)
BUSY_AGAIN_AFTER = timedelta(seconds=10)
HOLD_AFTER_RECONNECT = timedelta(seconds=15)
AGENT_REMEMBERS = timedelta(minutes=25)
REPLIES_REMEMBERED = timedelta(hours=3)
OVERLOOKED_AFTER = timedelta(seconds=5)
WOKEN_AT_ONCE = 5000
BATCH = 1000
TAKEN_AT_ONCE = 250
"""Nodes whose messages one entry takes: what it renders makes it dearer than other batches."""
POLLING = -1
"""The epoch that the polling road sends under."""


class Lane(IntEnum):
    """What goes first when several messages wait for one node."""

    URGENT = 0
    COMMAND = 1
    ASSOCIATION = 2


class Form(Enum):
    """As what a message goes out; all but jobs go over the control channel alone, and once over each connection."""

    JOB = "agent_job"
    START_SESSION = "interactive_shell"
    CLOSE_SESSION = "channel_closed"


messages = Table(
    "mailbox_messages",
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("message_id", String(160), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("subject", String(256), nullable=False),
    Column("lane", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    Column("epoch", BigInteger, nullable=False, default=0),
    Column("first_sent_at", UtcDateTime),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_at", UtcDateTime),  # when it may be sent (again); null once accepted
    Column("expires_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("mailbox_messages_due", "due_at"),
    Index("mailbox_messages_expiry", "expires_at"),
)

seen_replies = Table(
    "mailbox_seen_replies",
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("message_id", String(40), primary_key=True),
    Column("seen_at", UtcDateTime, nullable=False),
    Index("mailbox_seen_replies_at", "seen_at"),
)

_MESSAGE = (
    *in_tenant(messages),
    messages.c.node_id == bindparam("node"),
    messages.c.message_id == bindparam("message"),
)
POST = insert(messages)
OF_NODES = (
    select(messages)
    .where(*in_tenant(messages), messages.c.node_id.in_(bindparam("nodes", expanding=True)))
    .order_by(messages.c.node_id, messages.c.lane, messages.c.created_at, messages.c.message_id)
)
WITH_MORE = (
    select(messages.c.node_id)
    .where(*in_tenant(messages), messages.c.node_id.in_(bindparam("nodes", expanding=True)))
    .distinct()
)
SENT = (
    update(messages)
    .where(*_MESSAGE)
    .values(
        state="sent",
        epoch=bindparam("to_epoch"),
        first_sent_at=bindparam("first"),
        attempts=bindparam("tries"),
        due_at=bindparam("due"),
    )
)
HOLD = update(messages).where(*_MESSAGE).values(due_at=bindparam("due"))
ACCEPT = update(messages).where(*_MESSAGE).values(state="accepted", due_at=None)
RETRY = update(messages).where(*_MESSAGE, messages.c.state == "sent").values(state="waiting", due_at=bindparam("due"))
REMOVE = delete(messages).where(*_MESSAGE)
REMOVE_NODE = delete(messages).where(*in_tenant(messages), messages.c.node_id == bindparam("node"))
SUBJECTS_OF_NODE = select(messages.c.kind, messages.c.subject, messages.c.message_id).where(
    *in_tenant(messages), messages.c.node_id == bindparam("node")
)
_IN_ORDER_OF_TIME = (messages.c.due_at, messages.c.account_id, messages.c.region, messages.c.node_id)
DUE_NODES = (
    select(*_IN_ORDER_OF_TIME)
    .where(
        tuple_(*_IN_ORDER_OF_TIME)
        > tuple_(*(bindparam(f"after_{column.name}", type_=column.type) for column in _IN_ORDER_OF_TIME)),
        messages.c.due_at <= bindparam("now"),
    )
    .distinct()
    .order_by(*_IN_ORDER_OF_TIME)
    .limit(WOKEN_AT_ONCE)
)
_WHOSE = (messages.c.account_id, messages.c.region, messages.c.node_id)
LEFT_WAITING = (
    select(*_WHOSE)
    .join(
        presence.connections,
        and_(
            *same_tenant(presence.connections, messages),
            presence.connections.c.node_id == messages.c.node_id,
        ),
    )
    .where(
        presence.connections.c.server_id == bindparam("server"),
        messages.c.due_at <= bindparam("before"),
        tuple_(*_WHOSE) > tuple_(*(bindparam(f"after_{column.name}", type_=column.type) for column in _WHOSE)),
    )
    .distinct()
    .order_by(*_WHOSE)
    .limit(WOKEN_AT_ONCE)
)
SEEN = select(seen_replies.c.node_id, seen_replies.c.message_id).where(
    *in_tenant(seen_replies),
    tuple_(seen_replies.c.node_id, seen_replies.c.message_id).in_(bindparam("replies", expanding=True)),
)
REMEMBER = insert(seen_replies)
_REPLY = tuple(seen_replies.primary_key)
FORGET_REPLIES = delete(seen_replies).where(
    tuple_(*_REPLY).in_(select(*_REPLY).where(seen_replies.c.seen_at < bindparam("before")).limit(BATCH))
)
_KEY = tuple(messages.primary_key)
EXPIRE = delete(messages).where(
    tuple_(*_KEY).in_(
        select(*_KEY)
        .where(
            messages.c.expires_at <= bindparam("now"),
            # others end with what they are about
            or_(messages.c.state != "accepted", messages.c.lane == int(Lane.URGENT)),
        )
        .limit(BATCH)
    )
)
RECALL = delete(messages).where(*_MESSAGE, messages.c.state != "accepted")
ACCEPTED = select(messages.c.node_id, messages.c.message_id).where(
    *in_tenant(messages), messages.c.node_id.in_(bindparam("nodes", expanding=True)), messages.c.state == "accepted"
)
STATE_OF = select(messages.c.state, messages.c.first_sent_at).where(*_MESSAGE)


@dataclass(frozen=True, slots=True)
class Message:
    """A reference to be posted: `message_id` is the job id on the wire, unique for the node."""

    node_id: str
    message_id: str
    kind: str
    subject: str
    expires_at: datetime
    lane: Lane = Lane.COMMAND


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A rendered message, ready for either road."""

    node_id: str
    message_id: str
    topic: str
    content: str
    created_at: datetime
    form: Form = Form.JOB


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a renderer makes of a subject: the wire's topic and content; None content: nothing to send any more."""

    topic: str
    content: str | None
    form: Form = Form.JOB


@dataclass(frozen=True, slots=True)
class Reply:
    """What a node reports about a job, by either road; `content` is JSON text as the agent wrote it."""

    node_id: str
    job_id: str
    message_id: str
    content: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Event: a message was sent, nobody knows whether it arrived, and it may not be sent again."""

    node_id: str
    kind: str
    subject: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Event: the node refuses the message for good; `code` and `text` are its words."""

    node_id: str
    kind: str
    subject: str
    message_id: str
    code: int
    text: str


Renderers = Callable[[str], Callable[[Call, Sequence[str]], dict[str, Rendered]]]


def post(call: Call, posted: Sequence[Message]) -> None:
    """Put references into mailboxes and wake their nodes."""
    call.db.run(
        POST,
        [
            {
                **call.tenant,
                "node_id": message.node_id,
                "message_id": message.message_id,
                "kind": message.kind,
                "subject": message.subject,
                "lane": int(message.lane),
                "state": "waiting",
                "epoch": 0,
                "first_sent_at": None,
                "attempts": 0,
                "due_at": call.now,
                "expires_at": message.expires_at,
                "created_at": call.now,
            }
            for message in posted
        ],
    )
    for message in posted:
        call.wake_node(message.node_id)


def recall(call: Call, pairs: Iterable[tuple[str, str]]) -> None:
    """Send messages `(node_id, message_id)` no more, unless their nodes have accepted them."""
    call.db.run(RECALL, [_key(call, node_id, message_id) for node_id, message_id in pairs])


def accepted(call: Call, node_ids: Iterable[str]) -> set[tuple[str, str]]:
    """What these nodes have accepted and not answered for good: `(node_id, message_id)`."""
    ids = sorted(set(node_ids))
    return {tuple(row) for row in call.db.all(ACCEPTED, **call.here, nodes=ids)}


def was_sent(call: Call, node_id: str, message_id: str) -> bool:
    """Whether the node may have got the message already."""
    row = call.db.first(STATE_OF, **call.here, node=node_id, message=message_id)
    return row is not None and row.first_sent_at is not None


def clear(call: Call, node_id: str) -> Sequence[Row[Any]]:
    """Remove everything waiting for a node that is leaving; returns what it was (kind, subject, message_id)."""
    rows = call.db.all(SUBJECTS_OF_NODE, **call.here, node=node_id)
    call.db.run(REMOVE_NODE, {**call.here, "node": node_id})
    return rows


def take(renderers: Renderers) -> Callable[[Call, Sequence[Sent]], list[list[Outgoing] | None]]:
    """The batch entry `(node_id, epoch)` -> what to send now on that connection, each marked as sent.

    None instead: the connection is no longer the node's newest (or the node is gone) and should be closed.
    """

    def entry(call: Call, members: Sequence[Sent]) -> list[list[Outgoing] | None]:
        nodes = list({member.request[0] for member in members})
        scope = {**call.here, "nodes": nodes}
        current = {row.node_id: row for row in call.db.all(presence.CURRENT, **scope)}
        asked: dict[str, int] = {}  # of several who ask for one node: the newest connection, else the polling road
        replaced: list[bool] = []
        for member in members:
            node_id, epoch = member.request
            replaced.append(epoch != POLLING and (node_id not in current or current[node_id].epoch != epoch))
            if not replaced[-1] and asked.get(node_id, POLLING) == POLLING:
                asked[node_id] = epoch
        chosen = _choose(call, asked, current)
        rendered = _render(call, renderers, chosen)
        outgoing: dict[str, list[Outgoing]] = defaultdict(list)
        sent, stale = [], []
        for row in chosen:
            message = rendered.get((row.kind, row.subject))
            if message is None or message.content is None:
                stale.append(_key(call, row.node_id, row.message_id))
                continue
            polling = asked[row.node_id] == POLLING
            if polling and message.form is not Form.JOB:
                continue
            sent.append(
                {
                    **_key(call, row.node_id, row.message_id),
                    "to_epoch": asked[row.node_id],
                    "first": row.first_sent_at or call.now,
                    "tries": row.attempts + 1,
                    "due": _again_at(call, row, polling),
                }
            )
            if message.form is Form.JOB or row.state != "sent" or row.epoch != asked[row.node_id]:
                outgoing[row.node_id].append(
                    Outgoing(row.node_id, row.message_id, message.topic, message.content, row.created_at, message.form)
                )
        call.db.run(SENT, sent)
        call.db.run(REMOVE, stale)
        return [
            None if gone else outgoing.pop(node_id, []) if asked[node_id] == epoch else []
            for gone, (node_id, epoch) in zip(replaced, (member.request for member in members), strict=True)
        ]

    return entry


def _again_at(call: Call, row: Row[Any], polling: bool) -> datetime:
    """When a message that goes out now is due again without any news of it."""
    wait = POLLED_AGAIN_AFTER if polling else timedelta(seconds=REPEAT_AFTER[min(row.attempts, 3)])
    return call.now + wait


def _choose(call: Call, asked: dict[str, int], current: dict[str, Row[Any]]) -> list[Row[Any]]:
    """The rows that may go out now, in order, at most four commands per node; others are held or given up."""
    scope = {**call.here, "nodes": list(asked)}
    chosen, held, given_up = [], [], []
    running: dict[str, int] = defaultdict(int)
    rows = call.db.all(OF_NODES, **scope)
    for row in rows:
        if row.lane != Lane.URGENT and row.state in ("sent", "accepted"):
            running[row.node_id] += 1
    for row in rows:
        connection = current.get(row.node_id)
        epoch = asked[row.node_id]
        if row.state == "accepted" or (epoch != POLLING and (connection is None or connection.epoch != epoch)):
            continue
        if row.expires_at <= call.now:
            continue
        if row.state == "sent" and epoch != POLLING and row.epoch not in (epoch, POLLING) and connection is not None:
            resume_at = connection.connected_at + HOLD_AFTER_RECONNECT
            if call.now < resume_at:
                if row.due_at is not None and row.due_at < resume_at:
                    held.append({**_key(call, row.node_id, row.message_id), "due": resume_at})
                continue
        if row.due_at is not None and row.due_at > call.now:
            continue
        if row.state == "sent" and not _may_repeat(call, row, connection):
            given_up.append(row)
            continue
        if row.state == "waiting":
            if row.expires_at <= call.now:
                continue
            if row.lane != Lane.URGENT and running[row.node_id] >= COMMANDS_AT_ONCE:
                continue
            if row.lane != Lane.URGENT:
                running[row.node_id] += 1
        chosen.append(row)
    call.db.run(HOLD, held)
    give_up(call, given_up)
    return chosen


def _may_repeat(call: Call, row: Row[Any], connection: Row[Any] | None) -> bool:
    ours = connection is not None and connection.agent_version.startswith("fleetward")
    return ours or row.first_sent_at is None or call.now - row.first_sent_at < AGENT_REMEMBERS


def give_up(call: Call, rows: Sequence[Row[Any]]) -> None:
    """Remove rows whose fate is unknown and tell their capabilities."""
    call.db.run(REMOVE, [_key(call, row.node_id, row.message_id) for row in rows])
    for row in rows:
        call.emit(GivenUp(row.node_id, row.kind, row.subject, row.message_id))


def _render(call: Call, renderers: Renderers, rows: Sequence[Row[Any]]) -> dict[tuple[str, str], Rendered]:
    subjects: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        subjects[row.kind][row.subject] = None
    return {
        (kind, subject): message
        for kind, of_kind in subjects.items()
        for subject, message in renderers(kind)(call, list(of_kind)).items()
    }


def acknowledge(call: Call, members: Sequence[Sent]) -> list[None]:
    """Batch entry: nodes accept or refuse, `(node_id, message_id, code, text)`; codes as in the agent's job ack."""
    accepted, busy = [], []
    for member in members:
        node_id, message_id, code, text = member.request
        if code in (200, 51405):
            accepted.append(_key(call, node_id, message_id))
        elif code in (51401, 51402):
            busy.append({**_key(call, node_id, message_id), "due": call.now + BUSY_AGAIN_AFTER})
        else:
            _refuse(call, node_id, message_id, code, text)
    call.db.run(ACCEPT, accepted)
    call.db.run(RETRY, busy)
    return [None] * len(members)


def _refuse(call: Call, node_id: str, message_id: str, code: int, text: str) -> None:
    rows = call.db.all(SUBJECTS_OF_NODE, **call.here, node=node_id)
    for row in rows:
        if row.message_id == message_id:
            call.db.run(REMOVE, _key(call, node_id, message_id))
            call.emit(Refused(node_id, row.kind, row.subject, message_id, code, text))


def accept(call: Call, pairs: Iterable[tuple[str, str]]) -> None:
    """Any reply to a message `(node_id, message_id)` proves that it arrived."""
    call.db.run(ACCEPT, [_key(call, node_id, message_id) for node_id, message_id in pairs])


def finish(call: Call, pairs: Sequence[tuple[str, str]]) -> None:
    """Messages `(node_id, message_id)` are answered: forget them and look for what waited behind."""
    call.db.run(REMOVE, [_key(call, node_id, message_id) for node_id, message_id in pairs])
    answered = list({node_id for node_id, _ in pairs})
    if answered:
        for node_id in call.db.values(WITH_MORE, **call.here, nodes=answered):
            call.wake_node(node_id)


def fresh(call: Call, replies: Sequence[tuple[str, str]]) -> list[bool]:
    """Which of the replies `(node_id, message_id)` have not been seen within three hours; they are now."""
    asked = list(set(replies))
    known = {tuple(row) for row in call.db.all(SEEN, **call.here, replies=asked)}
    answer, rows = [], []
    for reply in replies:
        answer.append(reply not in known)
        if reply not in known:
            known.add(reply)
            rows.append({**call.tenant, "node_id": reply[0], "message_id": reply[1], "seen_at": call.now})
    call.db.run(REMEMBER, rows)
    return answer


Place = tuple[datetime, str, str, str]
"""Where a look at what is due stopped: time, account, region, node."""


def due_nodes(call: Call, after: Place) -> tuple[list[str], Place | None]:
    """Entry: topics of up to 5,000 nodes with a message that became due behind `after`; where more are, or None."""
    named = {f"after_{column.name}": value for column, value in zip(_IN_ORDER_OF_TIME, after, strict=True)}
    rows = call.db.all(DUE_NODES, now=call.now, **named)
    topics = list(dict.fromkeys(node_topic(*row[1:]) for row in rows))
    return topics, (rows[-1][0], *rows[-1][1:]) if len(rows) == WOKEN_AT_ONCE else None


def left_waiting(call: Call, request: tuple[str, tuple[str, str, str]]) -> tuple[list[str], tuple[str, str, str]]:
    """Entry: topics of nodes connected to this server whose messages have been due for a while: a wake was lost.

    `(server_id, after)` -> up to 5,000 behind the node `after`, and where to go on: at the beginning, after the last.
    """
    server_id, after = request
    named = {f"after_{column.name}": value for column, value in zip(_WHOSE, after, strict=True)}
    rows = call.db.all(LEFT_WAITING, server=server_id, before=call.now - OVERLOOKED_AFTER, **named)
    following = tuple(rows[-1]) if len(rows) == WOKEN_AT_ONCE else ("", "", "")
    return [node_topic(*row) for row in rows], following


def expire(call: Call) -> bool:
    """Forget messages past their time, and replies seen more than three hours ago; True while there are more."""
    expired = call.db.run(EXPIRE, {"now": call.now})
    forgotten = call.db.run(FORGET_REPLIES, {"before": call.now - REPLIES_REMEMBERED})
    return expired == BATCH or forgotten == BATCH


def _key(call: Call, node_id: str, message_id: str) -> dict[str, str]:
    return {**call.here, "node": node_id, "message": message_id}
