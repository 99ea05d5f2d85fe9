"""Fleetward's own operations without their edge: trust in nodes, leaving, halting, the audit trail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetward.server import audit, own
from fleetward.server.errors import AccessDeniedException
from fleetward.server.ssm.errors import InvalidInstanceId
from tests.server.ssm.conftest import Fleet
from tests.server.test_ec2messages_rules import Road


@pytest.fixture
def fleet(world: Any) -> Fleet:
    """Machines of `world`, which offers our own operations too."""
    world.services["fleetward"] = own.own
    return Fleet(world)


def ask(world: Any, operation: str, node_id: str) -> Any:
    """One of our operations about a node, as root."""
    return world.call(f"fleetward:{operation}", {"InstanceId": node_id})


def test_a_changed_fingerprint_is_shown_and_approved(world: Any, fleet: Fleet) -> None:
    world.with_settings(fingerprint_policy="approve")
    node_id = fleet.join()
    known = ask(world, "DescribeNodeTrust", node_id)
    with pytest.raises(AccessDeniedException, match="approve"):
        fleet.token(node_id, "second")
    waiting = ask(world, "DescribeNodeTrust", node_id)
    assert waiting != known
    assert waiting["FingerprintState"] == "Waiting"
    ask(world, "ApproveNode", node_id)
    assert fleet.is_good(fleet.token(node_id, "second"))
    assert ask(world, "DescribeNodeTrust", node_id)["FingerprintState"] == "Known"


def test_a_quarantined_node_is_released(world: Any, fleet: Fleet) -> None:
    node_id = fleet.join()
    for fingerprint in ("first", "clone", "first"):
        fleet.token(node_id, fingerprint)
    for fingerprint in ("clone", "first"):
        with pytest.raises(AccessDeniedException, match="quarantined"):
            fleet.token(node_id, fingerprint)
    ask(world, "ReleaseNode", node_id)
    assert fleet.is_good(fleet.token(node_id, "first"))


def test_a_node_is_asked_for_a_new_key(world: Any, fleet: Fleet) -> None:
    node_id = fleet.join()
    assert fleet.token(node_id)["UpdateKeyPair"] is False
    ask(world, "RotateNodeKey", node_id)
    assert fleet.token(node_id)["UpdateKeyPair"] is True


@pytest.mark.parametrize("operation", ["DescribeNodeTrust", "ApproveNode", "ReleaseNode", "RotateNodeKey"])
def test_unknown_nodes_are_named_as_such(world: Any, fleet: Fleet, operation: str) -> None:
    with pytest.raises(InvalidInstanceId):
        ask(world, operation, "mi-00000000000000000")


def test_a_node_leaves_by_itself(world: Any, fleet: Fleet) -> None:
    node_id = fleet.join()
    world.call("fleetward:Leave", {}, fleet.node(node_id))
    assert world.call("DescribeInstanceInformation")["InstanceInformationList"] == []
    with pytest.raises(AccessDeniedException):
        world.call("fleetward:Leave", {}, "root")


def test_while_halted_no_command_goes_out_and_afterwards_all_do(world: Any, fleet: Fleet) -> None:
    road = Road(world)
    assert world.call("fleetward:DescribeHalt") == {"Halted": False}
    world.call("fleetward:Halt", {"Reason": "a bad document"})
    state = world.call("fleetward:DescribeHalt")
    assert (state["Halted"], state["Reason"], state["Since"]) == (True, "a bad document", world.clock.now())
    held = road.send()
    assert road.poll() == []
    world.call("fleetward:Resume")
    assert world.call("fleetward:DescribeHalt") == {"Halted": False}
    road.work()
    assert road.poll() == [held]


def test_the_audit_trail_is_told_in_order_and_page_by_page(world: Any, fleet: Fleet) -> None:
    world.runner.record = audit.record
    for number in range(3):
        world.call("CreateActivation", {"IamRole": "SSMServiceRole", "Description": f"number {number}"})
    assert world.call("fleetward:ListAuditRecords", {"After": 0})["Records"] == []
    world.do(audit.seal)
    first = world.call("fleetward:ListAuditRecords", {"After": 0, "MaxResults": 2})["Records"]
    rest = world.call("fleetward:ListAuditRecords", {"After": first[-1]["Sequence"]})["Records"]
    assert [record["Sequence"] for record in first + rest] == [1, 2, 3]
    assert len({record["Hash"] for record in first + rest}) == 3
    told = [json.loads(record["Body"]) for record in first + rest]
    assert {body["eventName"] for body in told} == {"CreateActivation"}
    assert sorted(body["requestParameters"]["Description"] for body in told) == ["number 0", "number 1", "number 2"]
