"""The `office` fixture: associations are made, released, and applied by nodes that ask and tell as agents do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest

from fleetward.server import mailbox, presence
from fleetward.server.call import Sent, service_context
from fleetward.server.service import Entry
from fleetward.server.ssm import run_command, ssm, state_manager

OWNER = "server"
SHELL = {"Name": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}


class Office:
    """One account with nodes; everything goes through the real entries."""

    def __init__(self, world: Any, fleet: Any) -> None:
        self.world = world
        self.fleet = fleet
        self.context = service_context(world.account, world.region)
        self._take = Entry("take", mailbox.take(ssm.messages.__getitem__), together=100, audit=False)

    def nodes(self, number: int, platform: str = "Linux", **facts: Any) -> list[str]:
        """New nodes with open channels, in order of id."""
        made = sorted(self.fleet.admit(**facts) for _ in range(number))
        for node_id in made:
            self.fleet.beat(node_id, PlatformType=platform)
            self.connect(node_id)
        self.work()
        return made

    def connect(self, node_id: str) -> None:
        """The node opens a channel."""
        members = [Sent(self.context, (node_id, OWNER, "3.3.0.0"))]
        self.world.do(lambda call: presence.connect(call, members))

    def create(self, node_ids: Sequence[str] = (), **members: Any) -> str:
        """CreateAssociation of a script, and what it starts; the association's id."""
        targets = {"Targets": [{"Key": "InstanceIds", "Values": list(node_ids)}]} if node_ids else {}
        made = self.world.call("CreateAssociation", {**SHELL, **targets, **members})["AssociationDescription"]
        self.work()
        return str(made["AssociationId"])

    def work(self) -> None:
        """Run all jobs that are due, and those they start."""
        self.world.work(OWNER)

    def later(self, **time: float) -> None:
        """Let time pass, then run what it starts."""
        self.world.clock.advance(timedelta(**time))
        self.world.do(run_command.release.time_out)
        while self.world.do(state_manager.schedules.begin_due):
            pass
        self.work()

    def take(self, node_id: str) -> list[Mapping[str, Any]]:
        """The contents of the jobs that go out to the node now."""
        row = self.world.do(
            lambda call: call.db.first(presence.CURRENT, account=call.account, in_region=call.region, nodes=[node_id])
        )
        sent = self.world.submit(self._take, self.context, (node_id, row.epoch))
        return [orjson.loads(message.content) for message in sent]

    def listed(self, node_id: str) -> list[dict[str, Any]]:
        """What ListInstanceAssociations tells the node."""
        found = self.world.call("ListInstanceAssociations", {"InstanceId": node_id}, self.fleet.node(node_id))
        return list(found["Associations"])

    def tell(self, node_id: str, association_id: str, status: str, summary: str = "", **members: Any) -> None:
        """The node reports about an association."""
        result = {"Status": status, "ExecutionDate": self.world.clock.now(), "ExecutionSummary": summary, **members}
        request = {"AssociationId": association_id, "InstanceId": node_id, "ExecutionResult": result}
        self.world.call("UpdateInstanceAssociationStatus", request, self.fleet.node(node_id))
        self.work()

    def apply(self, node_id: str, status: str = "Success") -> list[str]:
        """The node runs what is released for it; the ids of the associations."""
        ids = [each["AssociationId"] for each in self.listed(node_id) if each["DetailedStatus"] == "Pending"]
        for association_id in ids:
            self.tell(node_id, association_id, "InProgress", "Executing association")
            self.tell(node_id, association_id, status, f"1 out of 1 plugin processed, {status}")
        return ids

    def describe(self, association_id: str) -> dict[str, Any]:
        """DescribeAssociation."""
        found = self.world.call("DescribeAssociation", {"AssociationId": association_id})
        return dict(found["AssociationDescription"])

    def overview(self, association_id: str) -> tuple[str, str, dict[str, int]]:
        """Status, DetailedStatus and the numbers of nodes."""
        found = self.describe(association_id)["Overview"]
        return found["Status"], found["DetailedStatus"], found.get("AssociationStatusAggregatedCount", {})


@pytest.fixture
def office(world: Any, fleet: Any) -> Office:
    """State Manager's office."""
    return Office(world, fleet)
