"""Lifecycle: rules by which objects expire, older versions go and unfinished uploads are aborted. Carried out by a job.

Transitions between storage classes are kept and told; here they change nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import Row, bindparam, literal, select, tuple_

from fleetward.server import jobs
from fleetward.server.call import Call
from fleetward.server.jobs import DONE, Job, Next
from fleetward.server.s3 import multipart, objects, s3
from fleetward.server.s3.access import FIND, Bucket, find
from fleetward.server.s3.errors import InvalidArgument, InvalidRequest, MalformedXML
from fleetward.server.s3.listing import LOWEST
from fleetward.server.s3.table import buckets, uploads
from fleetward.server.s3.table import objects as table

MOST_RULES = 1000
ROWS_AT_ONCE = 150
EVERY = timedelta(hours=6)
ACTIONS = (
    "Expiration",
    "NoncurrentVersionExpiration",
    "AbortIncompleteMultipartUpload",
    "Transitions",
    "NoncurrentVersionTransitions",
)

TENANTS = (
    select(buckets.c.account_id, buckets.c.region)
    .where(buckets.c.has_lifecycle == literal(True), buckets.c.created_at <= bindparam("now"))
    .distinct()
)
WITH_RULES = select(buckets.c.name).where(
    buckets.c.account_id == bindparam("account"),
    buckets.c.region == bindparam("in_region"),
    buckets.c.has_lifecycle == literal(True),
)
ROWS = (
    select(table)
    .where(
        table.c.account_id == bindparam("account"),
        table.c.region == bindparam("in_region"),
        table.c.bucket == bindparam("of_bucket"),
        tuple_(table.c.key, table.c.ordinal) > tuple_(bindparam("after_key"), bindparam("after_ordinal")),
    )
    .order_by(table.c.key, table.c.ordinal)
    .limit(bindparam("most"))
)
UPLOADS = (
    select(uploads)
    .where(
        uploads.c.account_id == bindparam("account"),
        uploads.c.region == bindparam("in_region"),
        uploads.c.bucket == bindparam("of_bucket"),
        uploads.c.upload_id > bindparam("after"),
        uploads.c.result.is_(None),
    )
    .order_by(uploads.c.upload_id)
    .limit(bindparam("most"))
)


class Action(Enum):
    """What a rule asks for."""

    EXPIRE = "expire"
    """As DeleteObject without a version would: a delete marker where versions are kept."""
    REMOVE = "remove"
    """The version goes for good."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules look at in one version of an object.

    `superseded_at`: since when it is not current; None for the current one. `newer`: how many older-than-current
    versions are newer than it. `alone`: it is the key's only version.
    """

    key: str
    size_bytes: int
    tags: Mapping[str, str]
    is_marker: bool
    modified_at: datetime
    superseded_at: datetime | None
    newer: int = 0
    alone: bool = False


def check(rules: Sequence[dict[str, Any]], new_id: Callable[[], str]) -> None:
    """Raise for rules that a bucket cannot have; those without an id get one."""
    if not 1 <= len(rules) <= MOST_RULES:
        raise MalformedXML(f"There are 1 to {MOST_RULES} rules")
    for rule in rules:
        rule.setdefault("ID", new_id())
        if len(rule["ID"]) > 255:
            raise InvalidArgument("ID length should not exceed allowed limit of 255", ArgumentName="ID")
        if rule.get("Status") not in ("Enabled", "Disabled"):
            raise MalformedXML("Status must be Enabled or Disabled")
        if not any(name in rule for name in ACTIONS):
            raise InvalidRequest("At least one action needs to be specified in a rule")
        if ("Prefix" in rule) == ("Filter" in rule):
            raise MalformedXML("A rule has either a Filter or a Prefix")
        if len(rule.get("Filter") or {}) > 1:
            raise MalformedXML("A Filter has one condition; And joins several")
        _check_expiration(rule.get("Expiration"))
        _check_days(rule.get("NoncurrentVersionExpiration"), "NoncurrentDays")
        _check_days(rule.get("AbortIncompleteMultipartUpload"), "DaysAfterInitiation")
    if len({rule["ID"] for rule in rules}) != len(rules):
        raise InvalidArgument("Rule ID must be unique. Found same ID for more than one rule", ArgumentName="ID")


def _check_expiration(expiration: Mapping[str, Any] | None) -> None:
    if expiration is None:
        return
    if len(set(expiration) & {"Days", "Date", "ExpiredObjectDeleteMarker"}) != 1:
        raise MalformedXML("Expiration has one of Days, Date and ExpiredObjectDeleteMarker")
    _check_days(expiration, "Days")
    date = expiration.get("Date")
    if date is not None and date.astimezone(UTC).time() != time():
        raise InvalidArgument("'Date' must be at midnight GMT", ArgumentName="Date", ArgumentValue=date.isoformat())


def _check_days(part: Mapping[str, Any] | None, name: str) -> None:
    if part is not None and name in part and part[name] <= 0:
        raise InvalidArgument(
            f"'{name}' for the action must be a positive integer", ArgumentName=name, ArgumentValue=str(part[name])
        )


def action_for(rules: Sequence[Mapping[str, Any]], facts: Facts, now: datetime) -> Action | None:
    """What the rules ask for, of one version, now."""
    asked = [_asked(rule, facts, now) for rule in rules if rule["Status"] == "Enabled" and _matches(rule, facts)]
    return Action.REMOVE if Action.REMOVE in asked else Action.EXPIRE if Action.EXPIRE in asked else None


def _asked(rule: Mapping[str, Any], facts: Facts, now: datetime) -> Action | None:
    if facts.superseded_at is not None:
        older = rule.get("NoncurrentVersionExpiration")
        if older is None or facts.newer < older.get("NewerNoncurrentVersions", 0):
            return None
        return Action.REMOVE if now >= due(facts.superseded_at, older.get("NoncurrentDays", 0)) else None
    expiration = rule.get("Expiration")
    if expiration is None:
        return None
    if facts.is_marker:
        days = expiration.get("Days")
        lapsed = bool(expiration.get("ExpiredObjectDeleteMarker")) or (
            days is not None and now >= due(facts.modified_at, days)
        )
        return Action.REMOVE if facts.alone and lapsed else None
    if "Days" in expiration:
        return Action.EXPIRE if now >= due(facts.modified_at, expiration["Days"]) else None
    if "Date" in expiration:
        return Action.EXPIRE if now >= datetime.fromisoformat(str(expiration["Date"])) else None
    return None


def due(since: datetime, days: int) -> datetime:
    """The midnight (UTC) that follows so many days after (S3 user guide, "Lifecycle configuration elements")."""
    after = since.astimezone(UTC) + timedelta(days=days)
    midnight = after.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if midnight == after else midnight + timedelta(days=1)


def _matches(rule: Mapping[str, Any], facts: Facts) -> bool:
    chosen = rule.get("Filter") or {}
    chosen = {**chosen, **chosen.get("And", {})}
    if not facts.key.startswith(chosen.get("Prefix", rule.get("Prefix", ""))):
        return False
    tags = [*chosen.get("Tags", ()), *([chosen["Tag"]] if "Tag" in chosen else ())]
    if any(facts.tags.get(each["Key"]) != each["Value"] for each in tags):
        return False
    if facts.size_bytes <= chosen.get("ObjectSizeGreaterThan", -1):
        return False
    return "ObjectSizeLessThan" not in chosen or facts.size_bytes < chosen["ObjectSizeLessThan"]


@s3.timer(every=EVERY, due=TENANTS)
def look(call: Call) -> None:
    """Start a walk through each bucket that has rules."""
    for name in call.db.values(WITH_RULES, account=call.account, in_region=call.region):
        jobs.start(call, "s3-lifecycle", name, {"key": "", "ordinal": LOWEST})


@s3.job("s3-lifecycle")
def walk(call: Call, job: Job) -> Next:
    """Some hundred versions at a time; then the uploads."""
    if call.db.first(FIND, bucket_name=job.key) is None:
        return DONE
    bucket = find(call, job.key)
    rules = bucket.settings.get("lifecycle", {}).get("Rules", [])
    if not rules:
        return DONE
    if job.step == "uploads":
        return _walk_uploads(call, bucket, rules, job)
    state = job.state
    rows = call.db.all(
        ROWS, **bucket.where, after_key=base64.b64decode(state["key"]), after_ordinal=state["ordinal"],
        most=ROWS_AT_ONCE + 1,
    )  # fmt: skip
    newest_at = state.get("newest_at")
    before = (base64.b64decode(state["key"]), newest_at and datetime.fromisoformat(newest_at), state.get("newer", 0))
    for index, row in enumerate(rows[:ROWS_AT_ONCE]):
        following = rows[index + 1] if index + 1 < len(rows) else None
        before = _apply(call, bucket, rules, row, before, following)
    if len(rows) <= ROWS_AT_ONCE:
        return Next("uploads", {"after": ""})
    last = rows[ROWS_AT_ONCE - 1]
    key, superseded_at, newer = before
    return Next(
        "objects",
        {
            "key": base64.b64encode(key).decode(),
            "ordinal": last.ordinal,
            "newest_at": superseded_at.isoformat() if superseded_at else None,
            "newer": newer,
        },
    )


Before = tuple[bytes, datetime | None, int]
"""The version walked over last: its key, when it was written, and how many of its key's were not current."""


