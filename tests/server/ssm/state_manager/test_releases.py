"""What is released for nodes: announced, listed, superseded, and closed."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException


def test_a_new_association_is_released_announced_and_shown_to_its_node(office: Any) -> None:
    node, other = office.nodes(2)
    association_id = office.create([node])
    (refresh,) = office.take(node)
    (plugin,) = refresh["DocumentContent"]["runtimeConfig"].values()
    assert isinstance(plugin["properties"], dict), "written as an array it would run everything"
    assert refresh["Parameters"]["associationIds"] == [refresh["CommandId"]] != [association_id]
    (listed,) = office.listed(node)
    assert listed["AssociationId"] == association_id
    assert (listed["Name"], listed["DocumentVersion"], listed["InstanceId"]) == ("AWS-RunShellScript", "1", node)
    assert listed["Parameters"] == {"commands": ["true"]}
    assert listed["Checksum"]
    assert listed["DetailedStatus"] == "Pending"
    assert "ScheduleExpression" not in listed
    assert (office.take(other), office.listed(other)) == ([], [])


def test_the_first_report_makes_it_in_progress_and_only_a_final_one_closes_it(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node])
    for word in ("Pending", "InProgress", "Pending"):
        office.tell(node, association_id, word)
        assert [each["DetailedStatus"] for each in office.listed(node)] == ["InProgress"]
        assert office.overview(association_id) == ("Pending", "InProgress", {"InProgress": 1})
    office.tell(node, association_id, "Success")
    assert office.listed(node) == []
    assert office.overview(association_id) == ("Success", "Success", {"Success": 1})
    assert office.describe(association_id)["LastSuccessfulExecutionDate"] == office.world.clock.now()


def test_nodes_learn_of_their_own_associations_alone(office: Any) -> None:
    one, other = office.nodes(2)
    request = {"InstanceId": one}
    with pytest.raises(AccessDeniedException):
        office.world.call("ListInstanceAssociations", request, office.fleet.node(other))


def test_a_schedule_is_never_shown_to_a_node(office: Any) -> None:
    (node,) = office.nodes(1)
    office.create([node], ScheduleExpression="rate(30 minutes)")
    (listed,) = office.listed(node)
    assert "ScheduleExpression" not in listed


def test_what_a_node_was_away_for_runs_once(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node], ScheduleExpression="rate(1 hour)")
    for _ in range(5):
        office.later(hours=1)
    assert len(office.take(node)) == 1
    assert office.apply(node) == [association_id]
    assert office.apply(node) == []
    assert office.overview(association_id) == ("Success", "Success", {"Success": 1})


def test_a_run_that_goes_is_not_released_again_before_it_ends(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node])
    office.tell(node, association_id, "InProgress")
    for _ in range(3):
        office.world.call("StartAssociationsOnce", {"AssociationIds": [association_id]})
        office.work()
    assert [each["DetailedStatus"] for each in office.listed(node)] == ["InProgress"]
    office.tell(node, association_id, "Success")
    assert office.apply(node) == [association_id]
    assert office.listed(node) == []


def test_a_lost_final_report_ends_timed_out(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node])
    office.tell(node, association_id, "InProgress")
    office.later(hours=2)
    assert office.overview(association_id)[1] == "InProgress"
    office.later(hours=2)
    assert office.overview(association_id) == ("Failed", "Failed", {"TimedOut": 1})
    assert office.listed(node) == []
    office.tell(node, association_id, "Success")
    assert office.overview(association_id) == ("Success", "Success", {"Success": 1})


def test_each_run_is_an_invocation_of_run_command(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node])
    office.apply(node)
    (command,) = office.world.call("ListCommands", {})["Commands"]
    (invocation,) = office.world.call("ListCommandInvocations", {"Details": True})["CommandInvocations"]
    assert command["Comment"].startswith(f"{association_id}:")
    assert (invocation["InstanceId"], invocation["Status"]) == (node, "Success")
    assert invocation["CommandId"] == command["CommandId"]


def test_a_deleted_association_is_gone_from_its_nodes(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node])
    office.world.call("DeleteAssociation", {"AssociationId": association_id})
    assert office.listed(node) == []
    office.work()
    office.tell(node, association_id, "Success")
    assert office.world.call("ListAssociations", {})["Associations"] == []
    (command,) = office.world.call("ListCommands", {})["Commands"]
    assert command["Status"] == "Cancelled"


def test_nodes_follow_each_other_as_rate_control_allows(office: Any) -> None:
    nodes = office.nodes(3)
    association_id = office.create(nodes, MaxConcurrency="1", MaxErrors="0")
    assert [len(office.listed(node)) for node in nodes] == [1, 0, 0]
    office.apply(nodes[0])
    assert [len(office.listed(node)) for node in nodes] == [0, 1, 0]
    office.apply(nodes[1], "Failed")
    assert [len(office.listed(node)) for node in nodes] == [0, 0, 0]
    assert office.overview(association_id)[:2] == ("Failed", "Failed")
    office.world.call("StartAssociationsOnce", {"AssociationIds": [association_id]})
    office.work()
    assert [len(office.listed(node)) for node in nodes] == [1, 0, 0]
