"""Valid calls of inventory, for the stage's node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Make = Callable[[Any], dict[str, Any]]

TYPE = "Custom:Calls"


def _put(stage: Any) -> dict[str, Any]:
    told = {
        "TypeName": TYPE,
        "SchemaVersion": "1.0",
        "CaptureTime": "2030-01-01T00:00:00Z",
        "ContentHash": "one",
        "Content": [{"Rack": "a"}],
    }
    network = {**told, "TypeName": "AWS:ComplianceItem", "Context": {"ComplianceType": "Patch"}}
    return {"InstanceId": stage.node.node_id, "Items": [told, network]}


def _entries(stage: Any) -> dict[str, Any]:
    stage.root("PutInventory", **_put(stage))
    filters = [{"Key": f"{TYPE}.Rack", "Values": ["a"], "Type": "Equal"}]
    return {"InstanceId": stage.node.node_id, "TypeName": TYPE, "Filters": filters, "MaxResults": 5}


def _inventory(stage: Any) -> dict[str, Any]:
    filters = _entries(stage)["Filters"]
    nested = [{"Expression": "AWS:InstanceInformation.PlatformType"}]
    groups = [{"Name": "racks", "Filters": [{"Key": "TypeName", "Values": [TYPE], "Type": "Exists"}]}]
    aggregators = [{"Expression": f"{TYPE}.Rack", "Aggregators": nested}, {"Groups": groups}]
    return {"Filters": filters, "Aggregators": aggregators, "MaxResults": 5}


def _deletion(stage: Any) -> dict[str, Any]:
    stage.root("PutInventory", **_put(stage))
    token = "00000000-0000-4000-8000-000000000001"
    return {"TypeName": TYPE, "SchemaDeleteOption": "DeleteSchema", "DryRun": False, "ClientToken": token}


def _deletions(stage: Any) -> dict[str, Any]:
    stage.root("PutInventory", **_put(stage))
    return {"DeletionId": stage.root("DeleteInventory", TypeName=TYPE)["DeletionId"], "MaxResults": 5}


INVENTORY_CALLS: Mapping[str, Make] = {
    "ssm:PutInventory": _put,
    "ssm:DeleteInventory": _deletion,
    "ssm:DescribeInventoryDeletions": _deletions,
    "ssm:ListInventoryEntries": _entries,
    "ssm:GetInventory": _inventory,
    "ssm:GetInventorySchema": lambda _: {"TypeName": "AWS:", "MaxResults": 50, "Aggregator": True, "SubType": False},
}
