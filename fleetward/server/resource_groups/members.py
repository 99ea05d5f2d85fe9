"""What is in groups: by query or by list, for those who list and for those who select by a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, bindparam, select, tuple_

from fleetward.server.call import Call
from fleetward.server.resource_groups import queries, resource_groups, table
from fleetward.server.resource_groups.errors import BadRequestException
from fleetward.server.resource_groups.queries import Query
from fleetward.server.ssm import tags

PAGE = 50
MOST_MEMBERS = 10_000
"""Ours: resources that one group by list can have."""
NAMES = {kind: name for name, kind in queries.TYPES.items()}
"""Types as tags call them, and as groups do."""
ALLOWED_TYPES = "allowed-resource-types"
"""The parameter of a configuration that bounds what may be put into the group."""


def selecting(call: Call, name: str, kind: str) -> list[Select[tuple[str]]] | None:
    """Selects of ids whose common ones are the group's resources of a type of tags; None when there is no group.

    For `column.in_(…)` in statements that are run with the parameters `account` and `in_region`. No select at all:
    the group's query is not about that type.
    """
    row = call.db.first(table.FIND, **call.here, group=name)
    if row is None:
        return None
    query = table.read_query(row)
    if query is None:
        of_group = (*table.OF_GROUP[:2], table.members.c.name == name, table.members.c.resource_type == kind)
        return [select(table.members.c.resource_id).where(*of_group)]
    if kind not in query.kinds():
        return []
    return [tags.having(kind, key, values or None) for key, values in query.tags]


def forget(call: Call, kind: str, resource_id: str) -> None:
    """A resource that is going away is in no group by list any more."""
    call.db.run(table.FORGET, {**call.here, "kind": kind, "resource": resource_id})


@resource_groups.operation("SearchResources", reads=True)
def search_resources(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a query finds, in order of type and id."""
    found, more = _found(call, "SearchResources", request, queries.read(request["ResourceQuery"]), None)
    return {"ResourceIdentifiers": found, "QueryErrors": [], **more}


@resource_groups.operation("ListGroupResources", resources=table.named, reads=True)
def list_group_resources(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """What is in a group, in order of type and id; filters choose types."""
    row = table.find(call, table.name_of(call, request))
    query = table.read_query(row)
    types = [set(each["Values"]) for each in request.get("Filters", ())]
    kinds = [kind for name, kind in queries.TYPES.items() if all(name in each for each in types)]
    if query is None:
        found, more = _listed(call, request, row.name, kinds)
    else:
        found, more = _found(call, "ListGroupResources", request, query, kinds)
    resources = [{"Identifier": each} for each in found]
    return {"Resources": resources, "ResourceIdentifiers": found, "QueryErrors": [], **more}


@resource_groups.operation("GroupResources", resources=table.named)
def group_resources(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Put resources into a group by list; each that cannot be is answered with its reason."""
    row = _by_list(call, request)
    allowed = _allowed_types(row)
    wanted, failed = [], []
    for arn in request["ResourceArns"]:
        located = tags.locate(call, arn)
        if located is None or located[0] not in NAMES:
            failed.append(
                _failed(arn, "RESOURCE_NOT_FOUND", "There is no such resource, or of no type of groups here.")
            )
        elif allowed and NAMES[located[0]] not in allowed:
            failed.append(_failed(arn, "RESOURCE_TYPE_NOT_ALLOWED", f"The group is of {', '.join(sorted(allowed))}."))
        else:
            wanted.append((arn, located))
    if call.db.value(table.COUNT_MEMBERS, **call.here, group=row.name) + len(wanted) > MOST_MEMBERS:
        raise BadRequestException(f"A group can have {MOST_MEMBERS} resources at most.")
    rows = [{**call.tenant, "name": row.name, "resource_type": kind, "resource_id": id_} for _, (kind, id_) in wanted]
    if call.db.run(table.ADD_MEMBERS, rows):
        call.emit(table.GroupChanged(row.name))
    return _outcome([arn for arn, _ in wanted], failed)


@resource_groups.operation("UngroupResources", resources=table.named)
def ungroup_resources(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take resources out of a group by list."""
    row = _by_list(call, request)
    removed, failed = [], []
    for arn in request["ResourceArns"]:
        located = tags.locate(call, arn)
        here = {**call.here, "group": row.name}
        if located and call.db.run(table.REMOVE_MEMBER, {**here, "kind": located[0], "resource": located[1]}):
            removed.append(arn)
        else:
            failed.append(_failed(arn, "RESOURCE_NOT_FOUND", "The group has no such resource."))
    if removed:
        call.emit(table.GroupChanged(row.name))
    return _outcome(removed, failed)


def _by_list(call: Call, request: Mapping[str, Any]) -> Row[Any]:
    row = table.find(call, table.name_of(call, request), to_change=True)
    if row.query is not None:
        raise BadRequestException(f"The group {row.name!r} is one by query: tags say what is in it.")
    return row


def _allowed_types(row: Row[Any]) -> set[str]:
    return {
        value
        for item in row.configuration
        for parameter in item.get("Parameters", ())
        if parameter["Name"] == ALLOWED_TYPES
        for value in parameter.get("Values", ())
    }


def _failed(arn: str, code: str, message: str) -> dict[str, str]:
    return {"ResourceArn": arn, "ErrorCode": code, "ErrorMessage": message}


def _outcome(succeeded: Sequence[str], failed: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """AWS's answer; a list of what succeeded cannot be empty, and is left out then."""
    return {**({"Succeeded": list(succeeded)} if succeeded else {}), "Failed": list(failed), "Pending": []}


def _found(
    call: Call, operation: str, request: Mapping[str, Any], query: Query, kinds: Sequence[str] | None
) -> tuple[list[dict[str, str]], dict[str, str]]:
    limit, after = request.get("MaxResults", PAGE), table.after(operation, request)
    asked = [kind for kind in query.kinds() if kinds is None or kind in kinds]
    rows = tags.tagged_with(call, asked, query.tags, after, limit + 1)
    return _page(call, operation, rows, limit)


def _listed(
    call: Call, request: Mapping[str, Any], name: str, kinds: Sequence[str]
) -> tuple[list[dict[str, str]], dict[str, str]]:
    limit, after = request.get("MaxResults", PAGE), table.after("ListGroupResources", request)
    key = (table.members.c.resource_type, table.members.c.resource_id)
    statement = select(*key).where(*table.OF_GROUP, key[0].in_(bindparam("kinds", expanding=True))).order_by(*key)
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    rows = call.db.all(statement.limit(limit + 1), **call.here, group=name, kinds=list(kinds))
    return _page(call, "ListGroupResources", rows, limit)


def _page(
    call: Call, operation: str, rows: Sequence[Row[Any]], limit: int
) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Identifiers of rows of (type, id), and the token when there are more; what is gone since is left out."""
    found = [
        {"ResourceArn": tags.arn_of(call, kind, id_), "ResourceType": NAMES[kind]}
        for kind, id_ in rows[:limit]
        if tags.exists(call, kind, id_)
    ]
    return found, table.token(operation, list(rows[limit - 1])) if len(rows) > limit else {}
