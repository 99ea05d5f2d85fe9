"""Message Delivery Service, node-facing: fetch, acknowledge and answer messages by polling."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from fleetward.protocol.control_channel import SEND_COMMAND
from fleetward.server import mailbox
from fleetward.server.call import Call, Resource, Sent, node_topic
from fleetward.server.errors import ValidationException
from fleetward.server.service import Entry, Service, Wait
from fleetward.server.ssmmessages import check_own

ec2messages = Service("ec2messages")

LONG_POLL = timedelta(seconds=15)
"""The agent's HTTP client gives up after 20 s and asks again (agent-protocol, chapter 9)."""
FAILED = 51499
"""FailMessage has no code of its own: the channel's for an unexpected error."""


def _node(call: Call, request: dict[str, Any]) -> Iterable[Resource]:
    return (Resource(call.caller.arn),)


def offer(take: Callable[[Call, Sequence[Sent]], list[list[mailbox.Outgoing]]], replies: dict[str, Entry]) -> None:
    """Register the operations; `take` reads the mailbox, `replies` are the entries for what nodes report."""

    @ec2messages.operation("GetMessages", resources=_node, audience="node")
    def get_messages(call: Call, request: dict[str, Any]) -> dict[str, Any] | Wait:
        """What waits for the node; a poll that finds nothing is parked for up to 15 s."""
        check_own(call, request["Destination"])
        (outgoing,) = take(call, [Sent(call.context, (call.caller.node_id, mailbox.POLLING))])
        started = call.context.waiting_since or call.now
        if not outgoing and call.now < started + LONG_POLL:
            return Wait(node_topic(call.account, call.region, call.caller.node_id), started + LONG_POLL)
        return {
            "Destination": request["Destination"],
            "MessagesRequestId": request["MessagesRequestId"],
            "Messages": [_message(call, message) for message in outgoing],
        }

    @ec2messages.operation("SendReply", resources=_node, audience="node")
    def send_reply(call: Call, request: dict[str, Any]) -> dict[str, Any]:
        """A result, as on the control channel; any reply also proves that the message arrived."""
        _own_message(call, request["MessageId"])
        reply_id = _short(request["ReplyId"])
        reply = mailbox.Reply(call.caller.node_id, request["MessageId"], reply_id, request["Payload"])
        replies[SEND_COMMAND].function(call, [Sent(call.context, reply)])
        return {"MessageId": request["MessageId"], "ReplyId": request["ReplyId"], "ReplyStatus": "Acknowledged"}


@ec2messages.operation("AcknowledgeMessage", resources=_node, audience="node")
def acknowledge_message(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The node has the message on its disk."""
    _own_message(call, request["MessageId"])
    mailbox.accept(call, [(call.caller.node_id, request["MessageId"])])
    return {}


@ec2messages.operation("FailMessage", resources=_node, audience="node")
def fail_message(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The node cannot do anything with the message."""
    _own_message(call, request["MessageId"])
    refusal = (call.caller.node_id, request["MessageId"], FAILED, request.get("FailureType", ""))
    mailbox.acknowledge(call, [Sent(call.context, refusal)])
    return {}


@ec2messages.operation("DeleteMessage", resources=_node, audience="node")
def delete_message(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The node wants no more of the message."""
    _own_message(call, request["MessageId"])
    mailbox.finish(call, [(call.caller.node_id, request["MessageId"])])
    return {}


def _short(reply_id: str) -> str:
    """The reply's id as it is remembered: agents send UUIDs, the model allows 128 characters."""
    return reply_id if len(reply_id) <= 36 else hashlib.sha256(reply_id.encode()).hexdigest()[:36]


def _own_message(call: Call, message_id: str) -> None:
    if not message_id.endswith(f".{call.caller.node_id}"):
        raise ValidationException("The message belongs to another node.")


def _message(call: Call, message: mailbox.Outgoing) -> dict[str, Any]:
    return {
        "MessageId": message.message_id,
        "Destination": message.node_id,
        "CreatedDate": message.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "Topic": f"{message.topic}.{call.region.replace('-', '.')}.1",
        "Payload": message.content,
        "PayloadDigest": hashlib.sha256(message.content.encode()).hexdigest(),
    }
