"""Sending and cancelling commands."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fleetward.protocol.control_channel import job_id
from fleetward.server import mailbox, resource_groups
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.ssm.errors import (
    DuplicateInstanceId,
    InvalidCommandId,
    InvalidDocument,
    InvalidInstanceId,
    InvalidOutputFolder,
    InvalidParameters,
)
from fleetward.server.ssm.run_command import commands

SCRIPT = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}


def test_command_is_recorded_at_once_and_expanded_by_its_job(desk: Any) -> None:
    (node,) = desk.nodes(1)
    sent = desk.world.call("SendCommand", {**SCRIPT, "InstanceIds": [node], "Comment": "hello"})["Command"]
    assert (sent["Status"], sent["StatusDetails"], sent["Comment"]) == ("Pending", "Pending", "hello")
    assert (sent["TargetCount"], sent["CompletedCount"], sent["MaxConcurrency"], sent["MaxErrors"]) == (1, 0, "50", "0")
    assert desk.statuses(sent["CommandId"]) == []
    desk.work()
    assert desk.statuses(sent["CommandId"]) == ["Pending"]


def test_node_is_sent_content_as_agents_want_it(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node], Parameters={"commands": ["echo hi"], "executionTimeout": ["60"]})
    rendered = desk.world.do(lambda call: commands.render(call, [command_id]))[command_id]
    content = orjson.loads(rendered.content)
    assert rendered.topic == "aws.ssm.sendCommand"
    assert content["CommandId"] == command_id
    assert content["Parameters"]["commands"] == ["echo hi"]
    assert content["Parameters"]["executionTimeout"] == "60"
    assert content["CloudWatchOutputEnabled"] == "false"
    assert content["DocumentContent"]["schemaVersion"] == "1.2"


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({}, ValidationException),
        ({"InstanceIds": ["mi-00000000000000000"]}, InvalidInstanceId),
        ({"Targets": [{"Key": "Platform", "Values": ["b"]}]}, ValidationException),
        ({"Targets": [{"Key": "tag:a"}]}, ValidationException),
        ({"Targets": [{"Key": "tag:a", "Values": ["b"]}], "Parameters": {"nonsense": ["x"]}}, InvalidParameters),
        ({"Targets": [{"Key": "tag:a", "Values": ["b"]}], "DocumentName": "Nobody-HasThis"}, InvalidDocument),
        ({"Targets": [{"Key": "tag:a", "Values": ["b"]}], "OutputS3KeyPrefix": "p"}, InvalidOutputFolder),
        ({"Targets": [{"Key": "tag:a", "Values": ["b"]}], "DocumentHash": "0" * 64}, InvalidDocument),
    ],
)
def test_what_cannot_be_sent_is_refused_and_leaves_nothing(desk: Any, members: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        desk.world.call("SendCommand", {**SCRIPT, **members})
    assert desk.world.call("ListCommands")["Commands"] == []


def test_a_node_named_twice_is_refused(desk: Any) -> None:
    (node,) = desk.nodes(1)
    with pytest.raises(DuplicateInstanceId):
        desk.world.call("SendCommand", {**SCRIPT, "InstanceIds": [node, node]})


def test_tags_choose_the_nodes(desk: Any) -> None:
    chosen = desk.nodes(2, tags={"Role": "web"})
    desk.nodes(1, tags={"Role": "db"})
    command_id = desk.send(Targets=[{"Key": "tag:Role", "Values": ["web"]}])
    found = desk.world.call("ListCommandInvocations", {"CommandId": command_id})["CommandInvocations"]
    assert sorted(each["InstanceId"] for each in found) == chosen


def test_a_group_chooses_the_nodes_and_policies_decide_on_each(desk: Any) -> None:
    world = desk.world
    world.services["resource-groups"] = resource_groups.resource_groups
    mine, other = desk.nodes(1, tags={"Role": "web"})[0], desk.nodes(1)[0]
    targets = [{"Key": "resource-groups:Name", "Values": ["chosen"]}]
    with pytest.raises(ValidationException, match="no resource group"):
        world.call("SendCommand", {**SCRIPT, "Targets": targets})
    world.call("resource-groups:CreateGroup", {"Name": "chosen"})
    prefix = f"arn:aws:ssm:us-east-1:{world.account}:managed-instance/"
    of_group = {"Group": "chosen", "ResourceArns": [prefix + mine]}
    world.call("resource-groups:GroupResources", of_group)
    found = world.call("ListCommandInvocations", {"CommandId": desk.send(Targets=targets)})["CommandInvocations"]
    assert [each["InstanceId"] for each in found] == [mine]

    document = {"Effect": "Allow", "Action": "ssm:SendCommand", "Resource": "arn:aws:ssm:*::document/*"}
    condition = {"StringEquals": {"ssm:resourceTag/Role": "web"}}
    role = world.as_role(document, {**document, "Resource": prefix + "*", "Condition": condition})
    world.call("SendCommand", {**SCRIPT, "Targets": targets}, role)
    world.call("resource-groups:GroupResources", {**of_group, "ResourceArns": [prefix + other]})
    with pytest.raises(AccessDeniedException):
        world.call("SendCommand", {**SCRIPT, "Targets": targets}, role)


def test_tags_that_nobody_has_end_as_success_without_targets(desk: Any) -> None:
    command = desk.command(desk.send(Targets=[{"Key": "tag:Role", "Values": ["none"]}]))
    assert (command["Status"], command["StatusDetails"], command["TargetCount"]) == ("Success", "NoInstancesInTag", 0)


def test_cancel_ends_at_once_what_was_not_sent(desk: Any) -> None:
    nodes = desk.nodes(2)
    command_id = desk.send(nodes, MaxConcurrency="1")
    desk.cancel(command_id)
    assert desk.statuses(command_id) == ["Cancelled", "Cancelled"]
    assert desk.command(command_id)["StatusDetails"] == "Cancelled"
    assert [desk.take(node) for node in nodes] == [[], []]


def test_cancel_of_what_was_sent_is_an_order_to_the_node(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    (message,) = desk.take(node)
    desk.acknowledge(node, message)
    desk.cancel(command_id)
    assert desk.status(command_id, node) == "Cancelling"
    assert desk.command(command_id)["StatusDetails"] == "Cancelling"
    (order,) = desk.take(node)
    assert order != message
    desk.confirm_cancel(node, order)
    desk.reply(node, command_id, "Cancelled", {"aws:runShellScript": {"status": "Cancelled", "code": 137}})
    assert desk.status(command_id, node) == "Cancelled"
    assert desk.command(command_id)["StatusDetails"] == "Cancelled"


def test_what_was_sent_and_not_accepted_is_not_sent_again_after_its_cancel(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    (message,) = desk.take(node)
    desk.cancel(command_id)
    desk.later(seconds=40)
    assert message not in desk.take(node)


def test_what_was_sent_into_the_void_is_cancelled_once_the_node_says_that_it_never_came(desk: Any) -> None:
    """Our agent does; from others there is no word about a command they never had."""
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    desk.take(node)
    desk.cancel(command_id)
    assert desk.status(command_id, node) == "Cancelling"
    desk.connect(node)
    desk.later(seconds=16)
    (order,) = desk.take(node)
    desk.confirm_cancel(node, order)
    desk.reply(node, command_id, "Cancelled")
    assert desk.status(command_id, node) == "Cancelled"
    assert desk.take(node) == []


def test_cancel_of_some_nodes_leaves_the_others(desk: Any) -> None:
    first, second = desk.nodes(2)
    command_id = desk.send([first, second])
    desk.cancel(command_id, first)
    assert (desk.status(command_id, first), desk.status(command_id, second)) == ("Cancelled", "Pending")
    assert desk.command(command_id)["StatusDetails"] == "InProgress"


def test_cancel_of_some_nodes_waits_until_they_have_invocations(desk: Any) -> None:
    first, second = desk.nodes(2)
    sent = desk.world.call("SendCommand", {**SCRIPT, "InstanceIds": [first, second]})
    command_id = sent["Command"]["CommandId"]
    desk.world.call("CancelCommand", {"CommandId": command_id, "InstanceIds": [second]})
    desk.work()
    desk.later(seconds=2)
    assert (desk.status(command_id, first), desk.status(command_id, second)) == ("Pending", "Cancelled")


def test_cancel_before_expansion_cancels_all(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.world.call("SendCommand", {**SCRIPT, "InstanceIds": [node]})["Command"]["CommandId"]
    desk.world.call("CancelCommand", {"CommandId": command_id})
    desk.work()
    assert desk.status(command_id, node) == "Cancelled"
    assert desk.take(node) == []


def test_cancel_of_what_has_ended_changes_nothing(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    desk.reply(node, command_id, "Success")
    desk.cancel(command_id)
    assert desk.command(command_id)["StatusDetails"] == "Success"


def test_cancel_wants_a_command_and_its_own_nodes(desk: Any) -> None:
    first, second = desk.nodes(2)
    command_id = desk.send([first])
    with pytest.raises(InvalidCommandId):
        desk.world.call("CancelCommand", {"CommandId": "00000000-0000-4000-8000-000000000000"})
    with pytest.raises(InvalidInstanceId):
        desk.cancel(command_id, second)
    with pytest.raises(DuplicateInstanceId):
        desk.cancel(command_id, first, first)


def test_halt_holds_back_and_resume_lets_go(desk: Any) -> None:
    (node,) = desk.nodes(1)
    held = desk.world.do(lambda call: commands.halt(call, "bad document"))
    assert held["Reason"] == "bad document"
    command_id = desk.send([node])
    assert desk.take(node) == []
    desk.world.do(commands.resume)
    desk.work()
    assert desk.take(node) == [job_id(command_id, node)]
    assert desk.world.do(commands.halted) is None


def test_rendered_message_of_a_forgotten_command_is_nothing(desk: Any) -> None:
    assert desk.world.do(lambda call: commands.render(call, ["gone"])) == {}
    rendered = desk.world.do(lambda call: commands.render_cancel(call, ["aws.ssm.a.b"]))
    assert rendered == {"aws.ssm.a.b": mailbox.Rendered("aws.ssm.cancelCommand", '{"CancelMessageId":"aws.ssm.a.b"}')}
