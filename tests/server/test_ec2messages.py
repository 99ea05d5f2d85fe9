"""Message Delivery Service: the whole road by polling."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest

from tests.channel import result
from tests.serving import Node, ServerProcess


@pytest.fixture
def poller(serving: ServerProcess) -> Node:
    """A node without a control channel and without work."""
    return serving.join(6)


def send_command(node: Node) -> str:
    """A command for the node; its id."""
    request = {
        "InstanceIds": [node.node_id],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["echo hello"]},
    }
    return str(node.server.call("SendCommand", request, node.server.root).json["Command"]["CommandId"])


def ask(node: Node, operation: str, **request: Any) -> dict[str, Any]:
    """A call of the polling agent that must succeed."""
    answer = node.call(operation, request, "ec2messages")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def poll(node: Node) -> dict[str, Any]:
    """The next message."""
    (message,) = ask(node, "GetMessages", Destination=node.node_id, MessagesRequestId="7")["Messages"]
    return dict(message)


def status(node: Node, command_id: str) -> str:
    """The invocation's status."""
    request = {"CommandId": command_id, "InstanceId": node.node_id}
    return str(node.server.call("GetCommandInvocation", request, node.server.root).json["Status"])


def test_a_command_goes_by_polling(poller: Node) -> None:
    """Reply, acknowledge, reply, delete: as the agent does it."""
    command_id = send_command(poller)
    message = poll(poller)
    assert message["MessageId"] == f"aws.ssm.{command_id}.{poller.node_id}"
    assert message["Destination"] == poller.node_id
    assert message["Topic"].startswith("aws.ssm.sendCommand.us.east.1")
    assert message["PayloadDigest"] == hashlib.sha256(message["Payload"].encode()).hexdigest()
    ids = {"MessageId": message["MessageId"]}
    begun = json.dumps({"documentStatus": "InProgress", "runtimeStatus": None})
    assert ask(poller, "SendReply", **ids, Payload=begun, ReplyId=str(uuid.uuid4()))["ReplyId"]
    assert status(poller, command_id) == "InProgress"
    ask(poller, "AcknowledgeMessage", **ids)
    ask(poller, "SendReply", **ids, Payload=json.dumps(result("hello\n")), ReplyId=str(uuid.uuid4()))
    assert status(poller, command_id) == "Success"
    ask(poller, "DeleteMessage", **ids)


def test_a_failed_message_fails_its_invocation(poller: Node) -> None:
    """NoHandlerExists: the node cannot do anything with it."""
    command_id = send_command(poller)
    ask(poller, "FailMessage", MessageId=poll(poller)["MessageId"], FailureType="NoHandlerExists")
    assert status(poller, command_id) == "Failed"


@pytest.mark.parametrize("reply_id", ["short", "x" * 128])
def test_a_reply_sent_again_counts_once(poller: Node, reply_id: str) -> None:
    """Known by its id, however long."""
    command_id = send_command(poller)
    ids = {"MessageId": poll(poller)["MessageId"]}
    for output in ("first\n", "second\n"):
        ask(poller, "SendReply", **ids, Payload=json.dumps(result(output)), ReplyId=reply_id)
    request = {"CommandId": command_id, "InstanceId": poller.node_id}
    found = poller.server.call("GetCommandInvocation", request, poller.server.root).json
    assert found["StandardOutputContent"] == "first\n"


@pytest.mark.parametrize(
    "payload", ["", "{", "[]", "null", '{"documentStatus": 7}', '{"runtimeStatus": "x"}', '{"a": "\\u0000"}']
)
def test_a_reply_that_says_nothing_changes_nothing(poller: Node, payload: str) -> None:
    """Taken, since refusing it would only make the agent repeat it."""
    command_id = send_command(poller)
    ask(poller, "SendReply", MessageId=poll(poller)["MessageId"], Payload=payload, ReplyId=str(uuid.uuid4()))
    assert status(poller, command_id) in ("Pending", "InProgress")


def test_messages_of_another_node_are_out_of_reach(poller: Node, other_node: Node) -> None:
    """Not even their number is told."""
    send_command(poller)
    message_id = poll(poller)["MessageId"]
    answer = other_node.call("DeleteMessage", {"MessageId": message_id}, "ec2messages")
    assert (answer.status, answer.code) == (400, "ValidationException")
    request = {"Destination": poller.node_id, "MessagesRequestId": "1"}
    assert other_node.call("GetMessages", request, "ec2messages").code == "AccessDeniedException"
