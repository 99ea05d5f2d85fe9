"""Audit: who did what, kept in the transaction that did it; sealed afterwards into a hash chain.

Records are CloudTrail-shaped. A timer gives the records of each tenant their numbers and chains their hashes, so that
writers never queue for the end of the chain; a record that is changed or removed later breaks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from sqlalchemy import BigInteger, Column, Index, Row, String, Table, Text, bindparam, delete, insert, select, update

from fleetward.protocol.api.model import Shape
from fleetward.server.call import Call, Context
from fleetward.server.errors import AwsError
from fleetward.server.schema import UtcDateTime, in_tenant, metadata, tenant
from fleetward.server.service import Entry

SEAL_AT_ONCE = 1000
VALUE_LIMIT = 1024
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
SECRET_MEMBERS = frozenset({"AuthenticationCode1", "AuthenticationCode2", "TokenCode"})
"""Secrets that the models do not mark as such: codes of a second factor."""
CONTENTS = frozenset(("CiphertextType", "EventMessage"))
"""Shapes that carry what callers keep with us: no part of who did what, whether the model marks them or not."""

records = Table(
    "audit_records",
    metadata,
    *tenant(),
    Column("event_id", String(36), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("body", Text, nullable=False),
    Column("sequence", BigInteger),  # null until sealed
    Column("hash", String(64)),
    Index("audit_records_unsealed", "account_id", "region", "sequence"),
    Index("audit_records_at", "at"),
)

ADD = insert(records)
UNSEALED = (
    select(records)
    .where(*in_tenant(records), records.c.sequence.is_(None))
    .order_by(records.c.at, records.c.event_id)
    .limit(SEAL_AT_ONCE)
)
LAST = (
    select(records.c.sequence, records.c.hash)
    .where(*in_tenant(records), records.c.sequence.is_not(None))
    .order_by(records.c.sequence.desc())
    .limit(1)
)
SEAL = (
    update(records)
    .where(*in_tenant(records), records.c.event_id == bindparam("event"))
    .values(sequence=bindparam("number"), hash=bindparam("digest"))
)
TENANTS_UNSEALED = (
    select(records.c.account_id, records.c.region)
    .where(records.c.sequence.is_(None), records.c.at <= bindparam("now"))
    .distinct()
)
FORGET = delete(records).where(records.c.at < bindparam("before"))
CHAIN = (
    select(records)
    .where(*in_tenant(records), records.c.sequence > bindparam("after"))
    .order_by(records.c.sequence)
    .limit(bindparam("most"))
)


def record(call: Call, entry: Entry, request: Any, error: AwsError | None) -> None:
    """Keep one record of what `call`'s caller did or was refused."""
    call.db.run(ADD, _row(call, entry, request, error))


class Seen(NamedTuple):
    """A read or a denial, to be recorded after the answer: under its own context, at its own time."""

    context: Context
    at: datetime
    entry: Entry
    request: Any
    """Without secrets: see `redact`."""
    error: AwsError | None = None


def record_seen(call: Call, seen: Sequence[Seen]) -> None:
    """Entry: keep the records of reads and denials that were gathered."""
    rows = []
    for each in seen:
        own = Call(each.context, now=each.at, db=call.db, settings=call.settings, keys=call.keys)
        rows.append(_row(own, each.entry, each.request, each.error))
    call.db.run(ADD, rows)


def seal(call: Call) -> bool:
    """Number and chain the tenant's newest records; whether there may be more."""
    last = call.db.first(LAST, **call.here)
    sequence, digest = (last.sequence, last.hash) if last is not None else (0, "")
    rows = []
    for row in call.db.all(UNSEALED, **call.here):
        sequence += 1
        digest = chained(digest, sequence, row.body)
        rows.append(
            {
                **call.here,
                "event": row.event_id,
                "number": sequence,
                "digest": digest,
            }
        )
    call.db.run(SEAL, rows)
    return len(rows) == SEAL_AT_ONCE


def chained(before: str, sequence: int, body: str) -> str:
    """The hash of a record behind the one whose hash is `before`."""
    return hashlib.sha256(f"{before}\n{sequence}\n{body}".encode()).hexdigest()


def after(call: Call, sequence: int, most: int) -> Sequence[Row[Any]]:
    """The tenant's sealed records with higher numbers, in order."""
    return call.db.all(CHAIN, **call.here, after=sequence, most=most)


def first_break(rows: Iterable[Row[Any]]) -> int | None:
    """The first sequence number whose record is not what was sealed, in rows of CHAIN; None when all are.

    The first row's hash is taken as it stands unless it is number 1: records before it were forgotten.
    """
    before, expected = "", 1
    for number, row in enumerate(rows):
        if number == 0 and row.sequence != 1:
            before, expected = row.hash, row.sequence + 1
            continue
        if row.sequence != expected or row.hash != chained(before, row.sequence, row.body):
            return expected
        before, expected = row.hash, expected + 1
    return None


def forget(call: Call) -> None:
    """Remove records older than `keep_audit`."""
    call.db.run(FORGET, {"before": call.now - timedelta(days=call.settings.keep_audit)})


def redact(shape: Shape | None, value: Any) -> Any:
    """A request without what the model marks as sensitive, cut to a bounded size."""
    if shape is None or value is None:
        return None
    if shape.sensitive or shape.name in CONTENTS:
        return HIDDEN
    if shape.kind == "structure" and isinstance(value, Mapping):
        return {
            name: HIDDEN if name in SECRET_MEMBERS else redact(shape.members[name].shape, member)
            for name, member in value.items()
            if name in shape.members
        }
    if shape.kind == "list" and isinstance(value, Sequence) and shape.element is not None:
        return [redact(shape.element.shape, each) for each in value[:100]]
    if shape.kind == "map" and isinstance(value, Mapping) and shape.value is not None:
        return {str(key)[:VALUE_LIMIT]: redact(shape.value.shape, each) for key, each in list(value.items())[:100]}
    if isinstance(value, str):
        return value[:VALUE_LIMIT]
    return value if isinstance(value, (int, float, bool)) else str(value)[:VALUE_LIMIT]


def _row(call: Call, entry: Entry, request: Any, error: AwsError | None) -> dict[str, Any]:
    service, _, operation = entry.name.partition(":")
    event_id = call.new_id()
    caller = call.caller
    body = {
        "eventVersion": "1.09",
        "eventID": event_id,
        "eventTime": call.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": f"{service}.amazonaws.com",
        "eventName": operation,
        "awsRegion": call.region,
        "recipientAccountId": call.account,
        "readOnly": entry.reads,
        "requestID": call.context.request_id,
        "sourceIPAddress": call.context.source_ip,
        "userAgent": call.context.user_agent[:256],
        "userIdentity": {
            "type": caller.kind,
            "arn": caller.arn,
            "accountId": caller.account,
            "accessKeyId": caller.access_key_id,
        },
        "requestParameters": request,
    }
    if error is not None:
        body |= {"errorCode": error.code, "errorMessage": error.message[:VALUE_LIMIT]}
    text = orjson.dumps(body, default=str).decode()
    return {**call.tenant, "event_id": event_id, "at": call.now, "body": text, "sequence": None, "hash": None}
