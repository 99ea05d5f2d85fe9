"""Fleetward's own operations."""

from __future__ import annotations

import pytest

from tests.calls import Stage
from tests.serving import Answer, Node, ServerProcess, StartServer, eventually


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server whose halt disturbs nobody."""
    return start_server()


def own(server: ServerProcess, operation: str, **request: str) -> Answer:
    """An operator's call."""
    return server.call(operation, request, server.root, service="fleetward")


def test_a_node_leaves_by_its_own_key(serving: ServerProcess) -> None:
    """It is gone at once, and its keys with it."""
    node = serving.join(1)
    assert node.by_key("Leave", {}, "fleetward").status == 200
    answer = serving.call("GetConnectionStatus", {"Target": node.node_id}, serving.root)
    assert answer.json["Status"] == "notconnected"
    eventually(lambda: node.call("UpdateInstanceInformation", {"InstanceId": node.node_id}).status == 400, within=1.0)
    assert node.by_key("Leave", {}, "fleetward").status == 400


def test_a_halt_holds_commands_back_until_resumed(server: ServerProcess) -> None:
    """What is sent meanwhile goes out after."""
    stage = Stage(server, server.join(1))
    assert own(server, "DescribeHalt").json == {"Halted": False}
    assert own(server, "Halt", Reason="a bad document").status == 200
    shown = own(server, "DescribeHalt").json
    assert (shown["Halted"], shown["Reason"]) == (True, "a bad document")
    command_id = stage.command()
    node = stage.node
    eventually(lambda: held(node, command_id))
    assert own(server, "Resume").status == 200
    assert own(server, "DescribeHalt").json == {"Halted": False}
    request = {"Destination": node.node_id, "MessagesRequestId": "1"}
    (message,) = node.call("GetMessages", request, "ec2messages").json["Messages"]
    assert command_id in message["MessageId"]


def held(node: Node, command_id: str) -> bool:
    """The command exists and nothing of it is done."""
    listed = node.server.call("ListCommands", {"CommandId": command_id}, node.server.root).json["Commands"]
    return bool(listed) and listed[0]["Status"] in ("Pending", "InProgress") and listed[0]["CompletedCount"] == 0


def test_streams_kept_in_full_are_listed_and_located(stage: Stage) -> None:
    """With size and place; nothing for what was not kept."""
    command_id = stage.output()
    ids = {"CommandId": command_id, "InstanceId": stage.node.node_id}
    listed = own(stage.server, "ListCommandOutputs", **ids).json["Outputs"]
    assert listed == [{"Step": "hello", "Stream": "stdout", "Size": 6}]
    located = own(stage.server, "LocateCommandOutput", **ids, Step="hello", Stream="stdout").json
    assert located["Size"] == 6
    absent = own(stage.server, "LocateCommandOutput", **ids, Step="hello", Stream="stderr")
    assert absent.code == "InvocationDoesNotExist"


@pytest.mark.parametrize("operation", ["Halt", "Resume"])
def test_only_who_may_send_and_cancel_may_halt(serving: ServerProcess, operation: str) -> None:
    """ReadOnly sees whether there is a halt."""
    keys = serving.role("ReadOnly")
    assert serving.call(operation, {}, keys, service="fleetward").code == "AccessDeniedException"
    assert serving.call("DescribeHalt", {}, keys, service="fleetward").status == 200
