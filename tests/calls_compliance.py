"""Valid calls of compliance, for the stage's node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Make = Callable[[Any], dict[str, Any]]


def _upload(stage: Any) -> dict[str, Any]:
    return {
        "ResourceId": stage.node.node_id,
        "ResourceType": "ManagedInstance",
        "ComplianceType": "Custom:Calls",
        "ExecutionSummary": {"ExecutionTime": 1_900_000_000, "ExecutionId": "one", "ExecutionType": "Command"},
        "Items": [{"Id": "a", "Title": "A", "Severity": "HIGH", "Status": "COMPLIANT", "Details": {"Why": "b"}}],
        "ItemContentHash": "none",
        "UploadType": "COMPLETE",
    }


def _uploaded(stage: Any) -> dict[str, Any]:
    stage.root("PutComplianceItems", **_upload(stage))
    filters = [{"Key": "ComplianceType", "Values": ["Custom:Calls"], "Type": "EQUAL"}]
    return {"Filters": filters, "MaxResults": 5}


def _items(stage: Any) -> dict[str, Any]:
    return {**_uploaded(stage), "ResourceIds": [stage.node.node_id], "ResourceTypes": ["ManagedInstance"]}


COMPLIANCE_CALLS: Mapping[str, Make] = {
    "ssm:PutComplianceItems": _upload,
    "ssm:ListComplianceItems": _items,
    "ssm:ListComplianceSummaries": _uploaded,
    "ssm:ListResourceComplianceSummaries": _uploaded,
}
