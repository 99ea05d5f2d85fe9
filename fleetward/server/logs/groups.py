"""Log groups: made, listed, protected, kept for so many days, deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, or_, select, update

from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.iam.context import tags_of
from fleetward.server.logs import logs
from fleetward.server.logs.errors import InvalidParameterException, ResourceAlreadyExistsException
from fleetward.server.logs.removal import remove_later
from fleetward.server.logs.table import (
    GET_GROUP,
    GROUP_HERE,
    THIS_GROUP,
    after,
    find_group,
    group_arn,
    group_resource,
    groups,
    milliseconds,
    name_of,
    of_group,
    page,
)

PAGE = 50
KEPT_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
CLASSES = ("STANDARD", "INFREQUENT_ACCESS")

ADD = insert(groups)
REMOVE = delete(groups).where(*THIS_GROUP)
SET_RETENTION = update(groups).where(*THIS_GROUP).values(retention_days=bindparam("days"), sweep_at=bindparam("at"))
SET_PROTECTION = update(groups).where(*THIS_GROUP).values(protected=bindparam("on"))
_ALL = select(groups).where(*GROUP_HERE, groups.c.name > bindparam("behind")).order_by(groups.c.name)
LIST = _ALL.limit(bindparam("most"))
LIST_PREFIX = LIST.where(func.substr(groups.c.name, 1, bindparam("length")) == bindparam("text"))
LIST_CONTAINING = LIST.where(func.replace(groups.c.name, bindparam("text"), "") != groups.c.name)


@logs.operation("CreateLogGroup", resources=of_group, conditions=tags_of("tags"), audience="both", grows=True)
def create_log_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make an empty group whose events are kept for ever."""
    if "kmsKeyId" in request:
        raise InvalidParameterException("kmsKeyId: keys of log groups are not offered by this server.")
    log_class = request.get("logGroupClass", CLASSES[0])
    if log_class not in CLASSES:
        raise InvalidParameterException(f"logGroupClass {log_class} is not offered by this server.")
    name, tags = request["logGroupName"], request.get("tags", {})
    if tags:
        call.authorize("logs:TagResource", group_resource(call, name, ""), tags_of("tags")(call, request))
    if call.db.first(GET_GROUP, **call.here, group=name) is not None:
        raise ResourceAlreadyExistsException(f"The specified log group already exists: {name}")
    add_group(call, name, log_class, tags, protected=request.get("deletionProtectionEnabled", False))
    return {}


def add_group(
    call: Call,
    name: str,
    log_class: str = CLASSES[0],
    tags: Mapping[str, str] | None = None,
    *,
    protected: bool = False,
) -> None:
    """A group that does not exist yet."""
    row = {
        "name": name,
        "group_id": call.new_id(),
        "log_class": log_class,
        "protected": protected,
        "retention_days": None,
        "tags": dict(tags or {}),
        "created_at": milliseconds(call),
        "stored_bytes": 0,
        "last_block": 0,
        "sweep_at": None,
    }
    call.db.run(ADD, {**call.tenant, **row})


@logs.operation("DeleteLogGroup", resources=of_group)
def delete_log_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a group with all that is in it; its rows go little by little afterwards."""
    row = find_group(call, request["logGroupName"], lock=True)
    if row.protected:
        raise ValidationException(f"The log group {row.name} is protected from deletion; lift the protection first.")
    call.db.run(REMOVE, {**call.here, "group": row.name})
    remove_later(call, row.group_id)
    return {}


@logs.operation("DescribeLogGroups", reads=True, audience="both")
def describe_log_groups(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Groups in order of name: those with a prefix, with a text in their name, those named, or all."""
    if request.get("includeLinkedAccounts"):
        raise InvalidParameterException("includeLinkedAccounts: linked accounts are not offered by this server.")
    if request.get("accountIdentifiers") and call.account not in request["accountIdentifiers"]:
        return {"logGroups": []}
    prefix, text = request.get("logGroupNamePrefix"), request.get("logGroupNamePattern")
    if prefix and text:
        raise InvalidParameterException("Give either logGroupNamePrefix or logGroupNamePattern.")
    if "logGroupIdentifiers" in request:
        named = sorted({name_of(call, each) for each in request["logGroupIdentifiers"]})
        found = [call.db.first(GET_GROUP, **call.here, group=name) for name in named]
        return {"logGroups": [_shape(call, row) for row in found if row is not None]}
    limit = request.get("limit", PAGE)
    (behind,) = after("DescribeLogGroups", request) or [""]
    rows = _chosen(call, behind, limit + 1, prefix, text)
    shown, more = page("DescribeLogGroups", rows, limit, lambda row: [row.name])
    wanted = request.get("logGroupClass")
    return {"logGroups": [_shape(call, row) for row in shown if wanted in (None, row.log_class)], **more}