def _apply(
    call: Call, bucket: Bucket, rules: Sequence[Mapping[str, Any]], row: Row[Any], before: Before,
    following: Row[Any] | None,
) -> Before:  # fmt: skip
    key = bytes(row.key)
    same = before[0] == key
    newer = before[2] if same else 0
    facts = Facts(
        key=key.decode("utf-8", "replace"),
        size_bytes=row.size_bytes,
        tags=row.tags,
        is_marker=row.is_marker,
        modified_at=row.modified_at,
        superseded_at=None if row.is_latest else before[1] if same else row.modified_at,
        newer=newer,
        alone=row.is_latest and (following is None or bytes(following.key) != key),
    )
    action = action_for(rules, facts, call.now)
    if action is Action.REMOVE:
        objects.remove(call, bucket, row)
    elif action is Action.EXPIRE:
        objects.mark_deleted(call, bucket, facts.key, row)
    return key, row.modified_at, newer if row.is_latest else newer + 1


def _walk_uploads(call: Call, bucket: Bucket, rules: Sequence[Mapping[str, Any]], job: Job) -> Next:
    rows = call.db.all(UPLOADS, **bucket.where, after=job.state["after"], most=ROWS_AT_ONCE)
    for row in rows:
        facts = Facts(bytes(row.key).decode("utf-8", "replace"), 0, {}, False, row.begun_at, None)
        for rule in rules:
            abort = rule.get("AbortIncompleteMultipartUpload")
            if abort is None or rule["Status"] != "Enabled" or not _matches(rule, facts):
                continue
            if call.now >= due(row.begun_at, abort.get("DaysAfterInitiation", 0)):
                multipart.end(call, row)
                break
    return Next("uploads", {"after": rows[-1].upload_id}) if len(rows) == ROWS_AT_ONCE else DONE
