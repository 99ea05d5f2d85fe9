"""DescribeParameters: what it lists, by which filters."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.ssm import errors

pytest_plugins = ("tests.services",)


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_filters_choose(world: Any, store: Any) -> None:
    for name in ("/a/b", "/a/b/c", "/a%b", "one"):
        if "%" not in name:
            store.put(name)
    store.put("two", Type="SecureString", Tier="Advanced")
    assert store.names() == ["/a/b", "/a/b/c", "one", "two"]
    assert store.names(Key="Name", Option="BeginsWith", Values=["/a/"]) == ["/a/b", "/a/b/c"]
    assert store.names(Key="Name", Option="Contains", Values=["w", "ne"]) == ["one", "two"]
    assert store.names(Key="Name", Option="Contains", Values=["%"]) == []
    assert store.names(Key="Path", Values=["/a"]) == ["/a/b"]
    assert store.names(Key="Path", Option="Recursive", Values=["/a"]) == ["/a/b", "/a/b/c"]
    assert store.names(Key="Type", Values=["SecureString"]) == ["two"]
    assert store.names(Key="Tier", Values=["Advanced"]) == ["two"]
    assert store.names(Key="KeyId", Values=["alias/aws/ssm"]) == ["two"]
    old = world.call("DescribeParameters", {"Filters": [{"Key": "Name", "Values": ["o"]}]})
    assert [each["Name"] for each in old["Parameters"]] == ["one"]


def test_pages_follow_each_other(world: Any, store: Any) -> None:
    for number in range(5):
        store.put(f"p{number}")
    first = world.call("DescribeParameters", {"MaxResults": 3})
    rest = world.call("DescribeParameters", {"MaxResults": 3, "NextToken": first["NextToken"]})
    shown = [each["Name"] for each in (*first["Parameters"], *rest["Parameters"])]
    assert shown == [f"p{number}" for number in range(5)]
    assert "NextToken" not in rest


@pytest.mark.parametrize(
    ("parameter_filter", "fault"),
    [
        ({"Key": "Label", "Values": ["x"]}, errors.InvalidFilterKey),
        ({"Key": "Name", "Option": "Recursive", "Values": ["x"]}, errors.InvalidFilterOption),
        ({"Key": "Name"}, errors.InvalidFilterValue),
    ],
)
def test_filters_that_cannot_be(world: Any, store: Any, parameter_filter: dict[str, Any], fault: Any) -> None:
    with pytest.raises(fault):
        store.names(**parameter_filter)
