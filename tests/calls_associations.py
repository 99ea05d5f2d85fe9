"""Valid calls of State Manager: associations with the stage's node, and what the node asks and tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Make = Callable[[Any], dict[str, Any]]
AT = 1893456000.0


def create_association(stage: Any) -> dict[str, Any]:
    """Every member that goes with the others."""
    return {
        "Name": "AWS-RunShellScript",
        "AssociationName": "a-call",
        "DocumentVersion": "$DEFAULT",
        "Parameters": {"commands": ["true"]},
        "Targets": [{"Key": "InstanceIds", "Values": [stage.node.node_id]}],
        "ScheduleExpression": "cron(0 2 ? * SUN *)",
        "OutputLocation": {"S3Location": {"OutputS3BucketName": "outputs", "OutputS3KeyPrefix": "associations"}},
        "MaxErrors": "10%",
        "MaxConcurrency": "50",
        "ComplianceSeverity": "HIGH",
        "SyncCompliance": "AUTO",
        "Tags": [{"Key": "env", "Value": "x"}],
    }


def _made(stage: Any) -> str:
    made = stage.root("CreateAssociation", **create_association(stage))
    return str(made["AssociationDescription"]["AssociationId"])


def _legacy(stage: Any) -> dict[str, Any]:
    """An association in the legacy form, with a document of its own."""
    name = stage.document()
    request = {"Name": name, "InstanceId": stage.node.node_id}
    stage.root("CreateAssociation", **request)
    return request


def _update(stage: Any) -> dict[str, Any]:
    return {
        "AssociationId": _made(stage),
        "Name": "AWS-RunShellScript",
        "Parameters": {"commands": ["false"]},
        "Targets": [{"Key": "InstanceIds", "Values": [stage.node.node_id]}],
        "AssociationVersion": "1",
    }


def _batch(stage: Any) -> dict[str, Any]:
    entry = {name: value for name, value in create_association(stage).items() if name != "Tags"}
    return {"Entries": [entry]}


def _list(stage: Any) -> dict[str, Any]:
    filters = [{"key": "Name", "value": "AWS-RunShellScript"}, {"key": "InstanceId", "value": stage.node.node_id}]
    return {"AssociationFilterList": filters, "MaxResults": 5}


def _executions(stage: Any) -> dict[str, Any]:
    filters = [{"Key": "Status", "Value": "Pending", "Type": "EQUAL"}]
    return {"AssociationId": _made(stage), "Filters": filters, "MaxResults": 5}


def _targets(stage: Any) -> dict[str, Any]:
    association_id = _made(stage)
    (execution,) = stage.root("DescribeAssociationExecutions", AssociationId=association_id)["AssociationExecutions"]
    filters = [{"Key": "Status", "Value": "Pending"}]
    return {
        "AssociationId": association_id,
        "ExecutionId": execution["ExecutionId"],
        "Filters": filters,
        "MaxResults": 5,
    }


def _status(stage: Any) -> dict[str, Any]:
    return {**_legacy(stage), "AssociationStatus": {"Date": AT, "Name": "Success", "Message": "It went well."}}


def _report(stage: Any) -> dict[str, Any]:
    result = {
        "Status": "InProgress",
        "ErrorCode": "",
        "ExecutionDate": AT,
        "ExecutionSummary": "Executing association",
        "OutputUrl": {"S3OutputUrl": {"OutputUrl": "outputs/associations"}},
    }
    return {"AssociationId": _made(stage), "InstanceId": stage.node.node_id, "ExecutionResult": result}


ASSOCIATION_CALLS: Mapping[str, tuple[Make, str]] = {
    "ssm:CreateAssociation": (create_association, "root"),
    "ssm:CreateAssociationBatch": (_batch, "root"),
    "ssm:UpdateAssociation": (_update, "root"),
    "ssm:DeleteAssociation": (lambda stage: {"AssociationId": _made(stage)}, "root"),
    "ssm:DescribeAssociation": (lambda stage: {"AssociationId": _made(stage), "AssociationVersion": "1"}, "root"),
    "ssm:ListAssociations": (_list, "root"),
    "ssm:ListAssociationVersions": (lambda stage: {"AssociationId": _made(stage), "MaxResults": 5}, "root"),
    "ssm:StartAssociationsOnce": (lambda stage: {"AssociationIds": [_made(stage)]}, "root"),
    "ssm:UpdateAssociationStatus": (_status, "root"),
    "ssm:DescribeAssociationExecutions": (_executions, "root"),
    "ssm:DescribeAssociationExecutionTargets": (_targets, "root"),
    "ssm:DescribeEffectiveInstanceAssociations": (
        lambda stage: {"InstanceId": stage.node.node_id, "MaxResults": 5},
        "root",
    ),
    "ssm:DescribeInstanceAssociationsStatus": (
        lambda stage: {"InstanceId": stage.node.node_id, "MaxResults": 5},
        "root",
    ),
    "ssm:UpdateInstanceAssociationStatus": (_report, "node"),
}
