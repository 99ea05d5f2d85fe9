"""Groups themselves: made, shown, changed, deleted, listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, select

from fleetward.server.call import Call
from fleetward.server.iam import context as keys_of
from fleetward.server.resource_groups import queries, resource_groups, table
from fleetward.server.resource_groups.errors import BadRequestException
from fleetward.server.resource_groups.tagging import check_tags
from fleetward.server.ssm import tags

PAGE = 50
MOST_GROUPS = 1000
"""Ours: so many that a list may look at all of them."""


@resource_groups.operation("CreateGroup", conditions=keys_of.tags_of("Tags"))
def create_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make a group by tag query, or one by list that GroupResources fills."""
    name, query = request["Name"], request.get("ResourceQuery")
    if name.lower().startswith("aws"):
        raise BadRequestException("The name of a group cannot begin with AWS.")
    if query is not None and "Configuration" in request:
        raise BadRequestException("Give either ResourceQuery or Configuration, not both.")
    if query is not None:
        queries.read(query)
    wanted = check_tags(request.get("Tags", {}))
    if call.db.first(table.FIND, **call.here, group=name) is not None:
        raise BadRequestException(f"There is a group named {name!r} already.")
    if call.db.value(table.COUNT, **call.here) >= MOST_GROUPS:
        raise BadRequestException(f"An account can have {MOST_GROUPS} groups in a Region.")
    row = {
        "name": name,
        "description": request.get("Description", ""),
        "owner": request.get("Owner"),
        "display_name": request.get("DisplayName"),
        "criticality": request.get("Criticality"),
        "query": None if query is None else query["Query"],
        "configuration": request.get("Configuration", []),
    }
    call.db.run(table.ADD, {**call.tenant, **row})
    tags.put(call, table.TAGGED_AS, name, wanted)
    made = table.find(call, name)
    shown = {"ResourceQuery": query} if query is not None else {"GroupConfiguration": _configuration(made)}
    return {"Group": _shape(call, made), "Tags": wanted, **shown}


@resource_groups.operation("GetGroup", resources=table.named, reads=True)
def get_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A group's name, ARN and what was said of it."""
    return {"Group": _shape(call, table.find(call, table.name_of(call, request)))}


@resource_groups.operation("GetGroupQuery", resources=table.named, reads=True)
def get_group_query(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A group's query, as it was given."""
    row = table.find(call, table.name_of(call, request))
    if row.query is None:
        raise BadRequestException(f"The group {row.name!r} has no query: it is one by list.")
    return _query(row.name, row.query)


@resource_groups.operation("GetGroupConfiguration", resources=table.named, reads=True)
def get_group_configuration(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A group's service configuration, kept as it was given."""
    return {"GroupConfiguration": _configuration(table.find(call, table.name_of(call, request)))}


@resource_groups.operation("UpdateGroup", resources=table.named)
def update_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Change what is said of a group; what the request leaves out stays."""
    row = table.find(call, table.name_of(call, request), to_change=True)
    changed = {
        "to_description": request.get("Description", row.description),
        "to_owner": request.get("Owner", row.owner),
        "to_display_name": request.get("DisplayName", row.display_name),
        "to_criticality": request.get("Criticality", row.criticality),
    }
    call.db.run(table.CHANGE, {**call.here, "group": row.name, **changed})
    return {"Group": _shape(call, table.find(call, row.name))}


@resource_groups.operation("UpdateGroupQuery", resources=table.named)
def update_group_query(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give a group by query another query."""
    row = table.find(call, table.name_of(call, request), to_change=True)
    if row.query is None:
        raise BadRequestException(f"The group {row.name!r} has no query: it is one by list.")
    queries.read(request["ResourceQuery"])
    text = request["ResourceQuery"]["Query"]
    call.db.run(table.CHANGE_QUERY, {**call.here, "group": row.name, "to_query": text})
    call.emit(table.GroupChanged(row.name))
    return _query(row.name, text)


@resource_groups.operation("DeleteGroup", resources=table.named)
def delete_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Delete a group; its resources stay."""
    row = table.find(call, table.name_of(call, request), to_change=True)
    here = {**call.here, "group": row.name}
    call.db.run(table.REMOVE_MEMBERS, here)
    call.db.run(table.REMOVE, here)
    tags.drop(call, table.TAGGED_AS, row.name)
    call.emit(table.GroupChanged(row.name))
    return {"Group": _shape(call, row)}


@resource_groups.operation("ListGroups", reads=True)
def list_groups(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Groups in order of name; filters must all fit."""
    limit = request.get("MaxResults", PAGE)
    after = table.after("ListGroups", request)
    statement = select(table.groups).where(*table.HERE).order_by(table.groups.c.name)
    if after is not None:
        statement = statement.where(table.groups.c.name > after[0])
    filters = request.get("Filters", ())
    rows = [row for row in call.db.all(statement, **call.here) if all(_fits(row, each) for each in filters)]
    page, more = rows[:limit], {}
    if len(rows) > limit:
        more = table.token("ListGroups", [page[-1].name])
    shapes = [_shape(call, row) for row in page]
    identifiers = [{"GroupName": each["Name"], **_without(each, "Name")} for each in shapes]
    return {"GroupIdentifiers": identifiers, "Groups": shapes, **more}


def _fits(row: Row[Any], given: Mapping[str, Any]) -> bool:
    return bool(set(_filtered(row, given["Name"])) & set(given["Values"]))


def _filtered(row: Row[Any], name: str) -> Sequence[str]:
    """The values that a filter finds a group by."""
    if name == "resource-type":
        query = table.read_query(row)
        return () if query is None else (queries.ALL_TYPES,) if query.types is None else query.types
    if name == "configuration-type":
        return [item["Type"] for item in row.configuration]
    value = {"owner": row.owner, "display-name": row.display_name, "criticality": row.criticality}[name]
    return () if value is None else (str(value),)


def _without(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {member: value for member, value in given.items() if member != name}


def _query(name: str, text: str) -> dict[str, Any]:
    return {"GroupQuery": {"GroupName": name, "ResourceQuery": {"Type": queries.TAG_FILTERS, "Query": text}}}


def _configuration(row: Row[Any]) -> dict[str, Any]:
    return {"Configuration": row.configuration, "Status": "UPDATE_COMPLETE"}


def _shape(call: Call, row: Row[Any]) -> dict[str, Any]:
    shown = {
        "GroupArn": table.arn(call, row.name),
        "Name": row.name,
        "Description": row.description,
        "Criticality": row.criticality,
        "Owner": row.owner,
        "DisplayName": row.display_name,
    }
    return {member: value for member, value in shown.items() if value is not None}
