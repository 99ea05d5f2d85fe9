"""Commands that another capability carries: told by events, and ended by what it reports."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fleetward.protocol.status import InvocationStatus
from fleetward.server.call import Call
from fleetward.server.ssm import documents
from fleetward.server.ssm.run_command import commands, reported
from fleetward.server.ssm.run_command.reported import Report


def begin(desk: Any, node_ids: list[str], **options: str) -> str:
    """A command that somebody else carries."""

    def run(call: Call) -> str:
        document = documents.resolve(call, "AWS-RunShellScript")
        asked = {"Parameters": {"commands": ["true"]}, **options}
        targets = commands.Targets(tuple(node_ids))
        return str(commands.begin(call, document, targets, asked, carrier="somebody")["command_id"])

    command_id: str = desk.world.do(run)
    desk.work()
    return command_id


def tell(desk: Any, command_id: str, node_id: str, status: InvocationStatus) -> None:
    """The carrier reports."""
    report = Report(command_id, node_id, status, "told")
    desk.world.do(lambda call: reported.record(call, [report], grace=timedelta(hours=2)))
    desk.work()


def test_nothing_goes_to_nodes_and_reports_release_the_next(desk: Any) -> None:
    nodes = desk.nodes(2)
    command_id = begin(desk, nodes, MaxConcurrency="1")
    assert [desk.take(node) for node in nodes] == [[], []]
    tell(desk, command_id, nodes[0], InvocationStatus.IN_PROGRESS)
    tell(desk, command_id, nodes[1], InvocationStatus.SUCCESS)
    assert desk.statuses(command_id) == ["InProgress", "Success"]
    tell(desk, command_id, nodes[0], InvocationStatus.FAILED)
    tell(desk, command_id, nodes[0], InvocationStatus.SUCCESS)
    assert desk.statuses(command_id) == ["Failed", "Success"]


def test_a_cancelled_command_ends_without_an_order_to_its_nodes(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = begin(desk, [node])
    tell(desk, command_id, node, InvocationStatus.IN_PROGRESS)
    desk.cancel(command_id)
    assert desk.status(command_id, node) == "Cancelled"
    assert desk.take(node) == []
