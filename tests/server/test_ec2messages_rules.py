"""Nodes that poll, on a clock that moves: what is handed out when, and what acknowledging and deleting change."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import ec2messages, jobs, mailbox
from fleetward.server.errors import ValidationException
from fleetward.server.service import Wait
from fleetward.server.ssm import documents, run_command, ssm  # noqa: F401  (they register their operations)
from tests.server.ssm.conftest import Fleet

SUCCESS = {
    "documentStatus": "Success",
    "runtimeStatus": {
        "aws:runShellScript": {
            "status": "Success",
            "code": 0,
            "name": "aws:runShellScript",
            "standardOutput": "hello\n",
            "startDateTime": "2030-01-01T12:00:00.000Z",
            "endDateTime": "2030-01-01T12:00:01.000Z",
        }
    },
}


class Road:
    """A node that polls, and the operator who sends it commands."""

    def __init__(self, world: Any) -> None:
        ec2messages.offer(mailbox.take(ssm.messages.__getitem__), ssm.replies)
        world.services["ec2messages"] = ec2messages.ec2messages
        self.world = world
        self.fleet = Fleet(world)
        self.node_id = self.fleet.join()
        self.fleet.beat(self.node_id, AgentName="amazon-ssm-agent", AgentVersion="3.3.0.0", PlatformType="Linux")

    def send(self) -> str:
        """A command for the node, its job run to the end; its id."""
        request = {
            "InstanceIds": [self.node_id],
            "DocumentName": "AWS-RunShellScript",
            "Parameters": {"commands": ["echo hello"]},
        }
        sent = self.world.submit(ssm.operations["SendCommand"], self.world.as_root(), request)
        self.work()
        command_id: str = sent["Command"]["CommandId"]
        return command_id

    def work(self) -> None:
        """Run the jobs that are due."""
        while leased := self.world.entry(jobs.lease)(("test", 10)):
            for job in leased:
                self.world.entry(jobs.advance(ssm.jobs[job.kind].function))(("test", job))

    def call(self, operation: str, node_id: str = "", **members: Any) -> Any:
        """A call of the node, or of another one."""
        return self.world.call(f"ec2messages:{operation}", members, node_id or self.node_id)

    def poll(self) -> list[str]:
        """The ids of the commands that GetMessages hands out now."""
        answer = self.call("GetMessages", Destination=self.node_id, MessagesRequestId=str(uuid.uuid4()))
        if isinstance(answer, Wait):
            return []
        return [message["MessageId"].split(".")[2] for message in answer["Messages"]]

    def message_id(self, command_id: str) -> str:
        """The id of a command's message to the node."""
        return f"aws.ssm.{command_id}.{self.node_id}"

    def invocation(self, command_id: str) -> dict[str, Any]:
        """What the operator sees."""
        found: dict[str, Any] = self.world.call(
            "GetCommandInvocation", {"CommandId": command_id, "InstanceId": self.node_id}
        )
        return found


@pytest.fixture
def road(world: Any) -> Road:
    """A node that polls."""
    return Road(world)


def test_a_poll_hands_out_what_waits_and_is_parked_when_nothing_does(road: Road) -> None:
    assert road.poll() == []
    parked = road.call("GetMessages", Destination=road.node_id, MessagesRequestId="1")
    assert isinstance(parked, Wait)
    assert parked.until == road.world.clock.now() + ec2messages.LONG_POLL
    command_id = road.send()
    assert parked.topic in road.world.wakes
    (message,) = road.call("GetMessages", Destination=road.node_id, MessagesRequestId="2")["Messages"]
    assert message["MessageId"] == road.message_id(command_id)
    assert json.loads(message["Payload"])["CommandId"] == command_id
    assert message["Topic"].startswith("aws.ssm.sendCommand.us.east.1")


def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(road: Road) -> None:
    command_id = road.send()
    assert road.poll() == [command_id]
    assert road.poll() == []
    road.world.clock.advance(mailbox.POLLED_AGAIN_AFTER)
    assert road.poll() == [command_id]
    road.call("AcknowledgeMessage", MessageId=road.message_id(command_id))
    road.world.clock.advance(timedelta(minutes=5))
    assert road.poll() == []


def test_a_reply_is_the_commands_result(road: Road) -> None:
    command_id = road.send()
    assert road.poll() == [command_id]
    reply = {"MessageId": road.message_id(command_id), "ReplyId": str(uuid.uuid4()), "Payload": json.dumps(SUCCESS)}
    assert road.call("SendReply", **reply)["ReplyStatus"] == "Acknowledged"
    seen = road.invocation(command_id)
    assert (seen["Status"], seen["StandardOutputContent"]) == ("Success", "hello\n")
    road.call("SendReply", **reply)
    assert road.invocation(command_id) == seen


def test_a_message_the_node_cannot_handle_fails_its_command(road: Road) -> None:
    command_id = road.send()
    assert road.poll() == [command_id]
    road.call("FailMessage", MessageId=road.message_id(command_id), FailureType="InternalHandlerException")
    assert road.invocation(command_id)["Status"] == "Failed"
    road.world.clock.advance(timedelta(minutes=5))
    assert road.poll() == []


def test_a_deleted_message_is_not_handed_out_again(road: Road) -> None:
    command_id = road.send()
    assert road.poll() == [command_id]
    road.call("DeleteMessage", MessageId=road.message_id(command_id))
    road.world.clock.advance(mailbox.POLLED_AGAIN_AFTER)
    assert road.poll() == []


def test_a_node_touches_messages_of_its_own_only(road: Road) -> None:
    command_id = road.send()
    other = road.fleet.join(road.fleet.public_key(2))
    for operation, members in (
        ("AcknowledgeMessage", {}),
        ("DeleteMessage", {}),
        ("FailMessage", {"FailureType": "NoHandlerExists"}),
        ("SendReply", {"ReplyId": "1", "Payload": json.dumps(SUCCESS)}),
    ):
        with pytest.raises(ValidationException):
            road.call(operation, other, MessageId=road.message_id(command_id), **members)
    assert road.poll() == [command_id]
    assert road.invocation(command_id)["Status"] in ("Pending", "InProgress")
