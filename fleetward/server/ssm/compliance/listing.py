"""ListComplianceItems, ListComplianceSummaries and ListResourceComplianceSummaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, func, select, tuple_

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import nodes, ssm
from fleetward.server.ssm.compliance import filters
from fleetward.server.ssm.compliance import items as sets
from fleetward.server.ssm.compliance.putting import execution_told
from fleetward.server.ssm.compliance.table import WITH_STATE, chunks, execution_of, execution_shape, states
from fleetward.server.ssm.errors import InvalidResourceId, InvalidResourceType

PAGE = 50
CHUNKS_AT_ONCE = 10
"""Chunks that one call looks through; a filtered page that is not full by then says where to go on."""
KINDS = len(sets.STATUSES) * len(sets.SEVERITIES)
"""Into so many groups the nodes of one type can fall."""


@ssm.operation("ListComplianceItems", reads=True)
def list_compliance_items(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Items in order of node, type and id; of one node, or of all where none is named.

    Ours: a page goes on at the place where the last one ended, also when the node's items were replaced since.
    """
    conditions, fits = filters.of_items(request.get("Filters", ()))
    for kind in request.get("ResourceTypes", ()):
        if kind != nodes.RESOURCE_TYPE:
            raise InvalidResourceType(f"The ResourceTypes can be {nodes.RESOURCE_TYPE} alone, not {kind}.")
    if "ResourceIds" in request:
        conditions.append(states.c.node_id == _one_node(call, request["ResourceIds"]))
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("ListComplianceItems", request.get("NextToken"))
    key = (chunks.c.node_id, chunks.c.compliance_type, chunks.c.number)
    execution = (states.c.execution_time, states.c.execution_id, states.c.execution_type)
    statement = select(*key, chunks.c.content, *execution).select_from(WITH_STATE)
    statement = statement.where(*in_tenant(chunks), *conditions).order_by(*key).limit(CHUNKS_AT_ONCE + 1)
    if after is not None:
        statement = statement.where(tuple_(*key) >= tuple_(*after[:3]))
    found, next_place = _collect(call.db.all(statement, **call.here), after, limit, fits)
    more = {"NextToken": paging.encode("ListComplianceItems", next_place)} if next_place else {}
    return {"ComplianceItems": found, **more}


@ssm.operation("ListComplianceSummaries", reads=True)
def list_compliance_summaries(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """For each type, how many nodes comply with it and how many do not, by the severity of each; in order of type."""
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("ListComplianceSummaries", request.get("NextToken"))
    group = (states.c.compliance_type, states.c.status, states.c.severity)
    statement = select(*group, func.count()).where(*in_tenant(states), *filters.on_states(request.get("Filters", ())))
    if after is not None:
        statement = statement.where(states.c.compliance_type > after[0])
    statement = statement.group_by(*group).order_by(*group).limit((limit + 1) * KINDS)
    counted: dict[str, sets.Counts] = {}
    for compliance_type, status, severity, number in call.db.all(statement, **call.here):
        counts = counted.setdefault(compliance_type, [[0] * len(sets.SEVERITIES) for _ in sets.STATUSES])
        counts[sets.STATUSES.index(status)][sets.SEVERITIES.index(severity)] = number
    page, more = paging.page("ListComplianceSummaries", list(counted)[: limit + 1], limit, lambda name: [name])
    listed = [{"ComplianceType": name, **sets.summaries(counted[name])} for name in page]
    return {"ComplianceSummaryItems": listed, **more}


@ssm.operation("ListResourceComplianceSummaries", reads=True)
def list_resource_compliance_summaries(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The state of each node for each type, with the counts of its items; in order of node and type."""
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("ListResourceComplianceSummaries", request.get("NextToken"))
    key = (states.c.node_id, states.c.compliance_type)
    statement = select(states).where(*in_tenant(states), *filters.on_states(request.get("Filters", ())))
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    rows, more = paging.page(
        "ListResourceComplianceSummaries",
        call.db.all(statement.order_by(*key).limit(limit + 1), **call.here),
        limit,
        lambda row: [row.node_id, row.compliance_type],
    )
    return {"ResourceComplianceSummaryItems": [_state(row) for row in rows], **more}


def _one_node(call: Call, node_ids: Sequence[str]) -> str:
    if len(node_ids) != 1:
        raise InvalidResourceId("Name one node in ResourceIds; the API takes one in a call.")
    if not nodes.exists(call, node_ids[0]):
        raise InvalidResourceId(f"There is no managed node with the id {node_ids[0]!r}.")
    return node_ids[0]


def _collect(
    rows: Sequence[Row[Any]], after: Sequence[Any] | None, limit: int, fits: Callable[[Mapping[str, Any]], bool]
) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Up to `limit` items that fit, and the place to go on from: node, type, chunk, index in the chunk."""
    found: list[dict[str, Any]] = []
    for row in rows[:CHUNKS_AT_ONCE]:
        place = [row.node_id, row.compliance_type, row.number]
        begin = after[3] if after is not None and place == after[:3] else 0
        for index, item in enumerate(sets.unpack(row.content)[begin:], begin):
            shown = _item(row, item)
            if fits(shown):
                if len(found) == limit:
                    return found, [*place, index]
                found.append(shown)
    if len(rows) <= CHUNKS_AT_ONCE:
        return found, None
    following = rows[CHUNKS_AT_ONCE]
    return found, [following.node_id, following.compliance_type, following.number, 0]


def _item(row: Row[Any], item: Mapping[str, Any]) -> dict[str, Any]:
    members = dict(item)
    told = members.pop("Execution", None)
    return {
        "ComplianceType": row.compliance_type,
        "ResourceType": nodes.RESOURCE_TYPE,
        "ResourceId": row.node_id,
        **members,
        "ExecutionSummary": execution_of(row) if told is None else execution_shape(*execution_told(told)),
    }


def _state(row: Row[Any]) -> dict[str, Any]:
    return {
        "ComplianceType": row.compliance_type,
        "ResourceType": nodes.RESOURCE_TYPE,
        "ResourceId": row.node_id,
        "Status": row.status,
        "OverallSeverity": row.severity,
        "ExecutionSummary": execution_of(row),
        **sets.summaries(row.counts),
    }
