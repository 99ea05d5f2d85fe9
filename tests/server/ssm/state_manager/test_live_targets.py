"""Targets that come and go: tags, new nodes, nodes that leave."""

from __future__ import annotations

from typing import Any

RED = [{"Key": "tag:team", "Values": ["red"]}]


def tag(office: Any, node_id: str, value: str) -> None:
    """The node carries `team=value` from now on."""
    request = {"ResourceType": "ManagedInstance", "ResourceId": node_id, "Tags": [{"Key": "team", "Value": value}]}
    office.world.call("AddTagsToResource", request)
    office.work()


def test_a_newly_tagged_node_runs_at_once_and_once(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create(Targets=RED)
    assert office.listed(node) == []
    tag(office, node, "red")
    assert office.apply(node) == [association_id]
    tag(office, node, "red")
    assert office.listed(node) == []


def test_a_node_that_loses_its_tag_stops_running_it(office: Any) -> None:
    (node,) = office.nodes(1, tags={"team": "red"})
    association_id = office.create(Targets=RED)
    assert len(office.listed(node)) == 1
    tag(office, node, "blue")
    assert office.listed(node) == []
    assert office.overview(association_id)[2] == {}
    office.world.call("StartAssociationsOnce", {"AssociationIds": [association_id]})
    office.work()
    assert office.listed(node) == []


def test_every_node_means_those_to_come_as_well(office: Any) -> None:
    association_id = office.create(Targets=[{"Key": "InstanceIds", "Values": ["*"]}])
    (node,) = office.nodes(1)
    assert office.apply(node) == [association_id]


def test_a_node_that_left_counts_no_longer(office: Any) -> None:
    one, other = office.nodes(2)
    association_id = office.create([one, other])
    office.apply(other)
    office.world.call("DeregisterManagedInstance", {"InstanceId": one})
    office.work()
    assert office.overview(association_id) == ("Success", "Success", {"Success": 1})


def test_a_new_node_waits_for_what_applies_only_at_its_interval(office: Any) -> None:
    office.create(
        Targets=[{"Key": "InstanceIds", "Values": ["*"]}],
        ScheduleExpression="cron(0 0 ? * * *)",
        ApplyOnlyAtCronInterval=True,
    )
    (node,) = office.nodes(1)
    assert office.listed(node) == []
    office.later(hours=12, minutes=15)
    assert len(office.listed(node)) == 1
