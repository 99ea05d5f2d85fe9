"""DescribeInstanceInformation and -Properties: every filter against a naive one, paging, ping and connection status."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetward.server import presence
from fleetward.server.call import Sent, service_context
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.paging import InvalidNextToken
from fleetward.server.ssm.errors import (
    InvalidFilterKey,
    InvalidInstanceId,
    InvalidInstanceInformationFilterValue,
    InvalidInstancePropertyFilterValue,
)

MACHINES = [
    {"ComputerName": "web1", "PlatformType": "Linux", "PlatformVersion": "12", "AgentVersion": "3.3.0.0"},
    {"ComputerName": "web2", "PlatformType": "Linux", "PlatformVersion": "9.4", "AgentVersion": "3.10.0.0"},
    {"ComputerName": "WEB3", "PlatformType": "Windows", "PlatformVersion": "10.0.17763", "AgentVersion": "3.3.0.0"},
    {"ComputerName": "a_%b", "PlatformType": "MacOS", "PlatformVersion": "14.1", "AgentVersion": "2.3.50.0"},
    {},
    {"ComputerName": "web10", "PlatformType": "Linux", "PlatformVersion": "12", "AgentVersion": "3.3.0.0"},
]
TAGS = [{"env": "prod"}, {"env": "test"}, {}, {"env": "prod", "team": "a"}, {}, {"team": "b"}]


@pytest.fixture
def machines(world: Any, fleet: Any) -> list[str]:
    """Nodes like MACHINES; the first two are heard of now, the others were an hour ago; the third is connected."""
    ids = [fleet.admit(name=f"node {number}", tags=TAGS[number]) for number in range(len(MACHINES))]
    for node_id, facts in list(zip(ids, MACHINES, strict=True))[2:]:
        if facts:
            fleet.beat(node_id, **facts)
    world.clock.advance(timedelta(hours=1))
    for node_id, facts in list(zip(ids, MACHINES, strict=True))[:2]:
        fleet.beat(node_id, **facts)
    connect(world, fleet, ids[2])
    return ids


def connect(world: Any, fleet: Any, node_id: str) -> None:
    fleet.do(presence.renew, ("server", ""))
    fleet.do(presence.connect, [Sent(service_context(world.account, world.region), (node_id, "server", "3.3.0.0"))])


def listed(world: Any, *filters: tuple[str, list[str]]) -> set[str]:
    request = {"Filters": [{"Key": key, "Values": values} for key, values in filters]}
    return {
        each["InstanceId"] for each in world.call("DescribeInstanceInformation", request)["InstanceInformationList"]
    }


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], {0, 1, 2, 3, 4, 5}),
        ([("PingStatus", ["Online"])], {0, 1, 2}),
        ([("PingStatus", ["ConnectionLost"])], {3, 4, 5}),
        ([("PingStatus", ["Inactive"])], set()),
        ([("PingStatus", ["Online", "ConnectionLost"])], {0, 1, 2, 3, 4, 5}),
        ([("PlatformTypes", ["Linux", "MacOS"])], {0, 1, 3, 5}),
        ([("PlatformType", ["Windows"])], {2}),
        ([("AgentVersion", ["3.3.0.0"])], {0, 2, 5}),
        ([("tag:env", ["prod"])], {0, 3}),
        ([("tag:env", ["prod", "test"]), ("PlatformTypes", ["Linux"])], {0, 1}),
        ([("tag-key", ["team"])], {3, 5}),
        ([("tag-key", ["team"]), ("tag:env", ["prod"])], {3}),
        ([("IamRole", ["SSMServiceRole"]), ("ResourceType", ["ManagedInstance"])], {0, 1, 2, 3, 4, 5}),
        ([("ResourceType", ["EC2Instance"])], set()),
        ([("SourceTypes", ["AWS::SSM::ManagedInstance"])], {0, 1, 2, 3, 4, 5}),
        ([("AssociationStatus", ["Success"])], set()),
        ([("ActivationIds", ["00000000-0000-0000-0000-000000000000"])], {0, 1, 2, 3, 4, 5}),
    ],
)
def test_filters_of_information(
    world: Any, machines: list[str], filters: list[tuple[str, list[str]]], expected: set[int]
) -> None:
    assert listed(world, *filters) == {machines[number] for number in expected}


def test_legacy_filters_do_the_same_and_do_not_mix_with_the_others(world: Any, machines: list[str]) -> None:
    legacy = [{"key": "PlatformTypes", "valueSet": ["Windows"]}, {"key": "InstanceIds", "valueSet": machines[:3]}]
    result = world.call("DescribeInstanceInformation", {"InstanceInformationFilterList": legacy})
    assert [each["InstanceId"] for each in result["InstanceInformationList"]] == [machines[2]]
    both = {"InstanceInformationFilterList": legacy, "Filters": [{"Key": "tag-key", "Values": ["a"]}]}
    with pytest.raises(ValidationException, match="not both"):
        world.call("DescribeInstanceInformation", both)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("InstanceIds", "mi-00000000000000000", InvalidInstanceId),
        ("InstanceIds", "web1", InvalidInstanceId),
        ("PingStatus", "online", InvalidInstanceInformationFilterValue),
        ("PlatformTypes", "BSD", InvalidInstanceInformationFilterValue),
        ("ComputerName", "web1", InvalidFilterKey),
        ("tag:", "x", InvalidFilterKey),
    ],
)
def test_bad_filters_of_information(world: Any, fleet: Any, key: str, value: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        listed(world, (key, [value]))


@pytest.mark.parametrize(
    ("key", "operator", "values", "expected"),
    [
        ("ComputerName", "BeginWith", ["web"], {0, 1, 5}),
        ("ComputerName", "BeginWith", ["a_%"], {3}),
        ("ComputerName", "BeginWith", ["a%", "WEB"], {2}),
        ("ComputerName", "Equal", ["web1", "WEB3"], {0, 2}),
        ("ComputerName", "NotEqual", ["web1"], {1, 2, 3, 4, 5}),
        ("AgentVersion", "LessThan", ["3.10.0.0"], {0, 2, 3, 5}),
        ("AgentVersion", "GreaterThan", ["3.3.0.0"], {1}),
        ("PlatformVersion", "LessThan", ["10"], {1}),
        ("PlatformVersion", "GreaterThan", ["12"], {3}),
        ("PingStatus", "NotEqual", ["Online"], {3, 4, 5}),
        ("ResourceType", "NotEqual", ["ManagedInstance"], set()),
        ("Name", "BeginWith", ["node "], {0, 1, 2, 3, 4, 5}),
        ("tag:env", "NotEqual", ["prod"], {1, 2, 4, 5}),
        ("DocumentName", "Equal", ["AWS-RunShellScript"], set()),
    ],
)
def test_filters_of_properties(
    world: Any, machines: list[str], key: str, operator: str, values: list[str], expected: set[int]
) -> None:
    filters = [{"Key": key, "Operator": operator, "Values": values}]
    result = world.call("DescribeInstanceProperties", {"FiltersWithOperator": filters})
    assert {each["InstanceId"] for each in result["InstanceProperties"]} == {machines[number] for number in expected}


@pytest.mark.parametrize(
    ("key", "operator", "error"),
    [
        ("NoSuchKey", "Equal", InvalidFilterKey),
        ("tag:env", "BeginWith", InvalidFilterKey),
        ("PlatformTypes", "Equal", InvalidInstancePropertyFilterValue),
        ("InstanceIds", "Equal", InvalidInstanceId),
    ],
)
def test_bad_filters_of_properties(world: Any, fleet: Any, key: str, operator: str, error: type[Exception]) -> None:
    filters = [{"Key": key, "Operator": operator, "Values": ["x"]}]
    with pytest.raises(error):
        world.call("DescribeInstanceProperties", {"FiltersWithOperator": filters})


@given(size=st.integers(5, 9), number=st.integers(0, 4))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_paging_misses_and_repeats_nothing(world: Any, fleet: Any, size: int, number: int) -> None:
    for _ in range(number):
        fleet.admit(tags={"page": "yes"})
    everything = sorted(listed_by(world, "DescribeInstanceInformation", "InstanceInformationList", 50))
    for operation, member in (
        ("DescribeInstanceInformation", "InstanceInformationList"),
        ("DescribeInstanceProperties", "InstanceProperties"),
    ):
        assert listed_by(world, operation, member, size) == everything


def listed_by(world: Any, operation: str, member: str, size: int) -> list[str]:
    pages = world.pages(operation, {"MaxResults": size}, member)
    assert all(len(page) == size for page in pages[:-1])
    return [each["InstanceId"] for page in pages for each in page]


def test_a_token_of_another_operation_is_refused(world: Any, fleet: Any) -> None:
    for _ in range(6):
        fleet.admit()
    token = world.call("DescribeInstanceInformation", {"MaxResults": 5})["NextToken"]
    for operation in ("DescribeInstanceProperties", "ListNodes"):
        with pytest.raises(InvalidNextToken):
            world.call(operation, {"NextToken": token})


def test_connection_status_is_about_the_channel_alone(world: Any, fleet: Any) -> None:
    node_id = fleet.admit()
    fleet.beat(node_id, PlatformType="Linux")
    assert world.call("GetConnectionStatus", {"Target": node_id}) == {"Target": node_id, "Status": "notconnected"}
    connect(world, fleet, node_id)
    assert world.call("GetConnectionStatus", {"Target": node_id})["Status"] == "connected"
    world.clock.advance(timedelta(minutes=1))  # the server that held it is gone
    assert world.call("GetConnectionStatus", {"Target": node_id})["Status"] == "notconnected"
    assert world.call("GetConnectionStatus", {"Target": "mi-unknown"})["Status"] == "notconnected"


def test_a_node_never_heard_of_is_listed_without_what_is_unknown(world: Any, fleet: Any) -> None:
    node_id = fleet.admit()
    (shown,) = world.call("DescribeInstanceInformation")["InstanceInformationList"]
    assert shown["InstanceId"] == node_id
    assert shown["PingStatus"] == "ConnectionLost"
    assert not {"LastPingDateTime", "PlatformType", "Name", "AgentVersion"} & set(shown)


def test_who_may_not_list_is_told_so(world: Any, fleet: Any) -> None:
    role = world.as_role({"Effect": "Allow", "Action": "ssm:ListNodes", "Resource": "*"})
    world.call("ListNodes", {}, role)
    for operation in ("DescribeInstanceInformation", "DescribeInstanceProperties"):
        with pytest.raises(AccessDeniedException):
            world.call(operation, {}, role)
