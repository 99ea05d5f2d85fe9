"""The rows of compliance: one state for each node and type, with its counts, and the chunks of its items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Integer, LargeBinary, Row, String, Table, bindparam, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or_change

from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, same_tenant, tenant

ASSOCIATION, PATCH = "Association", "Patch"
KEPT_BY_NAME = (ASSOCIATION, PATCH)
"""The types that are AWS's own; all others are custom ones."""
MOST_CUSTOM_TYPES = 10

states = Table(
    "compliance_states",
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("compliance_type", String(100), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("counts", Json, nullable=False),  # items.Counts
    Column("execution_time", UtcDateTime, nullable=False),
    Column("execution_id", String(100), nullable=False),
    Column("execution_type", String(50), nullable=False),
    Column("content_hash", String(256), nullable=False),  # as the uploader gave it; empty: none, or merged since
    Index("compliance_states_counted", "account_id", "region", "compliance_type", "status", "severity"),
)

chunks = Table(
    "compliance_items",
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("compliance_type", String(100), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),  # items.pack
)

_ON_NODE = (*in_tenant(states), states.c.node_id == bindparam("node"))
_THIS = (*_ON_NODE, states.c.compliance_type == bindparam("type"))
_CHUNKS_OF_NODE = (*in_tenant(chunks), chunks.c.node_id == bindparam("node"))
_CHUNKS = (*_CHUNKS_OF_NODE, chunks.c.compliance_type == bindparam("type"))

FIND = select(states).where(*_THIS).with_for_update()
CUSTOM_TYPES = select(func.count()).where(*_ON_NODE, states.c.compliance_type.not_in(KEPT_BY_NAME))
_ADD = insert_or_change(states)
PUT = _ADD.on_conflict_do_update(
    index_elements=["account_id", "region", "node_id", "compliance_type"],
    set_={
        each.name: _ADD.excluded[each.name]
        for each in states.columns
        if each.name not in ("account_id", "region", "node_id", "compliance_type")
    },
)
REMOVE = delete(states).where(*_THIS)
REMOVE_ALL = delete(states).where(*_ON_NODE)
CHUNKS = select(chunks.c.content).where(*_CHUNKS).order_by(chunks.c.number)
ADD_CHUNKS = insert(chunks)
REMOVE_CHUNKS = delete(chunks).where(*_CHUNKS)
REMOVE_ALL_CHUNKS = delete(chunks).where(*_CHUNKS_OF_NODE)
WITH_STATE = chunks.join(
    states,
    same_tenant(states, chunks)[0]
    & same_tenant(states, chunks)[1]
    & (states.c.node_id == chunks.c.node_id)
    & (states.c.compliance_type == chunks.c.compliance_type),
)


@dataclass(frozen=True, slots=True)
class ComplianceChanged:
    """Event: a node's state of one type turned; `before` is empty when nothing was known."""

    node_id: str
    compliance_type: str
    status: str
    severity: str
    before: str


def execution_shape(at: datetime, execution_id: str, execution_type: str) -> dict[str, Any]:
    """An execution as AWS's ComplianceExecutionSummary; what is empty is left out."""
    shown = {"ExecutionTime": at, "ExecutionId": execution_id, "ExecutionType": execution_type}
    return {member: value for member, value in shown.items() if value}


def execution_of(row: Row[Any]) -> dict[str, Any]:
    """The execution of a state's row."""
    return execution_shape(row.execution_time, row.execution_id, row.execution_type)


def execution_columns(execution: Mapping[str, Any]) -> dict[str, Any]:
    """A ComplianceExecutionSummary as the columns of a state."""
    return {
        "execution_time": execution["ExecutionTime"],
        "execution_id": execution.get("ExecutionId", ""),
        "execution_type": execution.get("ExecutionType", ""),
    }
