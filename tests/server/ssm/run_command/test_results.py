"""What nodes report, in any order and any number of times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetward.protocol.control_channel import SEND_COMMAND, job_id
from fleetward.server import mailbox
from fleetward.server.call import Sent
from fleetward.server.ssm import ssm

Report = Callable[..., dict[str, Any]]


def test_result_of_one_step_is_read_back(desk: Any, report: Report) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    desk.take(node)
    desk.reply(node, command_id, "InProgress")
    assert (desk.status(command_id, node), desk.command(command_id)["StatusDetails"]) == ("InProgress", "InProgress")
    told = report("Failed", 3, standardOutput="out\n", standardError="err\n")
    desk.reply(node, command_id, "Failed", {"aws:runShellScript": told})
    result = desk.result(command_id, node)
    assert (result["Status"], result["ResponseCode"]) == ("Failed", 3)
    assert (result["StandardOutputContent"], result["StandardErrorContent"]) == ("out\n", "err\n")
    assert result["ExecutionElapsedTime"] == "PT1.5S"


@pytest.mark.parametrize(
    ("told", "becomes"),
    [
        ("Success", "Success"),
        ("Failed", "Failed"),
        ("TimedOut", "ExecutionTimedOut"),
        ("Cancelled", "Cancelled"),
        ("SuccessAndReboot", "InProgress"),
        ("NoSuchWord", "Pending"),
    ],
)
def test_words_of_agents_become_statuses(desk: Any, told: str, becomes: str) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    desk.reply(node, command_id, told)
    assert desk.status(command_id, node) == becomes


def test_late_in_progress_never_overwrites_a_result_but_adds_its_step(desk: Any, report: Report) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    desk.reply(node, command_id, "Success", {})
    desk.reply(node, command_id, "InProgress", {"late": report(standardOutput="late")})
    assert desk.status(command_id, node) == "Success"
    assert desk.result(command_id, node)["StandardOutputContent"] == "late"


def test_repeated_reply_changes_nothing(desk: Any, report: Report) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    desk.reply(node, command_id, "Failed", {"a": report("Failed", 1)}, message_id="same")
    desk.reply(node, command_id, "Success", {"a": report("Success", 0)}, message_id="same")
    assert desk.status(command_id, node) == "Failed"
    command = desk.command(command_id)
    assert (command["CompletedCount"], command["ErrorCount"]) == (1, 1)


def test_result_for_another_nodes_job_is_not_believed(desk: Any) -> None:
    first, second = desk.nodes(2)
    command_id = desk.send([first, second])
    reply = mailbox.Reply(second, job_id(command_id, first), "m", '{"documentStatus":"Success"}')
    desk.world.do(lambda call: ssm.replies[SEND_COMMAND].function(call, [Sent(desk.context, reply)]))
    assert desk.statuses(command_id) == ["Pending", "Pending"]


def test_result_of_what_was_not_released_is_not_believed(desk: Any) -> None:
    nodes = desk.nodes(2)
    command_id = desk.send(nodes, MaxConcurrency="1")
    desk.reply(nodes[1], command_id, "Success")
    assert desk.statuses(command_id) == ["Pending", "Pending"]
    assert desk.command(command_id)["CompletedCount"] == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "null", '{"runtimeStatus":[1]}', '{"documentStatus":7}'])
def test_unreadable_reply_is_taken_and_changes_nothing(desk: Any, content: str) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    reply = mailbox.Reply(node, job_id(command_id, node), "m", content)
    answer = desk.world.do(lambda call: ssm.replies[SEND_COMMAND].function(call, [Sent(desk.context, reply)]))
    assert answer == [None]
    assert desk.status(command_id, node) == "Pending"


def test_reply_about_an_unknown_command_is_taken(desk: Any) -> None:
    (node,) = desk.nodes(1)
    desk.reply(node, "00000000-0000-4000-8000-000000000000", "Success")


def test_any_reply_proves_that_the_command_arrived(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    desk.take(node)
    desk.reply(node, command_id, "InProgress")
    desk.later(seconds=40)
    assert desk.take(node) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(data=st.data())
def test_replies_in_any_order_and_number_give_the_same_result(desk: Any, report: Report, data: st.DataObject) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    steps = {name: report(standardOutput=f"output of {name}") for name in ("a", "b", "c")}
    told = [(node, command_id, "InProgress", None, f"{command_id[:20]}-0", "")]
    told += [
        (node, command_id, "InProgress", {name: step}, f"{command_id[:20]}-{name}", "") for name, step in steps.items()
    ]
    told += [(node, command_id, "Success", {}, f"{command_id[:20]}-end", "")]
    for each in data.draw(st.permutations(told + told[1:3])):
        desk.replies([each])
    assert desk.status(command_id, node) == "Success"
    found = desk.world.call("ListCommandInvocations", {"CommandId": command_id, "Details": True})
    plugins = found["CommandInvocations"][0]["CommandPlugins"]
    assert sorted(plugin["Name"] for plugin in plugins) == ["a", "b", "c"]
    assert desk.command(command_id)["CompletedCount"] == 1


def test_results_that_arrive_together_release_the_next_nodes(desk: Any) -> None:
    nodes = desk.nodes(4)
    command_id = desk.send(nodes, MaxConcurrency="2")
    desk.replies([(node, command_id, "Success", None, "", "") for node in nodes[:2]])
    assert [desk.take(node) for node in nodes[2:]] == [[job_id(command_id, node)] for node in nodes[2:]]
    assert desk.command(command_id)["CompletedCount"] == 2
