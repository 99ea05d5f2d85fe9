"""What nodes tell of associations: in order, again, late, and of what nobody released."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException
from fleetward.server.ssm.errors import StatusUnchanged


def executions(office: Any, association_id: str) -> list[dict[str, Any]]:
    """DescribeAssociationExecutions."""
    found = office.world.call("DescribeAssociationExecutions", {"AssociationId": association_id})
    return list(found["AssociationExecutions"])


def test_a_run_that_nobody_released_is_recorded_as_the_agents(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node])
    office.apply(node)
    office.later(minutes=1)
    office.tell(node, association_id, "InProgress")
    assert len(executions(office, association_id)) == 1
    office.tell(node, association_id, "Failed")
    newest, _ = executions(office, association_id)
    assert (newest["Status"], newest["ResourceCountByStatus"]) == ("Failed", "{Failed=1}")
    named = {name: newest[name] for name in ("AssociationId", "ExecutionId")}
    (target,) = office.world.call("DescribeAssociationExecutionTargets", named)["AssociationExecutionTargets"]
    assert (target["ResourceId"], target["Status"]) == (node, "Failed")
    assert office.overview(association_id) == ("Failed", "Failed", {"Failed": 1})


def test_an_end_told_again_changes_nothing(office: Any) -> None:
    (node,) = office.nodes(1)
    association_id = office.create([node])
    office.tell(node, association_id, "Success")
    office.tell(node, association_id, "Success")
    assert len(executions(office, association_id)) == 1


def test_a_node_that_was_no_target_may_tell_all_the_same(office: Any) -> None:
    one, other = office.nodes(2)
    association_id = office.create([one])
    office.tell(other, association_id, "Success")
    assert office.overview(association_id)[2] == {"Pending": 1, "Success": 1}


def test_what_is_told_of_unknown_associations_is_not_refused(office: Any) -> None:
    (node,) = office.nodes(1)
    office.tell(node, "00000000-0000-4000-8000-000000000000", "Success")
    assert office.world.call("DescribeInstanceAssociationsStatus", {"InstanceId": node}) == {
        "InstanceAssociationStatusInfos": []
    }


def test_a_node_tells_about_itself_alone(office: Any) -> None:
    one, other = office.nodes(2)
    association_id = office.create([one])
    result = {"Status": "Success", "ExecutionDate": office.world.clock.now()}
    request = {"AssociationId": association_id, "InstanceId": one, "ExecutionResult": result}
    with pytest.raises(AccessDeniedException):
        office.world.call("UpdateInstanceAssociationStatus", request, office.fleet.node(other))
    assert office.overview(association_id)[2] == {"Pending": 1}
    office.world.call("UpdateInstanceAssociationStatus", request, office.fleet.node(one))
    assert office.overview(association_id)[2] == {"Success": 1}


def test_agents_of_old_tell_in_their_own_way(office: Any) -> None:
    (node,) = office.nodes(1)
    named = {"Name": "AWS-RunShellScript", "InstanceId": node}
    office.world.call("CreateAssociation", {**named, "Parameters": {"commands": ["true"]}})
    office.work()
    told = {"Date": office.world.clock.now(), "Name": "Success", "Message": "It went well."}
    request = {**named, "AssociationStatus": told}
    found = office.world.call("UpdateAssociationStatus", request, office.fleet.node(node))["AssociationDescription"]
    assert found["Status"] == told
    assert office.overview(found["AssociationId"])[0] == "Success"
    assert office.listed(node) == []
    with pytest.raises(StatusUnchanged):
        office.world.call("UpdateAssociationStatus", request, office.fleet.node(node))
