"""Describing: one association, and lists of associations and of their versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, exists, false, or_, select

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.schema import in_tenant, same_tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import InvalidAssociationVersion
from fleetward.server.ssm.state_manager import associations, shapes, table

PAGE = 50

VERSION = select(table.versions).where(
    *in_tenant(table.versions),
    table.versions.c.association_id == bindparam("association"),
    table.versions.c.version == bindparam("number"),
)
VERSIONS = (
    select(table.versions)
    .where(
        *in_tenant(table.versions),
        table.versions.c.association_id == bindparam("association"),
        table.versions.c.version < bindparam("before"),
    )
    .order_by(table.versions.c.version.desc())
    .limit(bindparam("most"))
)
_BEYOND_ALL = 10**9


def _all(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource("*"),)


@ssm.operation("DescribeAssociation", resources=associations.named, reads=True, audience="both")
def describe_association(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """One association, as it is or as one of its versions was."""
    _only_itself(call, request.get("InstanceId"))
    row = associations.require(call, request)
    shown = shapes.description(row)
    asked = request.get("AssociationVersion", "$LATEST")
    if asked not in ("$LATEST", str(row.version)):
        number = int(asked) if len(asked) < len(str(_BEYOND_ALL)) else _BEYOND_ALL
        old = call.db.first(VERSION, **table.key(call, row.association_id, number=number))
        if old is None:
            raise InvalidAssociationVersion(f"The association {row.association_id} has no version {asked}.")
        kept = ("AssociationId", "Date", "LastUpdateAssociationDate", "Status", "Overview")
        shown = {**{name: shown[name] for name in kept}, **old.definition, "AssociationVersion": asked}
    return {"AssociationDescription": shown}


@ssm.operation("ListAssociations", resources=_all, reads=True, audience="both")
def list_associations(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Associations in order of id; all filters must fit. A node that asks in the legacy way sees its own alone."""
    filters = request.get("AssociationFilterList", ())
    c = table.associations.c
    query = select(table.associations).where(c.account_id == call.account, c.region == call.region)
    if call.caller.kind == "node":
        query = query.where(_of_node(call.caller.node_id))
    for each in filters:
        query = query.where(_filter(each["key"], each["value"]))
    after = paging.decode("ListAssociations", request.get("NextToken"))
    if after is not None:
        query = query.where(c.association_id > str(after[0]))
    limit = request.get("MaxResults", PAGE)
    rows = call.db.all(query.order_by(c.association_id).limit(limit + 1))
    page, token = paging.page("ListAssociations", rows, limit, lambda row: [row.association_id])
    return {"Associations": [shapes.summary(row) for row in page], **token}


@ssm.operation("ListAssociationVersions", resources=associations.named, reads=True)
def list_association_versions(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """What an association has said so far, newest first."""
    row = table.find(call, request["AssociationId"])
    after = paging.decode("ListAssociationVersions", request.get("NextToken"))
    before = int(after[0]) if after else _BEYOND_ALL
    limit = request.get("MaxResults", PAGE)
    rows = call.db.all(VERSIONS, **table.key(call, row.association_id), before=before, most=limit + 1)
    page, token = paging.page("ListAssociationVersions", rows, limit, lambda each: [each.version])
    return {"AssociationVersions": [shapes.version(each) for each in page], **token}


def _only_itself(call: Call, node_id: str | None) -> None:
    if call.caller.kind == "node" and node_id != call.caller.node_id:
        raise AccessDeniedException(f"{call.caller.node_id} may only ask about itself.")


def _of_node(node_id: str) -> Any:
    c, r = table.associations.c, table.releases.c
    released = exists().where(
        *same_tenant(table.releases, table.associations),
        r.association_id == c.association_id,
        r.node_id == node_id,
    )
    return or_(c.node_id == node_id, released)


def _filter(key: str, value: str) -> Any:
    c = table.associations.c
    if key == "InstanceId":
        return _of_node(value)
    if key == "Name":
        return c.name == value
    if key == "AssociationId":
        return c.association_id == value.lower()
    if key == "AssociationName":
        return c.association_name == value
    if key == "AssociationStatusName":
        return or_(c.status == value, c.detailed_status == value)
    if key == "LastExecutedBefore":
        return c.last_executed_at < _time(value)
    if key == "LastExecutedAfter":
        return c.last_executed_at > _time(value)
    return false()  # of groups and clouds that no association here names


def _time(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as fault:
        raise ValidationException(f"{value!r} is not a time of the form 2030-01-31T00:00:00Z.") from fault
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
