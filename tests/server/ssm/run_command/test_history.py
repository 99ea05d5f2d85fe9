"""Lists of commands and invocations, and one invocation's result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.errors import ValidationException
from fleetward.server.paging import InvalidNextToken
from fleetward.server.ssm.errors import (
    InvalidCommandId,
    InvalidFilterKey,
    InvalidInstanceId,
    InvalidPluginName,
    InvocationDoesNotExist,
)
from fleetward.server.ssm.run_command import history

Report = Callable[..., dict[str, Any]]


def test_lists_are_newest_first_and_pages_miss_and_repeat_nothing(desk: Any) -> None:
    nodes = desk.nodes(2)
    sent = []
    for _ in range(5):
        sent.append(desk.send(nodes))
        desk.world.clock.advance(timedelta(seconds=1))
    pages = desk.world.pages("ListCommands", {"MaxResults": 2}, "Commands")
    assert [each["CommandId"] for page in pages for each in page] == sent[::-1]
    assert [len(page) for page in pages] == [2, 2, 1]
    pages = desk.world.pages("ListCommandInvocations", {"MaxResults": 3}, "CommandInvocations")
    shown = [(each["CommandId"], each["InstanceId"]) for page in pages for each in page]
    assert shown == [(command_id, node) for command_id in sent[::-1] for node in sorted(nodes, reverse=True)]


def test_commands_of_one_moment_are_paged_too(desk: Any) -> None:
    nodes = desk.nodes(1)
    sent = {desk.send(nodes) for _ in range(4)}
    pages = desk.world.pages("ListCommands", {"MaxResults": 1}, "Commands")
    assert {each["CommandId"] for page in pages for each in page} == sent
    assert len(pages) == 4


def test_foreign_token_is_refused(desk: Any) -> None:
    desk.send(desk.nodes(2))
    token = desk.world.call("ListCommandInvocations", {"MaxResults": 1})["NextToken"]
    with pytest.raises(InvalidNextToken):
        desk.world.call("ListCommands", {"NextToken": token})


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("Status", "Success", 1),
        ("Status", "Pending", 1),
        ("Status", "Cancelled", 0),
        ("ExecutionStage", "Complete", 1),
        ("ExecutionStage", "Executing", 1),
        ("DocumentName", "AWS-RunShellScript", 2),
        ("DocumentName", "Other", 0),
        ("InvokedAfter", "2030-01-01T12:00:01Z", 1),
        ("InvokedBefore", "2030-01-01T12:00:01Z", 1),
    ],
)
def test_commands_are_filtered(desk: Any, key: str, value: str, found: int) -> None:
    nodes = desk.nodes(1)
    desk.reply(nodes[0], desk.send(nodes), "Success")
    desk.world.clock.advance(timedelta(seconds=2))
    desk.world.call(
        "SendCommand",
        {"DocumentName": "AWS-RunShellScript", "InstanceIds": nodes, "Parameters": {"commands": ["true"]}},
    )
    listed = desk.world.call("ListCommands", {"Filters": [{"key": key, "value": value}]})["Commands"]
    assert len(listed) == found


@pytest.mark.parametrize(
    ("operation", "key", "value", "error"),
    [
        ("ListCommandInvocations", "ExecutionStage", "Complete", InvalidFilterKey),
        ("ListCommands", "ExecutionStage", "Someday", ValidationException),
        ("ListCommands", "InvokedAfter", "yesterday", ValidationException),
    ],
)
def test_filters_that_mean_nothing_are_refused(
    desk: Any, operation: str, key: str, value: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        desk.world.call(operation, {"Filters": [{"key": key, "value": value}]})


def test_lists_ask_for_known_commands_and_nodes(desk: Any) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(InvalidCommandId):
        desk.world.call("ListCommands", {"CommandId": missing})
    with pytest.raises(InvalidInstanceId):
        desk.world.call("ListCommands", {"InstanceId": "mi-00000000000000000"})
    assert desk.world.call("ListCommandInvocations", {"CommandId": missing})["CommandInvocations"] == []


def test_commands_of_a_node_are_those_sent_to_it(desk: Any) -> None:
    first, second = desk.nodes(2)
    sent = desk.send([first])
    desk.send([second])
    listed = desk.world.call("ListCommands", {"InstanceId": first})["Commands"]
    assert [each["CommandId"] for each in listed] == [sent]


def test_output_is_cut_at_the_apis_limits(desk: Any, report: Report) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    told = report(standardOutput="o" * 30_000, standardError="e" * 20_000, output="c" * 5_000)
    desk.reply(node, command_id, "Success", {"aws:runShellScript": told})
    result = desk.result(command_id, node)
    assert (len(result["StandardOutputContent"]), len(result["StandardErrorContent"])) == (24_000, 8_000)
    assert result["StandardErrorContent"].endswith("--output truncated--")
    found = desk.world.call("ListCommandInvocations", {"CommandId": command_id, "Details": True})
    assert len(found["CommandInvocations"][0]["CommandPlugins"][0]["Output"]) == 2_500


def test_step_of_several_must_be_named(desk: Any, report: Report) -> None:
    (node,) = desk.nodes(1)
    content = (
        '{"schemaVersion":"2.2","mainSteps":['
        '{"action":"aws:runShellScript","name":"first","inputs":{"runCommand":["true"]}},'
        '{"action":"aws:runShellScript","name":"second","inputs":{"runCommand":["false"]}}]}'
    )
    desk.world.call("CreateDocument", {"Name": "TwoSteps", "Content": content, "DocumentType": "Command"})
    command_id = desk.send([node], DocumentName="TwoSteps", Parameters={})
    desk.reply(node, command_id, "InProgress", {"first": report(standardOutput="1")})
    assert desk.result(command_id, node, PluginName="second")["Status"] == "InProgress", "it has not reported yet"
    desk.reply(node, command_id, "Failed", {"second": report("Failed", 1, standardOutput="2")})
    with pytest.raises(InvalidPluginName):
        desk.result(command_id, node)
    with pytest.raises(InvalidPluginName):
        desk.result(command_id, node, PluginName="third")
    one, two = (desk.result(command_id, node, PluginName=name) for name in ("first", "second"))
    assert (one["StatusDetails"], one["StandardOutputContent"]) == ("Success", "1")
    assert (two["StatusDetails"], two["StandardOutputContent"]) == ("Failed", "2")


def test_result_of_what_was_never_sent_does_not_exist(desk: Any) -> None:
    first, second = desk.nodes(2)
    with pytest.raises(InvocationDoesNotExist):
        desk.result(desk.send([first]), second)


def test_old_commands_are_forgotten_with_their_invocations(desk: Any) -> None:
    (node,) = desk.nodes(1)
    old = desk.send([node])
    desk.world.clock.advance(timedelta(days=20))
    new = desk.send([node])
    desk.world.clock.advance(timedelta(days=11))
    desk.world.do(history.forget)
    assert [each["CommandId"] for each in desk.world.call("ListCommands")["Commands"]] == [new]
    assert desk.statuses(old) == []


def test_cut_says_so() -> None:
    assert history.cut("abc", 3) == "abc"
    assert history.cut("a" * 100, 30) == "a" * 10 + "--output truncated--"
