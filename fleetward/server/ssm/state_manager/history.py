"""History: the executions of an association, and how each went on its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, bindparam, or_, select

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.schema import EPOCH, in_tenant, microseconds
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import AssociationExecutionDoesNotExist
from fleetward.server.ssm.run_command import reported
from fleetward.server.ssm.state_manager import associations, table

PAGE = 50
RESOURCE_TYPE = "ManagedInstance"
MOST_LOOKED_AT = 1000

EXECUTION = select(table.executions).where(
    *in_tenant(table.executions),
    table.executions.c.association_id == bindparam("association"),
    table.executions.c.execution_id == bindparam("execution"),
)


def _named(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return [associations.resource(call, request["AssociationId"].lower())]


@ssm.operation("DescribeAssociationExecutions", resources=_named, reads=True)
def describe_association_executions(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """An association's executions, newest first."""
    association = table.find(call, request["AssociationId"])
    c = table.executions.c
    query = select(table.executions).where(
        c.account_id == call.account, c.region == call.region, c.association_id == association.association_id
    )
    for each in request.get("Filters", ()):
        query = query.where(_filter(each["Key"], each["Value"], each["Type"]))
    after = paging.decode("DescribeAssociationExecutions", request.get("NextToken"))
    if after is not None:
        at = EPOCH + timedelta(microseconds=int(after[0]))
        query = query.where(or_(c.created_at < at, and_(c.created_at == at, c.execution_id < str(after[1]))))
    limit = request.get("MaxResults", PAGE)
    rows = call.db.all(query.order_by(c.created_at.desc(), c.execution_id.desc()).limit(limit + 1))
    page, token = paging.page(
        "DescribeAssociationExecutions", rows, limit, lambda row: [microseconds(row.created_at), row.execution_id]
    )
    commands = reported.counters(call, [row.command_id for row in page if row.command_id is not None])
    return {"AssociationExecutions": [_execution(row, commands.get(row.command_id)) for row in page], **token}


@ssm.operation("DescribeAssociationExecutionTargets", resources=_named, reads=True)
def describe_association_execution_targets(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """How one execution went on each node, in order of node."""
    association = table.find(call, request["AssociationId"])
    scope = table.key(call, association.association_id, execution=request["ExecutionId"].lower())
    execution = call.db.first(EXECUTION, **scope)
    if execution is None:
        raise AssociationExecutionDoesNotExist(
            f"The association {association.association_id} has no execution {request['ExecutionId']}."
        )
    after = paging.decode("DescribeAssociationExecutionTargets", request.get("NextToken"))
    limit = request.get("MaxResults", PAGE)
    shown, last = _targets(call, execution, request.get("Filters", ()), str(after[0]) if after else "", limit)
    token = {} if last is None else {"NextToken": paging.encode("DescribeAssociationExecutionTargets", [last])}
    return {"AssociationExecutionTargets": shown, **token}


def _targets(
    call: Call, execution: Row[Any], filters: Sequence[Mapping[str, str]], after: str, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of targets that fit, and behind which node the next one begins; None at the end.

    However few fit, at most 1,000 are looked at for one page.
    """
    if execution.command_id is None:
        told = [] if execution.told is None or after else [_told_by_agent(execution)]
        return [each for each in told if _fits(each, filters)], None
    rows = reported.invocations_of(call, execution.command_id, after, MOST_LOOKED_AT if filters else limit + 1)
    shown: list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        if len(shown) == limit:
            return shown, rows[index - 1].node_id
        target = _target(execution, row)
        if _fits(target, filters):
            shown.append(target)
    return shown, rows[-1].node_id if filters and len(rows) == MOST_LOOKED_AT else None


def _execution(row: Row[Any], command: Row[Any] | None) -> dict[str, Any]:
    counts: dict[str, int] = {}
    if command is not None:
        counts = _in_words(command.ended, command)
    elif row.told is not None:
        counts = {row.detailed_status: 1}
    return {
        "AssociationId": row.association_id,
        "AssociationVersion": str(row.version),
        "ExecutionId": row.execution_id,
        "Status": row.status,
        "DetailedStatus": row.detailed_status,
        "CreatedTime": row.created_at,
        "LastExecutionDate": row.ended_at or row.created_at,
        "ResourceCountByStatus": "{" + ", ".join(f"{name}={number}" for name, number in sorted(counts.items())) + "}",
    }


def _in_words(ended: Mapping[str, int], command: Row[Any]) -> dict[str, int]:
    """How many nodes stand how, from a command's counters."""
    counts = table.in_detail(ended)
    open_nodes = command.target_count - sum(ended.values())
    if open_nodes > 0:
        counts[table.PENDING] = open_nodes
    return counts


def _target(execution: Row[Any], row: Row[Any]) -> dict[str, Any]:
    detailed = table.detailed(row.status)
    return {
        "AssociationId": execution.association_id,
        "AssociationVersion": str(execution.version),
        "ExecutionId": execution.execution_id,
        "ResourceId": row.node_id,
        "ResourceType": RESOURCE_TYPE,
        "Status": table.coarse(detailed),
        "DetailedStatus": detailed,
        "LastExecutionDate": row.started_at or row.requested_at,
        "OutputSource": {"OutputSourceId": execution.command_id, "OutputSourceType": "RunCommand"},
    }


def _told_by_agent(execution: Row[Any]) -> dict[str, Any]:
    return {
        "AssociationId": execution.association_id,
        "AssociationVersion": str(execution.version),
        "ExecutionId": execution.execution_id,
        "ResourceId": execution.told["node"],
        "ResourceType": RESOURCE_TYPE,
        "Status": execution.status,
        "DetailedStatus": execution.detailed_status,
        "LastExecutionDate": datetime.fromisoformat(execution.told["executed_at"]),
    }


def _fits(target: Mapping[str, Any], filters: Sequence[Mapping[str, str]]) -> bool:
    for each in filters:
        name, value = each["Key"], each["Value"]
        if name == "Status":
            if value not in (target["Status"], target["DetailedStatus"]):
                return False
        elif target[name] != value:
            return False
    return True


def _filter(name: str, value: str, kind: str) -> Any:
    c = table.executions.c
    if name == "CreatedTime":
        at = _time(value)
        return {"EQUAL": c.created_at == at, "LESS_THAN": c.created_at < at, "GREATER_THAN": c.created_at > at}[kind]
    if kind != "EQUAL":
        raise ValidationException(f"The filter {name} takes the type EQUAL.")
    if name == "ExecutionId":
        return c.execution_id == value.lower()
    return or_(c.status == value, c.detailed_status == value)


def _time(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as fault:
        raise ValidationException(f"{value!r} is not a time of the form 2030-01-31T00:00:00Z.") from fault
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
