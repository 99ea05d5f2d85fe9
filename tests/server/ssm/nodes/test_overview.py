"""ListNodes and ListNodesSummary: the same nodes as the other lists, and counts that add up."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.ssm.errors import (
    InvalidAggregatorException,
    InvalidFilter,
    ResourceDataSyncNotFoundException,
)

PLATFORMS = [("Linux", "Debian"), ("Linux", "Rocky"), ("Linux", "Debian"), ("Windows", "Windows Server"), ("", "")]


@pytest.fixture
def ids(world: Any, fleet: Any) -> list[str]:
    """Nodes like PLATFORMS; the last one never told anything, the first one long ago."""
    made = [fleet.admit(name=f"n{number}") for number in range(len(PLATFORMS))]
    for number, (kind, name) in enumerate(PLATFORMS[:-1]):
        facts = {"PlatformType": kind, "PlatformName": name, "AgentName": "amazon-ssm-agent", "IPAddress": "192.0.2.1"}
        fleet.beat(made[number], **facts)
        if number == 0:
            world.clock.advance(timedelta(hours=1))
    return made


def counted(attribute: str, *inner: str) -> dict[str, Any]:
    nested = [counted(each) for each in inner]
    plain = {"AggregatorType": "Count", "TypeName": "Instance", "AttributeName": attribute}
    return {**plain, "Aggregators": nested} if nested else plain


@pytest.mark.parametrize(
    ("key", "kind", "values", "expected"),
    [
        ("PlatformType", "Equal", ["Linux"], {0, 1, 2}),
        ("PlatformType", "NotEqual", ["Linux"], {3, 4}),
        ("PlatformName", "BeginWith", ["Deb", "Win"], {0, 2, 3}),
        ("InstanceStatus", "Equal", ["Active"], {1, 2, 3}),
        ("InstanceStatus", "Equal", ["ConnectionLost"], {0, 4}),
        ("IpAddress", "Equal", ["192.0.2.1"], {0, 1, 2, 3}),
        ("AgentType", "Equal", ["amazon-ssm-agent"], {0, 1, 2, 3}),
        ("ManagedStatus", "Equal", ["All"], {0, 1, 2, 3, 4}),
        ("ManagedStatus", "Equal", ["Unmanaged"], set()),
        ("AccountId", "Equal", ["123456789012"], {0, 1, 2, 3, 4}),
        ("Region", "NotEqual", ["us-east-1"], set()),
        ("OrganizationalUnitId", "Equal", ["ou-abcd-12345678"], set()),
    ],
)
def test_filters(world: Any, ids: list[str], key: str, kind: str, values: list[str], expected: set[int]) -> None:
    result = world.call("ListNodes", {"Filters": [{"Key": key, "Type": kind, "Values": values}]})
    assert {each["Id"] for each in result["Nodes"]} == {ids[number] for number in expected}


def test_a_node_is_shown_with_owner_region_and_what_it_told(world: Any, ids: list[str]) -> None:
    filters = [{"Key": "InstanceId", "Values": [ids[3]]}]
    (node,) = world.call("ListNodes", {"Filters": filters})["Nodes"]
    assert (node["Id"], node["Owner"], node["Region"]) == (ids[3], {"AccountId": world.account}, "us-east-1")
    assert node["CaptureTime"] == world.clock.now()
    instance = node["NodeType"]["Instance"]
    assert (instance["InstanceStatus"], instance["ManagedStatus"], instance["Name"]) == ("Active", "Managed", "n3")


def test_paging_misses_and_repeats_nothing(world: Any, ids: list[str]) -> None:
    for size in (1, 2, 5):
        pages = world.pages("ListNodes", {"MaxResults": size}, "Nodes")
        assert [each["Id"] for page in pages for each in page] == sorted(ids)


def test_counts_by_one_attribute(world: Any, ids: list[str]) -> None:
    summary = world.call("ListNodesSummary", {"Aggregators": [counted("PlatformType")]})["Summary"]
    assert summary == [
        {"Count": "1", "PlatformType": ""},
        {"Count": "3", "PlatformType": "Linux"},
        {"Count": "1", "PlatformType": "Windows"},
    ]
    region = world.call("ListNodesSummary", {"Aggregators": [counted("Region")]})["Summary"]
    assert region == [{"Count": "5", "Region": "us-east-1"}]


def test_counts_by_two_attributes_page_by_page(world: Any, ids: list[str]) -> None:
    request = {"Aggregators": [counted("PlatformType", "PlatformName"), counted("ResourceType")], "MaxResults": 1}
    pages = world.pages("ListNodesSummary", request, "Summary")
    rows = [row for page in pages for row in page]
    by_platform = Counter({(row["PlatformType"], row["PlatformName"]): int(row["Count"]) for row in rows[:-1]})
    assert by_platform == Counter(PLATFORMS)
    assert rows[-1] == {"Count": "5", "ResourceType": "ManagedInstance"}


def test_filters_limit_what_is_counted(world: Any, ids: list[str]) -> None:
    filters = [{"Key": "InstanceStatus", "Values": ["Active"]}]
    request = {"Aggregators": [counted("PlatformType")], "Filters": filters}
    assert world.call("ListNodesSummary", request)["Summary"] == [
        {"Count": "2", "PlatformType": "Linux"},
        {"Count": "1", "PlatformType": "Windows"},
    ]


def test_what_cannot_be_answered_is_refused(world: Any) -> None:
    deep = counted("PlatformType")
    deep["Aggregators"] = [counted("PlatformName", "AgentVersion")]
    for aggregator in (deep, counted("PlatformType", "PlatformType")):
        with pytest.raises(InvalidAggregatorException):
            world.call("ListNodesSummary", {"Aggregators": [aggregator]})
    with pytest.raises(ResourceDataSyncNotFoundException):
        world.call("ListNodes", {"SyncName": "sync"})
    with pytest.raises(InvalidFilter):
        world.call("ListNodes", {"Filters": [{"Key": "ManagedStatus", "Values": ["Some"]}]})
