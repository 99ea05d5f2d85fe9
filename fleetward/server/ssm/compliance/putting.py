"""PutComplianceItems, and the same for capabilities that keep compliance of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from fleetward.server.call import Call, Resource
from fleetward.server.effects import Compute, Outside
from fleetward.server.errors import AccessDeniedException, AwsError
from fleetward.server.schema import EPOCH, microseconds
from fleetward.server.ssm import nodes, ssm
from fleetward.server.ssm.compliance import items as sets
from fleetward.server.ssm.compliance.items import Item
from fleetward.server.ssm.compliance.table import (
    ADD_CHUNKS,
    ASSOCIATION,
    CHUNKS,
    CUSTOM_TYPES,
    FIND,
    KEPT_BY_NAME,
    MOST_CUSTOM_TYPES,
    PUT,
    REMOVE,
    REMOVE_ALL,
    REMOVE_ALL_CHUNKS,
    REMOVE_CHUNKS,
    ComplianceChanged,
    execution_columns,
)
from fleetward.server.ssm.errors import (
    ComplianceTypeCountLimitExceededException,
    InvalidResourceId,
    InvalidResourceType,
    TotalSizeLimitExceededException,
)
from fleetward.server.ssm.nodes.table import tagged


def _node(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (tagged(call, request["ResourceId"]),)


@ssm.operation("PutComplianceItems", resources=_node, audience="both", grows=True, audit_nodes=False)
def put_compliance_items(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | Outside:
    """Replace a node's items of one type, or merge into them (PARTIAL). An upload whose hash is known changes nothing.

    What a node tells of its associations is taken and not kept: the server keeps that account itself (AP 17).
    """
    node_id, kind = request["ResourceId"], request["ComplianceType"]
    if request["ResourceType"] != nodes.RESOURCE_TYPE:
        raise InvalidResourceType(
            f"The ResourceType can be {nodes.RESOURCE_TYPE} alone, not {request['ResourceType']}."
        )
    by_node = call.caller.kind == "node"
    if by_node and call.caller.node_id != node_id:
        raise AccessDeniedException(f"{call.caller.node_id} may only tell about itself.")
    if not nodes.exists(call, node_id):
        raise InvalidResourceId(f"There is no managed node with the id {node_id!r}.")
    if by_node and kind == ASSOCIATION:
        return {}
    execution, items = request["ExecutionSummary"], request["Items"]
    if request.get("UploadType") == "PARTIAL":
        merge(call, node_id, kind, execution, items)
        return {}
    before, content_hash = _before(call, node_id, kind), request.get("ItemContentHash", "")
    if before is not None and content_hash and before.content_hash == content_hash:
        return {}
    if len(items) > sets.MOST_MERGED and not call.context.outcomes:
        return Outside((Compute(sets.made, (kind, items)),))
    made = call.context.outcomes[0] if call.context.outcomes else sets.made(kind, items)
    if isinstance(made, AwsError):
        raise made
    _store(call, node_id, kind, before, execution, made, content_hash)
    return {}


def replace(
    call: Call, node_id: str, compliance_type: str, execution: Mapping[str, Any], items: Sequence[Item]
) -> None:
    """From now on these are all the node's items of the type, `execution` (AWS's ComplianceExecutionSummary) theirs.

    For up to 2,000 items, which pack within what an entry may take. Raises what PutComplianceItems does where there
    are too many custom types or too large items.
    """
    before = _before(call, node_id, compliance_type)
    _store(call, node_id, compliance_type, before, execution, sets.made(compliance_type, items), "")


def merge(call: Call, node_id: str, compliance_type: str, execution: Mapping[str, Any], items: Sequence[Item]) -> None:
    """Add these items, or put them in the place of those of the same id; the others keep their own execution."""
    before = _before(call, node_id, compliance_type)
    if len(items) + (0 if before is None else sum(map(sum, before.counts))) > sets.MOST_MERGED:
        raise TotalSizeLimitExceededException(
            f"A PARTIAL upload and what it is merged into can have {sets.MOST_MERGED} items at most."
        )
    theirs = _told(execution)
    old = [] if before is None else _with_execution(_items(call, node_id, compliance_type), before)
    whole = sets.merged(old, [{**item, "Execution": theirs} for item in items])
    _store(call, node_id, compliance_type, before, execution, sets.made(compliance_type, whole), "")


def forget(call: Call, node_id: str, compliance_type: str = "") -> None:
    """The node's items of the type, or of every type, are gone."""
    here = {**call.here, "node": node_id}
    if compliance_type:
        call.db.run(REMOVE, {**here, "type": compliance_type})
        call.db.run(REMOVE_CHUNKS, {**here, "type": compliance_type})
    else:
        call.db.run(REMOVE_ALL, here)
        call.db.run(REMOVE_ALL_CHUNKS, here)


@ssm.reaction(nodes.NodeLeft)
def forget_node(call: Call, event: nodes.NodeLeft) -> None:
    """A node that left complies with nothing any more."""
    forget(call, event.node_id)


def execution_told(told: Sequence[Any]) -> tuple[datetime, str, str]:
    """An item's own execution: time, id, type."""
    return EPOCH + timedelta(microseconds=told[0]), told[1], told[2]


def _told(execution: Mapping[str, Any]) -> list[Any]:
    return [
        microseconds(execution["ExecutionTime"]),
        execution.get("ExecutionId", ""),
        execution.get("ExecutionType", ""),
    ]


def _before(call: Call, node_id: str, compliance_type: str) -> Row[Any] | None:
    return call.db.first(FIND, **call.here, node=node_id, type=compliance_type)


def _items(call: Call, node_id: str, compliance_type: str) -> list[Item]:
    contents = call.db.values(CHUNKS, **call.here, node=node_id, type=compliance_type)
    return [item for content in contents for item in sets.unpack(content)]


def _with_execution(items: Iterable[Item], row: Row[Any]) -> list[Item]:
    theirs = [microseconds(row.execution_time), row.execution_id, row.execution_type]
    return [{"Execution": theirs, **item} for item in items]


def _store(
    call: Call,
    node_id: str,
    compliance_type: str,
    before: Row[Any] | None,
    execution: Mapping[str, Any],
    made: tuple[Sequence[bytes], sets.Overall],
    content_hash: str,
) -> None:
    if before is None:
        _check_types(call, node_id, compliance_type)
    contents, state = made
    key = {**call.tenant, "node_id": node_id, "compliance_type": compliance_type}
    row = {"status": state.status, "severity": state.severity, "counts": state.counts, "content_hash": content_hash}
    call.db.run(PUT, {**key, **row, **execution_columns(execution)})
    call.db.run(REMOVE_CHUNKS, {**call.here, "node": node_id, "type": compliance_type})  # after the lock of PUT
    call.db.run(ADD_CHUNKS, [{**key, "number": number, "content": content} for number, content in enumerate(contents)])
    known = "" if before is None else before.status
    if state.status != known:
        call.emit(ComplianceChanged(node_id, compliance_type, state.status, state.severity, known))


def _check_types(call: Call, node_id: str, compliance_type: str) -> None:
    if compliance_type in KEPT_BY_NAME:
        return
    if call.db.value(CUSTOM_TYPES, **call.here, node=node_id) >= MOST_CUSTOM_TYPES:
        raise ComplianceTypeCountLimitExceededException(
            f"A node can have {MOST_CUSTOM_TYPES} custom compliance types at most; {node_id} has them."
        )
