"""Creating, updating, deleting associations and running them at once."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.ssm.errors import (
    AssociationAlreadyExists,
    AssociationDoesNotExist,
    InvalidAssociation,
    InvalidAssociationVersion,
    InvalidInstanceId,
    UnsupportedPlatformType,
)
from tests.identities import allow

EVERY_WEEK = "cron(0 2 ? * SUN *)"


def test_a_created_association_is_described_as_it_was_asked_for(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create(
        Targets=[{"Key": "instanceids", "Values": [node]}], AssociationName="weekly", ScheduleExpression=EVERY_WEEK
    )
    found = office.describe(association_id)
    assert found["Targets"] == [{"Key": "InstanceIds", "Values": [node]}]
    assert (found["InstanceId"], found["AssociationVersion"]) == (node, "1")
    assert (found["DocumentVersion"], found["ScheduleExpression"]) == ("$DEFAULT", EVERY_WEEK)
    assert found["Status"]["Message"] == "Associated with AWS-RunShellScript"
    (listed,) = office.world.call("ListAssociations", {})["Associations"]
    assert (listed["AssociationId"], listed["AssociationName"]) == (association_id, "weekly")


def test_the_legacy_form_is_there_once_for_a_document_and_node(office: Any) -> None:
    (node,) = office.nodes(1)
    request = {"Name": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, "InstanceId": node}
    office.world.call("CreateAssociation", request)
    with pytest.raises(AssociationAlreadyExists):
        office.world.call("CreateAssociation", request)
    named = {"Name": "AWS-RunShellScript", "InstanceId": node}
    assert office.world.call("DescribeAssociation", named)["AssociationDescription"]["InstanceId"] == node
    with pytest.raises(ValidationException, match="ScheduleExpression"):
        office.world.call("CreateAssociation", {**request, "ScheduleExpression": EVERY_WEEK})
    office.world.call("DeleteAssociation", named)
    with pytest.raises(AssociationDoesNotExist):
        office.world.call("DescribeAssociation", named)


def test_the_legacy_form_wants_a_node_that_can_run_the_document(office: Any) -> None:
    (windows,) = office.nodes(1, platform="Windows")
    request = {"Name": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}
    with pytest.raises(UnsupportedPlatformType):
        office.world.call("CreateAssociation", {**request, "InstanceId": windows})
    with pytest.raises(InvalidInstanceId):
        office.world.call("CreateAssociation", {**request, "InstanceId": "mi-" + "0" * 17})


def test_an_update_unsets_what_it_leaves_out_and_runs_at_once(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], AssociationName="weekly", MaxErrors="5", ScheduleExpression=EVERY_WEEK)
    office.apply(node)
    request = {"AssociationId": association_id, "Name": "AWS-RunShellScript", "Parameters": {"commands": ["false"]}}
    updated = office.world.call("UpdateAssociation", request)["AssociationDescription"]
    office.work()
    assert updated["AssociationVersion"] == "2"
    assert not {"AssociationName", "MaxErrors", "ScheduleExpression"} & set(updated)
    (listed,) = office.listed(node)
    assert listed["Parameters"] == {"commands": ["false"]}
    versions = office.world.call("ListAssociationVersions", {"AssociationId": association_id})["AssociationVersions"]
    assert [each["AssociationVersion"] for each in versions] == ["2", "1"]
    old = office.world.call("DescribeAssociation", {"AssociationId": association_id, "AssociationVersion": "1"})
    assert old["AssociationDescription"]["AssociationName"] == "weekly"
    with pytest.raises(InvalidAssociationVersion):
        office.world.call("UpdateAssociation", {**request, "AssociationVersion": "1"})


def test_an_update_drops_nodes_that_had_not_begun(office: Any) -> None:
    nodes = office.nodes(3)
    association_id = office.create(nodes, MaxConcurrency="1")
    office.tell(nodes[0], association_id, "InProgress")
    office.world.call("UpdateAssociation", {"AssociationId": association_id, "Parameters": {"commands": ["false"]}})
    office.work()
    assert [[each["Parameters"]["commands"] for each in office.listed(node)] for node in nodes] == [
        [["true"]],
        [["false"]],
        [["false"]],
    ]
    office.tell(nodes[0], association_id, "Success")
    assert office.listed(nodes[0])[0]["Parameters"] == {"commands": ["false"]}


def test_nothing_runs_at_once_that_applies_only_at_its_interval(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], ScheduleExpression=EVERY_WEEK, ApplyOnlyAtCronInterval=True)
    assert office.listed(node) == []
    office.later(days=7)
    assert office.apply(node) == [association_id]


def test_a_batch_makes_what_can_be_made(office: Any) -> None:
    (node,) = office.nodes(1)
    targets = [{"Key": "InstanceIds", "Values": [node]}]
    good = {"Name": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, "Targets": targets}
    bad = {**good, "ScheduleExpression": "rate(1 minute)"}
    made = office.world.call("CreateAssociationBatch", {"Entries": [good, bad]})
    assert [each["Name"] for each in made["Successful"]] == ["AWS-RunShellScript"]
    assert [(each["Entry"], each["Fault"]) for each in made["Failed"]] == [(bad, "Client")]
    assert "30 minutes" in made["Failed"][0]["Message"]


def test_associations_started_once_run_on_all_their_nodes(office: Any) -> None:
    nodes = office.nodes(2)
    association_id = office.create(nodes, ScheduleExpression=EVERY_WEEK)
    for node in nodes:
        office.apply(node)
    office.world.call("StartAssociationsOnce", {"AssociationIds": [association_id]})
    office.work()
    assert [office.apply(node) for node in nodes] == [[association_id], [association_id]]
    with pytest.raises(InvalidAssociation):
        office.world.call("StartAssociationsOnce", {"AssociationIds": [association_id] * 2})


def test_an_association_carries_tags_that_policies_can_ask_for(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], Tags=[{"Key": "team", "Value": "red"}])
    found = office.world.call("ListTagsForResource", {"ResourceType": "Association", "ResourceId": association_id})
    assert found["TagList"] == [{"Key": "team", "Value": "red"}]
    blue = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    caller = office.world.as_role(allow("ssm:DeleteAssociation", Condition=blue))
    with pytest.raises(AccessDeniedException):
        office.world.call("DeleteAssociation", {"AssociationId": association_id}, caller)


def test_an_update_is_decided_on_all_that_the_association_will_be(office: Any) -> None:
    """What a request leaves out stays, so the document and the nodes are decided on whether it names them or not."""
    mine, other = office.nodes(2)
    association_id = office.create([mine])
    resources = [f"arn:aws:ssm:*:*:{kind}/*" for kind in ("association", "document", "managed-instance")]
    update = {"AssociationId": association_id, "Parameters": {"commands": ["true"]}}
    office.world.call("UpdateAssociation", update, office.world.as_role(allow("ssm:UpdateAssociation", on=resources)))
    elsewhere = {"Targets": [{"Key": "InstanceIds", "Values": [other]}]}
    for missing in resources:
        granted = [each for each in resources if each != missing]
        caller = office.world.as_role(allow("ssm:UpdateAssociation", on=granted))
        for more in ({}, elsewhere, {"Name": "AWS-RunShellScript", **elsewhere}):
            with pytest.raises(AccessDeniedException):
                office.world.call("UpdateAssociation", {**update, **more}, caller)
