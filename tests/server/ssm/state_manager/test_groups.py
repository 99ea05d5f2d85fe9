"""Resource groups as targets: what is put into a group runs its associations, what is taken out does not any more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetward.server import resource_groups
from fleetward.server.ssm.errors import InvalidTarget

CHOSEN = [{"Key": "resource-groups:Name", "Values": ["chosen"]}]


def group(office: Any, operation: str, **request: Any) -> None:
    office.world.services["resource-groups"] = resource_groups.resource_groups
    office.world.call(f"resource-groups:{operation}", request)
    office.work()


def arns(*node_ids: str) -> list[str]:
    return [f"arn:aws:ssm:us-east-1:123456789012:managed-instance/{node_id}" for node_id in node_ids]


def query(team: str) -> dict[str, str]:
    asked = {
        "ResourceTypeFilters": ["AWS::SSM::ManagedInstance"],
        "TagFilters": [{"Key": "team", "Values": [team]}],
    }
    return {"Type": "TAG_FILTERS_1_0", "Query": json.dumps(asked)}


def test_a_node_that_is_put_into_a_group_runs_its_associations_at_once(office: Any) -> None:
    here, other = office.nodes(2)
    group(office, "CreateGroup", Name="chosen")
    group(office, "GroupResources", Group="chosen", ResourceArns=arns(here))
    association_id = office.create(Targets=CHOSEN)
    assert office.apply(here) == [association_id]
    assert office.listed(other) == []
    group(office, "GroupResources", Group="chosen", ResourceArns=arns(other))
    assert office.apply(other) == [association_id]
    assert office.listed(here) == []  # it ran already
    group(office, "UngroupResources", Group="chosen", ResourceArns=arns(here))
    assert office.overview(association_id) == ("Success", "Success", {"Success": 1})
    group(office, "DeleteGroup", Group="chosen")
    assert office.overview(association_id)[2] == {}


def test_a_group_by_query_follows_tags_and_its_query(office: Any) -> None:
    (red,) = office.nodes(1, tags={"team": "red"})
    (blue,) = office.nodes(1, tags={"team": "blue"})
    group(office, "CreateGroup", Name="chosen", ResourceQuery=query("red"))
    association_id = office.create(Targets=CHOSEN)
    assert office.apply(red) == [association_id]
    group(office, "UpdateGroupQuery", GroupName="chosen", ResourceQuery=query("blue"))
    assert office.apply(blue) == [association_id]
    assert office.overview(association_id)[2] == {"Success": 1}
    tags = [{"Key": "team", "Value": "blue"}]
    office.world.call("AddTagsToResource", {"ResourceType": "ManagedInstance", "ResourceId": red, "Tags": tags})
    office.work()
    assert office.apply(red) == [association_id]


def test_a_group_must_be_there_and_be_one(office: Any) -> None:
    for targets in (CHOSEN, [{"Key": "resource-groups:Name", "Values": ["a", "b"]}]):
        with pytest.raises(InvalidTarget):
            office.create(Targets=targets)
