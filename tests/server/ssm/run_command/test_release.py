"""Releasing by rate control, stopping after errors, and what time and departures end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.control_channel import job_id
from fleetward.protocol.status import release_count
from fleetward.server import presence
from fleetward.server.ssm.nodes import Admission, admit
from fleetward.server.ssm.run_command import release


def released(desk: Any, command_id: str, nodes: list[str]) -> list[str]:
    """Who has been sent the command by now."""
    return [node for node in nodes if job_id(command_id, node) in desk.take(node)]


@given(
    waiting=st.integers(0, 100),
    running=st.integers(0, 100),
    errors=st.integers(0, 20),
    concurrency=st.integers(1, 100),
    most=st.integers(0, 20),
)
def test_release_never_exceeds_concurrency_nor_goes_on_after_errors(
    waiting: int, running: int, errors: int, concurrency: int, most: int
) -> None:
    number = release_count(waiting, running, errors, concurrency, most)
    assert 0 <= number <= waiting
    assert number == 0 or (running + number <= concurrency and errors <= most)


def test_no_more_than_max_concurrency_are_under_way(desk: Any) -> None:
    nodes = desk.nodes(3)
    command_id = desk.send(nodes, MaxConcurrency="2")
    assert released(desk, command_id, nodes) == nodes[:2]
    desk.reply(nodes[0], command_id, "Success")
    assert released(desk, command_id, nodes) == nodes[2:]


def test_percentages_are_of_the_targets_and_at_least_one(desk: Any) -> None:
    nodes = desk.nodes(3)
    command_id = desk.send(nodes, MaxConcurrency="10%")
    assert released(desk, command_id, nodes) == nodes[:1]


@pytest.mark.parametrize(
    ("limit", "ends"), [("0", ["Failed", "Terminated", "Terminated"]), ("1", ["Failed", "Pending", "Pending"])]
)
def test_release_stops_after_max_errors(desk: Any, limit: str, ends: list[str]) -> None:
    nodes = desk.nodes(3)
    command_id = desk.send(nodes, MaxConcurrency="1", MaxErrors=limit)
    desk.reply(nodes[0], command_id, "Failed")
    assert desk.statuses(command_id) == ends


def test_command_that_failed_too_often_is_failed(desk: Any) -> None:
    nodes = desk.nodes(2)
    command_id = desk.send(nodes, MaxConcurrency="1", MaxErrors="0")
    desk.reply(nodes[0], command_id, "Failed")
    command = desk.command(command_id)
    assert (command["StatusDetails"], command["CompletedCount"], command["ErrorCount"]) == ("Failed", 2, 1)


def test_document_for_other_platforms_ends_at_once(desk: Any) -> None:
    (node,) = desk.nodes(1, platform="Windows")
    command_id = desk.send([node])
    assert desk.status(command_id, node) == "InvalidPlatform"
    assert desk.take(node) == []
    assert desk.command(command_id)["StatusDetails"] == "Failed"


def test_what_is_not_delivered_in_time_ends(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node], TimeoutSeconds=30)
    desk.later(seconds=29)
    assert desk.status(command_id, node) == "Pending"
    desk.later(seconds=1)
    command = desk.command(command_id)
    assert desk.status(command_id, node) == "DeliveryTimedOut"
    assert (command["Status"], command["DeliveryTimedOutCount"], command["ErrorCount"]) == ("TimedOut", 1, 0)
    assert desk.take(node) == []


def test_what_no_connection_takes_is_delayed_until_its_node_is_back(desk: Any) -> None:
    """AWS: the system attempted to send the command and was not successful; it goes on trying."""
    offline, busy = desk.fleet.admit(), desk.nodes(1)[0]
    command_id = desk.send([offline, busy], TimeoutSeconds=600)
    desk.later(seconds=29)
    assert desk.statuses(command_id) == ["Pending", "Pending"]
    desk.world.do(lambda call: presence.renew(call, ("server", "")))
    desk.later(seconds=1)
    assert (desk.status(command_id, offline), desk.status(command_id, busy)) == ("Delayed", "Pending")
    assert desk.result(command_id, offline)["Status"] == "Delayed"
    assert desk.command(command_id)["Status"] in ("Pending", "InProgress")
    desk.connect(offline)
    assert desk.take(offline) == [job_id(command_id, offline)]
    desk.reply(offline, command_id, "InProgress")
    assert desk.status(command_id, offline) == "InProgress"
    desk.later(seconds=570)
    assert desk.status(command_id, busy) == "DeliveryTimedOut"


def test_a_delayed_command_times_out_and_is_cancelled_like_a_pending_one(desk: Any) -> None:
    nodes = [desk.fleet.admit() for _ in range(2)]
    command_id = desk.send(nodes, TimeoutSeconds=60)
    desk.later(seconds=30)
    desk.cancel(command_id, nodes[0])
    assert desk.status(command_id, nodes[0]) == "Cancelled"
    desk.later(seconds=30)
    assert desk.status(command_id, nodes[1]) == "DeliveryTimedOut"


def test_nothing_is_sent_after_its_time_even_before_it_is_ended(desk: Any) -> None:
    (node,) = desk.nodes(1)
    desk.send([node], TimeoutSeconds=30)
    desk.world.clock.advance(timedelta(seconds=30))
    assert desk.take(node) == []


def test_what_is_still_waiting_at_its_time_is_not_released_any_more(desk: Any) -> None:
    nodes = desk.nodes(2)
    command_id = desk.send(nodes, MaxConcurrency="1", TimeoutSeconds=30)
    (message,) = desk.take(nodes[0])
    desk.acknowledge(nodes[0], message)
    desk.later(seconds=30)
    assert desk.statuses(command_id) == ["DeliveryTimedOut", "Pending"]
    desk.reply(nodes[0], command_id, "Success")
    assert desk.take(nodes[1]) == []


def test_what_was_accepted_in_time_has_its_time_to_run(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node], TimeoutSeconds=30, Parameters={"commands": ["true"], "executionTimeout": ["600"]})
    (message,) = desk.take(node)
    desk.acknowledge(node, message)
    desk.later(seconds=40)
    assert desk.status(command_id, node) == "Pending"
    desk.later(seconds=600)
    assert desk.status(command_id, node) == "DeliveryTimedOut"


def test_running_node_that_never_answers_ends_at_the_total_time_out(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node], TimeoutSeconds=30, Parameters={"commands": ["true"], "executionTimeout": ["60"]})
    desk.take(node)
    desk.reply(node, command_id, "InProgress")
    desk.later(seconds=89)
    assert desk.status(command_id, node) == "InProgress"
    desk.later(seconds=1)
    assert desk.status(command_id, node) == "DeliveryTimedOut"


def test_time_outs_make_room_for_others_only_within_their_time(desk: Any) -> None:
    nodes = desk.nodes(2)
    command_id = desk.send(nodes, MaxConcurrency="1", TimeoutSeconds=30)
    desk.later(seconds=31)
    assert desk.statuses(command_id) == ["DeliveryTimedOut", "DeliveryTimedOut"]
    assert desk.command(command_id)["StatusDetails"] == "DeliveryTimedOut"


def test_refused_command_fails_with_the_agents_words(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    (message,) = desk.take(node)
    desk.acknowledge(node, message, 51406, "InvalidDocument")
    assert desk.status(command_id, node) == "Failed"
    assert "InvalidDocument" in desk.result(command_id, node)["StandardErrorContent"]


def test_command_of_unknown_fate_is_undeliverable_and_not_sent_again(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    desk.take(node)
    desk.later(minutes=26)
    desk.connect(node)
    desk.later(seconds=16)
    assert desk.take(node) == []
    assert desk.status(command_id, node) == "Undeliverable"


def test_deregistered_node_frees_its_place(desk: Any) -> None:
    first, second = desk.nodes(2)
    command_id = desk.send([first, second], MaxConcurrency="1")
    desk.world.call("DeregisterManagedInstance", {"InstanceId": first})
    assert sorted(desk.statuses(command_id)) == ["Pending", "Undeliverable"]
    assert desk.take(second) == [job_id(command_id, second)]


def test_large_commands_are_expanded_and_released_in_chunks(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "CHUNK", 2)
    nodes = desk.nodes(5)
    command_id = desk.send(nodes, MaxConcurrency="100%")
    assert released(desk, command_id, nodes) == nodes
    assert desk.command(command_id)["TargetCount"] == 5


def test_a_large_command_times_out_as_a_whole_at_once(desk: Any) -> None:
    """The timer's entry is run again while it says that there are more, a chunk each time."""
    number = 3000
    for first in range(0, number, 100):
        made = [
            Admission(activation_id="", iam_role="r", name="", tags={}, public_key=b"%d" % index, fingerprint="f")
            for index in range(first, first + 100)
        ]
        desk.world.do(lambda call, made=made: [admit(call, each) for each in made])
    command_id = desk.send(Targets=[{"Key": "InstanceIds", "Values": ["*"]}], MaxConcurrency="100%", TimeoutSeconds=30)
    assert desk.command(command_id)["TargetCount"] == number
    desk.world.clock.advance(timedelta(seconds=30))
    rounds = 1
    while desk.world.do(release.time_out):
        rounds += 1
    assert rounds == number // release.CHUNK + 1
    command = desk.command(command_id)
    assert (command["DeliveryTimedOutCount"], command["StatusDetails"]) == (number, "DeliveryTimedOut")