def _chosen(call: Call, behind: str, most: int, prefix: str | None, text: str | None) -> Sequence[Row[Any]]:
    values = {**call.here, "behind": behind, "most": most}
    if prefix:
        return call.db.all(LIST_PREFIX, **values, text=prefix, length=len(prefix))
    return call.db.all(LIST_CONTAINING, **values, text=text) if text else call.db.all(LIST, **values)


@logs.operation("ListLogGroups", reads=True)
def list_log_groups(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Groups in order of name whose names hold one of the texts of a pattern, at the beginning where it says ^."""
    for member in ("includeLinkedAccounts", "dataSources", "fieldIndexNames", "logGroupTags"):
        if request.get(member):
            raise InvalidParameterException(f"{member} is not offered by this server.")
    if request.get("accountIdentifiers") and call.account not in request["accountIdentifiers"]:
        return {"logGroups": []}
    limit = request.get("limit", PAGE)
    (behind,) = after("ListLogGroups", request) or [""]
    statement = _ALL.limit(limit + 1)
    if "logGroupNamePattern" in request:
        statement = statement.where(or_(*map(_holds, request["logGroupNamePattern"].split("|"))))
    rows = call.db.all(statement, **call.here, behind=behind)
    shown, more = page("ListLogGroups", rows, limit, lambda row: [row.name])
    wanted = request.get("logGroupClass")
    listed = [
        {"logGroupName": row.name, "logGroupArn": group_arn(call, row.name), "logGroupClass": row.log_class}
        for row in shown
        if wanted in (None, row.log_class)
    ]
    return {"logGroups": listed, **more}


def _holds(text: str) -> Any:
    if text.startswith("^"):
        return func.substr(groups.c.name, 1, len(text) - 1) == text[1:]
    return func.replace(groups.c.name, text, "") != groups.c.name


@logs.operation("PutLogGroupDeletionProtection", resources=of_group)
def put_log_group_deletion_protection(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse to delete a group from now on, or no longer."""
    name = name_of(call, request["logGroupIdentifier"])
    find_group(call, name, lock=True)
    call.db.run(SET_PROTECTION, {**call.here, "group": name, "on": request["deletionProtectionEnabled"]})
    return {}


@logs.operation("PutRetentionPolicy", resources=of_group, audience="both")
def put_retention_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Keep events for so many days; older ones go within the hour."""
    days = request["retentionInDays"]
    if days not in KEPT_DAYS:
        raise InvalidParameterException(f"retentionInDays must be one of {', '.join(map(str, KEPT_DAYS))}; not {days}.")
    row = find_group(call, request["logGroupName"], lock=True)
    call.db.run(SET_RETENTION, {**call.here, "group": row.name, "days": days, "at": call.now})
    return {}


@logs.operation("DeleteRetentionPolicy", resources=of_group)
def delete_retention_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Keep events for ever."""
    row = find_group(call, request["logGroupName"], lock=True)
    call.db.run(SET_RETENTION, {**call.here, "group": row.name, "days": None, "at": None})
    return {}


def _shape(call: Call, row: Row[Any]) -> dict[str, Any]:
    shown = {
        "logGroupName": row.name,
        "creationTime": row.created_at,
        "retentionInDays": row.retention_days,
        "metricFilterCount": 0,
        "arn": group_arn(call, row.name) + ":*",
        "storedBytes": row.stored_bytes,
        "logGroupClass": row.log_class,
        "logGroupArn": group_arn(call, row.name),
        "deletionProtectionEnabled": row.protected,
    }
    return {name: value for name, value in shown.items() if value is not None}
