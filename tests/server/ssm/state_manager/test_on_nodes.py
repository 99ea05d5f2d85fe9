"""A node's associations: those in effect, and how they went."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.ssm.errors import InvalidInstanceId


def test_a_nodes_associations_tell_how_they_went(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], AssociationName="weekly")
    url = {"S3OutputUrl": {"OutputUrl": "bucket/prefix"}}
    office.tell(node, association_id, "Failed", "0 success, 1 failed", ErrorCode="ExecutionError", OutputUrl=url)
    (info,) = office.world.call("DescribeInstanceAssociationsStatus", {"InstanceId": node})[
        "InstanceAssociationStatusInfos"
    ]
    assert info == {
        "AssociationId": association_id,
        "Name": "AWS-RunShellScript",
        "DocumentVersion": "$DEFAULT",
        "AssociationVersion": "1",
        "InstanceId": node,
        "ExecutionDate": office.world.clock.now(),
        "Status": "Failed",
        "DetailedStatus": "Failed",
        "ExecutionSummary": "0 success, 1 failed",
        "ErrorCode": "ExecutionE",
        "OutputUrl": url,
        "AssociationName": "weekly",
    }


def test_effective_associations_come_with_their_documents(office: Any) -> None:
    (node,) = office.nodes(1)
    made = sorted(office.create([node]) for _ in range(3))
    pages = office.world.pages(
        "DescribeEffectiveInstanceAssociations", {"InstanceId": node, "MaxResults": 2}, "Associations"
    )
    assert [each["AssociationId"] for page in pages for each in page] == made
    assert "aws:runShellScript" in pages[0][0]["Content"]
    with pytest.raises(InvalidInstanceId):
        office.world.call("DescribeEffectiveInstanceAssociations", {"InstanceId": "mi-" + "0" * 17})
