"""DeleteInventory and DescribeInventoryDeletions: custom types and what nodes told of them, by a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Index, Row, String, Table, bindparam, false, insert, select, tuple_, update

from fleetward.server import jobs, paging
from fleetward.server.call import Call
from fleetward.server.jobs import DONE, Job, Next
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import InvalidDeletionIdException, InvalidTypeNameException
from fleetward.server.ssm.inventory import custom
from fleetward.server.ssm.inventory.table import PUT_CUSTOM, REMOVE_CUSTOM, VERSIONS_OF_TYPE, empty, items
from fleetward.server.ssm.inventory.types import CUSTOM

KIND = "inventory-deletion"
AT_ONCE = 100
PAGE = 50
IN_PROGRESS, COMPLETE = "InProgress", "Complete"

deletions = Table(
    "inventory_deletions",
    metadata,
    *tenant(),
    Column("deletion_id", String(36), primary_key=True),
    Column("type_name", String(100), nullable=False),
    Column("client_token", String(36), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("status", String(16), nullable=False),
    Column("versions", Json, nullable=False),  # [[schema version, nodes that had it, nodes that have it still]]
    Index("inventory_deletions_started", "account_id", "region", "started_at", "deletion_id"),
)

ADD = insert(deletions)
FIND = select(deletions).where(*in_tenant(deletions), deletions.c.deletion_id == bindparam("deletion"))
BY_TOKEN = select(deletions).where(
    *in_tenant(deletions), deletions.c.client_token == bindparam("token"), deletions.c.type_name == bindparam("type")
)
ADVANCE = (
    update(deletions)
    .where(*in_tenant(deletions), deletions.c.deletion_id == bindparam("deletion"))
    .values(status=bindparam("to_status"), versions=bindparam("left", type_=Json), changed_at=bindparam("now"))
)
TOLD = (
    select(items.c.node_id, items.c.type_name, items.c.ordinal, items.c.schema_version)
    .where(
        *in_tenant(items),
        items.c.type_name == bindparam("type"),
        items.c.changed_at <= bindparam("before"),
        items.c.gone.is_(false()),
    )
    .limit(bindparam("most"))
)
_KEY = (deletions.c.started_at, deletions.c.deletion_id)
LATEST = (
    select(deletions).where(*in_tenant(deletions)).order_by(*(each.desc() for each in _KEY)).limit(bindparam("most"))
)
LATEST_AFTER = LATEST.where(tuple_(*_KEY) < tuple_(bindparam("at", type_=UtcDateTime), bindparam("deletion")))


@ssm.operation("DeleteInventory")
def delete_inventory(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove what nodes told of a custom type, and the type itself or, by DisableSchema, what is told of its version.

    Ours: without SchemaDeleteOption the type is deleted. What is told after this call is kept.
    """
    name = request["TypeName"]
    if not name.startswith(CUSTOM):
        raise InvalidTypeNameException(f"Custom types alone can be deleted, not {name}.")
    token = request.get("ClientToken", "")
    before = call.db.first(BY_TOKEN, **call.here, token=token, type=name) if token else None
    if before is not None:
        return _begun(before.deletion_id, name, before.versions)
    kind = custom.find(call, name)
    versions = [[version, number, number] for version, number in call.db.all(VERSIONS_OF_TYPE, **call.here, type=name)]
    if request.get("DryRun", False):
        return {"TypeName": name, "DeletionSummary": _summary(versions)}
    if request.get("SchemaDeleteOption") == "DisableSchema":
        row = {"type_name": name, "version": kind.version, "attributes": list(kind.attributes)}
        call.db.run(PUT_CUSTOM, {**call.tenant, **row, "disabled": kind.version})
    else:
        call.db.run(REMOVE_CUSTOM, {**call.here, "type": name})
    deletion_id = call.new_id()
    row = {"deletion_id": deletion_id, "type_name": name, "client_token": token, "status": IN_PROGRESS}
    call.db.run(ADD, {**call.tenant, **row, "started_at": call.now, "changed_at": call.now, "versions": versions})
    jobs.start(call, KIND, deletion_id, {})
    return _begun(deletion_id, name, versions)


@ssm.job(KIND)
def delete_chunk(call: Call, job: Job) -> Next:
    """What some nodes told is gone; the deletion is complete when none is left."""
    deletion = call.db.first(FIND, **call.here, deletion=job.key)
    if deletion is None or deletion.status == COMPLETE:
        return DONE
    told = call.db.all(TOLD, **call.here, type=deletion.type_name, before=deletion.started_at, most=AT_ONCE)
    empty(call, told)
    counts = {version: left for version, _, left in deletion.versions}
    for row in told:
        counts[row.schema_version] = max(0, counts.get(row.schema_version, 0) - 1)
    is_last = len(told) < AT_ONCE
    left = [[version, number, 0 if is_last else counts[version]] for version, number, _ in deletion.versions]
    status = COMPLETE if is_last else IN_PROGRESS
    call.db.run(ADVANCE, {**call.here, "deletion": job.key, "to_status": status, "left": left, "now": call.now})
    return DONE if is_last else Next("start")


@ssm.operation("DescribeInventoryDeletions", reads=True)
def describe_inventory_deletions(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Deletions and how far they are, the latest first."""
    if "DeletionId" in request:
        row = call.db.first(FIND, **call.here, deletion=request["DeletionId"])
        if row is None:
            raise InvalidDeletionIdException(f"There is no deletion {request['DeletionId']}.")
        return {"InventoryDeletions": [_shape(row)]}
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("DescribeInventoryDeletions", request.get("NextToken"))
    if after is None:
        rows = call.db.all(LATEST, **call.here, most=limit + 1)
    else:
        last = call.db.first(FIND, **call.here, deletion=after[0])
        at = call.now if last is None else last.started_at
        rows = call.db.all(LATEST_AFTER, **call.here, most=limit + 1, at=at, deletion=after[0])
    page, more = paging.page("DescribeInventoryDeletions", rows, limit, lambda row: [row.deletion_id])
    return {"InventoryDeletions": [_shape(row) for row in page], **more}


def _begun(deletion_id: str, name: str, versions: list[list[Any]]) -> dict[str, Any]:
    return {"DeletionId": deletion_id, "TypeName": name, "DeletionSummary": _summary(versions)}


def _shape(row: Row[Any]) -> dict[str, Any]:
    return {
        "DeletionId": row.deletion_id,
        "TypeName": row.type_name,
        "DeletionStartTime": row.started_at,
        "LastStatus": row.status,
        "LastStatusMessage": "Deletion is in progress" if row.status == IN_PROGRESS else "Deletion is complete",
        "DeletionSummary": _summary(row.versions),
        "LastStatusUpdateTime": row.changed_at,
    }


def _summary(versions: list[list[Any]]) -> dict[str, Any]:
    return {
        "TotalCount": sum(number for _, number, _ in versions),
        "RemainingCount": sum(left for _, _, left in versions),
        "SummaryItems": [
            {"Version": version, "Count": number, "RemainingCount": left} for version, number, left in versions
        ],
    }
