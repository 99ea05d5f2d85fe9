"""Policies of advanced parameters: an end by date, word before it, and word when nothing has changed for long."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from fleetward.server import audit
from fleetward.server.call import Call
from fleetward.server.schema import EPOCH, in_tenant
from fleetward.server.service import Entry
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import (
    IncompatiblePolicyException,
    InvalidPolicyAttributeException,
    InvalidPolicyTypeException,
    PoliciesLimitExceededException,
)
from fleetward.server.ssm.parameter_store.table import THIS, key, parameters, remove

MOST = 10
AT_ONCE = 100
PENDING, FINISHED = "Pending", "Finished"
EXPIRATION, NOTICE, NO_CHANGE = "Expiration", "ExpirationNotification", "NoChangeNotification"
_AMOUNT = {NOTICE: "Before", NO_CHANGE: "After"}
_UNITS = {"Days": timedelta(days=1), "Hours": timedelta(hours=1)}

DUE_TENANTS = (
    select(parameters.c.account_id, parameters.c.region).where(parameters.c.due_at <= bindparam("now")).distinct()
)
DUE = (
    select(parameters)
    .where(*in_tenant(parameters), parameters.c.due_at <= bindparam("now"))
    .order_by(parameters.c.due_at)
    .limit(AT_ONCE)
    .with_for_update()
)
SETTLE = (
    update(parameters)
    .where(*THIS)
    .values(policies=bindparam("done", type_=parameters.c.policies.type), due_at=bindparam("due"))
)


def read(text: str) -> list[dict[str, str]]:
    """The policies in a request's text, checked, none of them done; `{}` and `[]` are none."""
    try:
        given = json.loads(text)
    except ValueError:
        raise InvalidPolicyAttributeException("Policies must be a JSON list of policies.") from None
    listed = [given] if isinstance(given, dict) and given else given or []
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise InvalidPolicyAttributeException("Policies must be a JSON list of policies.")
    if len(listed) > MOST:
        raise PoliciesLimitExceededException(f"A parameter can have {MOST} policies at most.")
    kinds = [_kind(each) for each in listed]
    if kinds.count(EXPIRATION) > 1:
        raise IncompatiblePolicyException("A parameter can have one Expiration policy.")
    if NOTICE in kinds and EXPIRATION not in kinds:
        raise IncompatiblePolicyException("ExpirationNotification needs an Expiration policy.")
    return [
        {"PolicyText": json.dumps(each), "PolicyType": kind, "PolicyStatus": PENDING}
        for each, kind in zip(listed, kinds, strict=True)
    ]


def times(policies: Sequence[Mapping[str, str]], changed_at: datetime) -> list[datetime]:
    """When each of the policies asks for something, for a value of that age."""
    attributes = [json.loads(each["PolicyText"])["Attributes"] for each in policies]
    ends = [_end(own) for each, own in zip(policies, attributes, strict=True) if each["PolicyType"] == EXPIRATION]
    found = []
    for each, own in zip(policies, attributes, strict=True):
        kind = each["PolicyType"]
        if kind == EXPIRATION:
            found.append(ends[0])
        else:
            found.append(ends[0] - _span(kind, own) if kind == NOTICE else changed_at + _span(kind, own))
    return found


def next_due(policies: Sequence[Mapping[str, str]], changed_at: datetime) -> datetime | None:
    """When the first of those that wait is due."""
    due = zip(policies, times(policies, changed_at), strict=True)
    return min((at for each, at in due if each["PolicyStatus"] == PENDING), default=None)


@ssm.timer(every=timedelta(seconds=30), due=DUE_TENANTS)
def apply_policies(call: Call) -> None:
    """Delete what has expired; write what is to be told into the trail."""
    for row in call.db.all(DUE, **call.here, now=call.now):
        _apply(call, row)


def _apply(call: Call, row: Row[Any]) -> None:
    settled, expired = [], False
    for each, at in zip(row.policies, times(row.policies, row.changed_at), strict=True):
        is_due = each["PolicyStatus"] == PENDING and at <= call.now
        if is_due:
            audit.record(call, _TOLD, {"Name": row.name, "PolicyType": each["PolicyType"]}, None)
            expired = expired or each["PolicyType"] == EXPIRATION
        settled.append({**each, "PolicyStatus": FINISHED} if is_due else each)
    if expired:
        remove(call, row.name)
    else:
        due = next_due(settled, row.changed_at)
        call.db.run(SETTLE, {**key(call, row.name), "done": settled, "due": due})


_TOLD = Entry("ssm:ParameterStorePolicyAction", apply_policies)


def _kind(policy: Mapping[str, Any]) -> str:
    kind, attributes = policy.get("Type"), policy.get("Attributes")
    if kind not in (EXPIRATION, NOTICE, NO_CHANGE):
        raise InvalidPolicyTypeException(f"A policy's Type is {EXPIRATION}, {NOTICE} or {NO_CHANGE}.")
    if not isinstance(attributes, dict) or policy.get("Version", "1.0") != "1.0":
        raise InvalidPolicyAttributeException(f"{kind} needs Version 1.0 and Attributes.")
    if kind == EXPIRATION:
        _end(attributes)
    else:
        _span(kind, attributes)
    return str(kind)


def _end(attributes: Mapping[str, Any]) -> datetime:
    try:
        at = datetime.fromisoformat(attributes["Timestamp"])
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        if at < EPOCH:
            raise ValueError
        return at
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InvalidPolicyAttributeException("Expiration needs a Timestamp, 2030-12-02T21:34:33.000Z.") from None


def _span(kind: str, attributes: Mapping[str, Any]) -> timedelta:
    member = _AMOUNT[kind]
    try:
        amount = int(attributes[member])
        if not 1 <= amount <= 366 * 24:
            raise ValueError
        return amount * _UNITS[attributes["Unit"]]
    except (KeyError, TypeError, ValueError):
        raise InvalidPolicyAttributeException(
            f"{kind} needs {member}, a number from 1, and Unit, Days or Hours."
        ) from None
