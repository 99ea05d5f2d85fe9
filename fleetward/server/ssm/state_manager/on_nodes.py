"""On nodes: which associations are in effect on a node, and how they went there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import and_, bindparam, select

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.schema import in_tenant, same_tenant
from fleetward.server.ssm import documents, nodes, ssm
from fleetward.server.ssm.documents import convert
from fleetward.server.ssm.errors import InvalidDocument, InvalidDocumentVersion
from fleetward.server.ssm.state_manager import table

PAGE = 50
EFFECTIVE_PAGE = 5
ERROR_CODE_LIMIT = 10

OF_NODE = (
    select(
        table.releases,
        table.associations.c.definition,
        table.associations.c.name,
        table.associations.c.association_name,
        table.associations.c.version.label("newest"),
    )
    .join(
        table.associations,
        and_(
            *same_tenant(table.associations, table.releases),
            table.associations.c.association_id == table.releases.c.association_id,
        ),
    )
    .where(
        *in_tenant(table.releases),
        table.releases.c.node_id == bindparam("node"),
        table.releases.c.association_id > bindparam("after"),
    )
    .order_by(table.releases.c.association_id)
    .limit(bindparam("most"))
)


def _node(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return [nodes.table.tagged(call, request["InstanceId"])]


@ssm.operation("DescribeEffectiveInstanceAssociations", resources=_node, reads=True)
def describe_effective_instance_associations(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A node's associations with the documents that they run."""
    page, token = _page(call, "DescribeEffectiveInstanceAssociations", request, EFFECTIVE_PAGE)
    return {
        "Associations": [
            {
                "AssociationId": row.association_id,
                "InstanceId": row.node_id,
                "AssociationVersion": str(row.newest),
                **_content(call, row.definition),
            }
            for row in page
        ],
        **token,
    }


@ssm.operation("DescribeInstanceAssociationsStatus", resources=_node, reads=True)
def describe_instance_associations_status(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """How a node's associations went when they ran last."""
    page, token = _page(call, "DescribeInstanceAssociationsStatus", request, PAGE)
    return {"InstanceAssociationStatusInfos": [_info(row) for row in page], **token}


def _page(call: Call, operation: str, request: Mapping[str, Any], most: int) -> tuple[Any, dict[str, str]]:
    nodes.require(call, [request["InstanceId"]])
    after = paging.decode(operation, request.get("NextToken"))
    limit = request.get("MaxResults", most)
    found = {"node": request["InstanceId"], "after": str(after[0]) if after else "", "most": limit + 1}
    rows = call.db.all(OF_NODE, **call.here, **found)
    return paging.page(operation, rows, limit, lambda row: [row.association_id])


def _content(call: Call, definition: Mapping[str, Any]) -> dict[str, str]:
    try:
        document = documents.resolve(call, definition["Name"], definition["DocumentVersion"])
    except (InvalidDocument, InvalidDocumentVersion):
        return {}  # deleted since
    return {"Content": convert.write(document.content, "JSON")}


def _info(row: Any) -> dict[str, Any]:
    info = {
        "AssociationId": row.association_id,
        "Name": row.name,
        "DocumentVersion": row.definition["DocumentVersion"],
        "AssociationVersion": str(row.version),
        "InstanceId": row.node_id,
        "ExecutionDate": row.executed_at or row.released_at,
        "Status": table.coarse(row.detailed_status),
        "DetailedStatus": row.detailed_status,
        "ErrorCode": row.error_code[:ERROR_CODE_LIMIT],
    }
    if row.summary:
        info["ExecutionSummary"] = row.summary
    if row.association_name:
        info["AssociationName"] = row.association_name
    if row.output_url:
        info["OutputUrl"] = {"S3OutputUrl": {"OutputUrl": row.output_url}}
    return info
