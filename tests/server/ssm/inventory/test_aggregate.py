"""Aggregates: counts of nodes by value, nested, by groups; exact before and after folding."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.ssm import errors
from tests.server.ssm.inventory.conftest import APPLICATION, item, package, where

NAME, VERSION = f"{APPLICATION}.Name", f"{APPLICATION}.Version"


@pytest.fixture
def three(fleet: Any, stock: Any) -> list[str]:
    """Three nodes that have told of their packages."""
    found = [fleet.admit() for _ in range(3)]
    for node_id, names in zip(found, (("bash=5.1", "zsh=5.8"), ("bash=5.2",), ("bash=5.2", "zsh=5.9")), strict=True):
        stock.packages(node_id, *names)
    return found


def test_nodes_are_counted_by_value(stock: Any, three: list[str]) -> None:
    for _ in range(2):
        assert stock.counts(NAME) == [("bash", "3"), ("zsh", "2")]
        assert stock.counts(NAME, MaxResults=1) == [("bash", "3"), ("zsh", "2")]
        assert stock.counts(NAME, filters=[where(VERSION, "5.9")]) == [("bash", "1"), ("zsh", "1")]
        stock.fold()


def test_a_node_with_two_versions_counts_once(fleet: Any, stock: Any) -> None:
    stock.put(fleet.admit(), item([package("kernel", "1"), package("kernel", "2")]))
    assert stock.counts(NAME) == [("kernel", "1")]
    stock.fold()
    assert stock.counts(NAME) == [("kernel", "1")]


def test_neighbours_of_one_type_are_counted_by_row(stock: Any, three: list[str]) -> None:
    stock.fold()
    assert stock.counts(NAME, VERSION) == [
        ("bash", "5.2", "2"),
        ("bash", "5.1", "1"),
        ("zsh", "5.8", "1"),
        ("zsh", "5.9", "1"),
    ]


def test_different_types_are_counted_by_node(world: Any, stock: Any, fleet: Any, three: list[str]) -> None:
    heartbeat = {"InstanceId": three[0], "AgentVersion": "1", "AgentStatus": "Active", "PlatformType": "Linux"}
    world.call("UpdateInstanceInformation", heartbeat, three[0])
    assert stock.counts("AWS:InstanceInformation.PlatformType", NAME) == [
        ("", "bash", "2"),
        ("", "zsh", "1"),
        ("linux", "bash", "1"),
        ("linux", "zsh", "1"),
    ]


def test_changes_count_at_once_and_after_folding(world: Any, stock: Any, three: list[str]) -> None:
    stock.fold()
    stock.packages(three[0], "fish")
    for _ in range(2):
        assert stock.counts(NAME) == [("bash", "2"), ("fish", "1"), ("zsh", "1")]
        stock.fold()
    stock.put(three[0], item([]))
    stock.fold()
    assert stock.counts(NAME) == [("bash", "2"), ("zsh", "1")]


def test_groups_count_who_fits_and_who_does_not(stock: Any, three: list[str]) -> None:
    groups = [
        {"Name": "zsh", "Filters": [where(NAME, "zsh")]},
        {"Name": "told", "Filters": [where("TypeName", APPLICATION, "AWS:File", kind="Exists")]},
    ]
    found = {}
    for entity in stock.entities(Aggregators=[{"Groups": groups}]):
        for name, data in entity["Data"].items():
            found[name] = data["Content"]
    assert found == {
        "zsh": [{"notMatchingCount": "1"}, {"matchingCount": "2"}],
        "told": [{"notMatchingCount": "0"}, {"matchingCount": "3"}],
    }


@pytest.mark.parametrize(
    "aggregator",
    [
        {"Expression": "AWS:Application.Summary"},
        {"Expression": "AWS:File.Name"},
        {},
        {"Expression": NAME, "Aggregators": [{"Aggregators": [{"Expression": VERSION}]}]},
    ],
)
def test_what_cannot_be_aggregated_is_refused(stock: Any, aggregator: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidAggregatorException):
        stock.entities(Aggregators=[aggregator])
