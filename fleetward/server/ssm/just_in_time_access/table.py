"""The rows of access requests and of the answers to them, and what state a request is in."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    update,
)

from fleetward.server.call import Call, Resource
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, tenant
from fleetward.server.ssm.errors import ResourceNotFoundException


class Status(StrEnum):
    """States of a request, in AWS's words."""

    PENDING = "Pending"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    REVOKED = "Revoked"
    EXPIRED = "Expired"


OPEN = (Status.PENDING, Status.APPROVED)
"""States that time ends."""

requests = Table(
    "just_in_time_access_requests",
    metadata,
    *tenant(),
    Column("access_request_id", String(15), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("reason", String(256), nullable=False),
    Column("node_ids", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # who asks
    Column("requester_arn", Text, nullable=False),
    Column("requester_id", String(256), nullable=False),  # aws:userid
    Column("person", Text, nullable=False),  # sts.issue.origin
    # what the policy says; a change of it does not touch requests that were made
    Column("policy_name", String(128), nullable=False),
    Column("policy_version", String(16), nullable=False),
    Column("levels", Json, nullable=False),  # [{"minimum", "approvers": [{"type", "name", "id"}]}]; empty: by itself
    Column("access_seconds", Integer, nullable=False),
    Column("end_sessions", Boolean, nullable=False),
    # how it goes
    Column("level", Integer, nullable=False),  # levels that have approved
    Column("due_at", UtcDateTime),  # when it expires; null once it has ended
    Column("access_until", UtcDateTime),  # null: never approved
    Column("ended_at", UtcDateTime),
    Column("ended_by", Text, nullable=False),  # ARN; empty: by time
    Column("comment", String(1024), nullable=False),
    Index("just_in_time_access_requests_newest", "account_id", "region", "created_at", "access_request_id"),
    Index("just_in_time_access_requests_due", "due_at"),
    Index("just_in_time_access_requests_person", "account_id", "region", "person", "status"),
    Index("just_in_time_access_requests_created", "created_at"),
)

answers = Table(
    "just_in_time_access_answers",
    metadata,
    *tenant(),
    Column("access_request_id", String(15), primary_key=True),
    Column("person", String(512), primary_key=True),  # one answer each
    Column("arn", Text, nullable=False),
    Column("level", Integer, nullable=False),
    Column("answer", String(8), nullable=False),  # Approve, Reject
    Column("comment", String(1024), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

THIS = (*in_tenant(requests), requests.c.access_request_id == bindparam("access_request"))
ADD = insert(requests)
FIND = select(requests).where(*THIS)
LOCK = FIND.with_for_update()
PENDING_OF_PERSON = select(requests.c.access_request_id).where(
    *in_tenant(requests), requests.c.person == bindparam("of_person"), requests.c.status == Status.PENDING
)
MOVE = (
    update(requests)
    .where(*THIS)
    .values(
        status=bindparam("to_status"),
        level=bindparam("to_level"),
        due_at=bindparam("due"),
        access_until=bindparam("until"),
        ended_at=bindparam("ended"),
        ended_by=bindparam("by"),
        comment=bindparam("saying"),
    )
)
ADD_ANSWER = insert(answers)
ANSWERS = (
    select(answers)
    .where(*in_tenant(answers), answers.c.access_request_id.in_(bindparam("of_requests", expanding=True)))
    .order_by(answers.c.at, answers.c.person)
)
KEY = (requests.c.account_id, requests.c.region, requests.c.access_request_id)
_OF_GONE = tuple_(answers.c.account_id, answers.c.region, answers.c.access_request_id)
FORGET_ANSWERS = delete(answers).where(_OF_GONE.in_(bindparam("gone", expanding=True)))
FORGET = delete(requests).where(tuple_(*KEY).in_(bindparam("gone", expanding=True)))


def arn(call: Call, access_request_id: str) -> str:
    """The ARN of a request: an item of operational work, as AWS has it."""
    return call.arn(f"opsitem/{access_request_id}")


def resource(call: Call, access_request_id: str) -> Resource:
    """A request as what IAM decides on, with its tags."""
    row = find(call, access_request_id)
    return Resource(arn(call, access_request_id), None if row is None else row.tags)


def find(call: Call, access_request_id: str) -> Row[Any] | None:
    """The row of a request."""
    return call.db.first(FIND, **call.here, access_request=access_request_id)


def hold(call: Call, access_request_id: str) -> Row[Any]:
    """The row of a request until the end of the transaction; raises ResourceNotFoundException."""
    row = call.db.first(LOCK, **call.here, access_request=access_request_id)
    if row is None:
        raise unknown(access_request_id)
    return row


def unknown(access_request_id: str) -> ResourceNotFoundException:
    """The error for ids of no request."""
    return ResourceNotFoundException(f"There is no access request {access_request_id}.")


def status(row: Row[Any], now: datetime) -> Status:
    """The state of a request at a time, whether or not its end by time was written down yet."""
    written = Status(row.status)
    return Status.EXPIRED if written in OPEN and row.due_at is not None and row.due_at <= now else written


def move(call: Call, row: Row[Any], to: Status, **changes: Any) -> None:
    """Bring a request into another state; what is not among `changes` stays."""
    kept = {
        "to_level": row.level,
        "due": None,
        "until": row.access_until,
        "ended": call.now if to not in OPEN else None,
        "by": row.ended_by,
        "saying": row.comment,
    }
    call.db.run(MOVE, {**call.here, "access_request": row.access_request_id, "to_status": to.value, **kept, **changes})
