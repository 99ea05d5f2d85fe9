"""Heartbeats: a batch of many, what one tells about itself only, and what an empty one does not wipe."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.call import Sent
from fleetward.server.errors import AccessDeniedException
from fleetward.server.ports import Unit
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import InvalidInstanceId
from fleetward.server.ssm.nodes import heartbeat

FULL = {
    "AgentName": "amazon-ssm-agent",
    "AgentStatus": "Active",
    "AgentVersion": "3.3.0.0",
    "AvailabilityZone": "",
    "AvailabilityZoneId": "",
    "ComputerName": "vm",
    "IPAddress": "192.0.2.2",
    "PlatformName": "Debian GNU/Linux",
    "PlatformType": "Linux",
    "PlatformVersion": "12",
    "SSMConnectionChannel": "",
}
EMPTY = {"AgentName": "amazon-ssm-agent", "AgentVersion": "3.3.1.0", "PlatformType": "Linux"}


def information(world: Any, node_id: str) -> dict[str, Any]:
    filters = [{"Key": "InstanceIds", "Values": [node_id]}]
    (found,) = world.call("DescribeInstanceInformation", {"Filters": filters})["InstanceInformationList"]
    return dict(found)


def batch(world: Any, fleet: Any, members: list[tuple[str, dict[str, str]]]) -> list[Any]:
    """What each `(caller, request)` gets when all arrive together."""
    entry = ssm.operations["UpdateInstanceInformation"]
    body = world.runner._batch(entry)
    outcomes: list[Any] = []
    sent = [Sent(fleet.node(caller), request) for caller, request in members]
    units = [Unit(body, each, outcomes.append, entry.together) for each in sent]
    for done, outcome in world.runner.delivered(world.store._commit(units)):
        done(outcome)
    return outcomes


def test_a_full_heartbeat_is_what_the_lists_show(world: Any, fleet: Any) -> None:
    node_id = fleet.admit(name="web")
    fleet.beat(node_id, **FULL)
    shown = information(world, node_id)
    assert {name: shown[name] for name in ("Name", "ComputerName", "IPAddress", "PlatformName", "PlatformVersion")} == {
        "Name": "web",
        "ComputerName": "vm",
        "IPAddress": "192.0.2.2",
        "PlatformName": "Debian GNU/Linux",
        "PlatformVersion": "12",
    }
    assert (shown["PingStatus"], shown["LastPingDateTime"]) == ("Online", world.clock.now())


def test_an_empty_heartbeat_wipes_nothing_and_tells_what_it_tells(world: Any, fleet: Any) -> None:
    node_id = fleet.admit()
    fleet.beat(node_id, **FULL)
    fleet.beat(node_id, **EMPTY)
    shown = information(world, node_id)
    assert (shown["ComputerName"], shown["IPAddress"], shown["AgentVersion"]) == ("vm", "192.0.2.2", "3.3.1.0")
    fleet.beat(node_id, **FULL)
    assert information(world, node_id)["AgentVersion"] == "3.3.0.0"


def test_a_node_tells_about_itself_only(world: Any, fleet: Any) -> None:
    mine, other = fleet.admit(), fleet.admit()
    with pytest.raises(AccessDeniedException):
        world.call("UpdateInstanceInformation", {"InstanceId": other, **FULL}, fleet.node(mine))
    assert "ComputerName" not in information(world, other)


def test_operators_send_no_heartbeats(world: Any, fleet: Any) -> None:
    with pytest.raises(AccessDeniedException):
        world.call("UpdateInstanceInformation", {"InstanceId": fleet.admit(), **FULL})


def test_a_bad_member_does_not_spoil_the_batch(world: Any, fleet: Any) -> None:
    first, second, third = (fleet.admit() for _ in range(3))
    gone = "mi-00000000000000000"
    outcomes = batch(
        world,
        fleet,
        [
            (first, {"InstanceId": first, **FULL}),
            (first, {"InstanceId": second, **FULL}),
            (gone, {"InstanceId": gone, **FULL}),
            (third, {"InstanceId": third, **FULL, "ComputerName": "third"}),
        ],
    )
    assert [type(outcome) for outcome in outcomes] == [dict, AccessDeniedException, InvalidInstanceId, dict]
    assert information(world, first)["ComputerName"] == "vm"
    assert information(world, second)["PingStatus"] == "ConnectionLost"
    assert information(world, third)["ComputerName"] == "third"


TOLD = ("ComputerName", "IPAddress", "AgentVersion")
PINGS = st.lists(st.dictionaries(st.sampled_from(TOLD), st.sampled_from(["", "1", "2"]), max_size=3), max_size=12)


@given(pings=PINGS)
def test_the_hash_differs_whenever_something_told_differs(pings: list[dict[str, str]]) -> None:
    for left in pings:
        for right in pings:
            same = all(left.get(name) == right.get(name) for name in TOLD)
            assert (heartbeat.hash_of(left) == heartbeat.hash_of(right)) == same


@pytest.mark.parametrize("together", [True, False])
def test_the_last_of_several_heartbeats_of_one_node_wins(world: Any, fleet: Any, together: bool) -> None:
    node_id = fleet.admit()
    sent = [FULL, EMPTY, {**FULL, "IPAddress": "192.0.2.9"}, {**EMPTY, "AgentVersion": "3.3.2.0"}, FULL, EMPTY]
    if together:
        batch(world, fleet, [(node_id, {"InstanceId": node_id, **each}) for each in sent])
    else:
        for each in sent:
            fleet.beat(node_id, **each)
    shown = information(world, node_id)
    assert (shown["IPAddress"], shown["AgentVersion"]) == ("192.0.2.2", "3.3.1.0")
    fleet.beat(node_id, **{**EMPTY, "ComputerName": "renamed"})
    assert information(world, node_id)["ComputerName"] == "renamed"


def test_a_node_is_lost_when_its_heartbeats_stop(world: Any, fleet: Any) -> None:
    node_id = fleet.admit()
    fleet.beat(node_id, **FULL)
    world.clock.advance(timedelta(minutes=15))
    assert information(world, node_id)["PingStatus"] == "Online"
    world.clock.advance(timedelta(seconds=1))
    assert information(world, node_id)["PingStatus"] == "ConnectionLost"
    fleet.beat(node_id, **FULL)
    assert information(world, node_id)["PingStatus"] == "Online"


def test_an_unchanged_heartbeat_touches_one_narrow_row(world: Any, fleet: Any) -> None:
    node_id = fleet.admit()
    fleet.beat(node_id, **FULL)
    said: list[str] = []
    raw = world.store._writer.connection.dbapi_connection
    raw.set_trace_callback(said.append)
    fleet.beat(node_id, **FULL)
    raw.set_trace_callback(None)
    assert [line.split()[1] for line in said if line.startswith("UPDATE")] == ["nodes_pings"]


NUMBERS = st.lists(st.integers(0, 10**6), min_size=3, max_size=4)


@given(left=NUMBERS, right=NUMBERS)
def test_versions_are_ordered_number_by_number(left: list[int], right: list[int]) -> None:
    orders = [heartbeat.version_order(".".join(map(str, version))) for version in (left, right)]
    assert (orders[0] < orders[1]) == (left < right)  # type: ignore[operator]  # neither is None
