"""GetInventory, ListInventoryEntries, GetInventorySchema: filters, pages, what AWS's types are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.ssm import errors
from tests.server.ssm.inventory.conftest import APPLICATION, item, package, where

NAME, VERSION = f"{APPLICATION}.Name", f"{APPLICATION}.Version"


@pytest.fixture
def three(fleet: Any, stock: Any) -> list[str]:
    """Three nodes; the first two are folded when a test begins, the third is not."""
    found = [fleet.admit(tags={"Site": site}) for site in ("a", "b", "b")]
    stock.packages(found[0], "bash=5.1", "zsh=5.8")
    stock.packages(found[1], "bash=5.2")
    stock.fold()
    stock.packages(found[2], "bash=5.2", "zsh=5.9")
    return found


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([where(NAME, "zsh")], [0, 2]),
        ([where(NAME, "zsh", "bash")], [0, 1, 2]),
        ([where(NAME, "zsh"), where(VERSION, "5.8")], [0]),
        ([where(NAME, "bash"), where(VERSION, "5.8")], []),
        ([where(VERSION, "5.2", kind="GreaterThan")], [0, 2]),
        ([where(VERSION, "5.2", kind="LessThan")], [0]),
        ([where(NAME, "z", kind="BeginWith")], [0, 2]),
        ([where(NAME, "bash", kind="NotEqual")], [0, 2]),
        ([where("AWS:Tag.Key", "Site"), where("AWS:Tag.Value", "b")], [1, 2]),
        ([where("AWS:Tag.Value", "b"), where(NAME, "zsh")], [2]),
        ([where("AWS:InstanceInformation.InstanceStatus", "Active")], []),
    ],
)
def test_filters_choose_nodes(stock: Any, three: list[str], filters: list[dict[str, Any]], found: list[int]) -> None:
    assert stock.ids(*filters) == [three[index] for index in found]
    stock.fold()
    assert stock.ids(*filters) == [three[index] for index in found]


def test_what_is_no_identity_is_found_too(fleet: Any, stock: Any) -> None:
    one, other = fleet.admit(), fleet.admit()
    stock.put(one, item([package("bash", InstalledTime="2030-01-01T00:00:00Z")]))
    stock.put(other, item([{"Name": "eth0", "IPV4": "10.0.0.1"}], "AWS:Network"))
    stock.fold()
    assert stock.ids(where(f"{APPLICATION}.InstalledTime", "2030", kind="BeginWith")) == [one]
    assert stock.ids(where("AWS:Network.IPV4", "10.0.0.1")) == [other]


def test_a_result_attribute_gives_the_items(stock: Any, three: list[str]) -> None:
    found = stock.entities(ResultAttributes=[{"TypeName": APPLICATION}], MaxResults=2)
    assert [each["Id"] for each in found] == three
    assert [row["Version"] for row in found[2]["Data"][APPLICATION]["Content"]] == ["5.2", "5.9"]
    assert found[0]["Data"][APPLICATION]["ContentHash"]


def test_without_a_result_attribute_nodes_are_described(stock: Any, three: list[str]) -> None:
    (found,) = stock.entities(where("AWS:InstanceInformation.InstanceId", three[1]))
    (row,) = found["Data"]["AWS:InstanceInformation"]["Content"]
    assert row == {"InstanceId": three[1], "InstanceStatus": "ConnectionLost", "ResourceType": "ManagedInstance"}


def test_entries_are_filtered_and_paged(world: Any, fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    stock.packages(node_id, *(f"p{number:03}" for number in range(120)))
    assert len(stock.entries(node_id)) == 120
    assert [row["Name"] for row in stock.entries(node_id, APPLICATION, where("Name", "p00", kind="BeginWith"))] == [
        f"p{number:03}" for number in range(10)
    ]
    assert len(stock.entries(node_id, APPLICATION, where(NAME, "p117", kind="GreaterThan"))) == 2


def test_a_node_that_left_is_told_of_for_thirty_days(world: Any, fleet: Any, stock: Any, three: list[str]) -> None:
    world.call("DeregisterManagedInstance", {"InstanceId": three[0]})
    (row,) = stock.entries(three[0], "AWS:InstanceInformation")
    assert row["InstanceStatus"] == "Terminated"
    assert stock.ids(where(NAME, "zsh")) == [three[0], three[2]]
    with pytest.raises(errors.InvalidInstanceId):
        stock.put(three[0], item([package("bash")]), by="root")


def test_types_are_described(world: Any) -> None:
    listed = {each["TypeName"]: each for each in world.call("GetInventorySchema")["Schemas"]}
    assert listed[APPLICATION]["Version"] == "1.1"
    assert {"Name": "InstalledCount", "DataType": "number"} in listed["AWS:PatchSummary"]["Attributes"]
    aggregates = world.call("GetInventorySchema", {"Aggregator": True, "TypeName": "AWS:In"})["Schemas"]
    (platform,) = aggregates
    assert platform["DisplayName"] == "Platform"
    assert [each["Name"] for each in platform["Attributes"]] == ["PlatformName", "PlatformType", "PlatformVersion"]


@pytest.mark.parametrize(
    "filters", [where("Name", "bash"), where(NAME, "true", kind="Exists"), where("TypeName", APPLICATION)]
)
def test_filters_that_mean_nothing_are_refused(stock: Any, filters: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidFilter):
        stock.ids(filters)
    with pytest.raises(errors.InvalidTypeNameException):
        stock.ids(where("AWS:Nonsense.Name", "bash"))


def test_data_of_a_node_are_forgotten_thirty_days_after_it_left(
    world: Any, fleet: Any, stock: Any, three: list[str]
) -> None:
    from fleetward.server.ssm.inventory import membership

    world.call("DeregisterManagedInstance", {"InstanceId": three[0]})
    world.clock.advance(timedelta(days=31))
    world.do(membership.forget_old)
    assert stock.ids(where(NAME, "zsh")) == [three[2]]
    stock.fold()
    world.do(membership.forget_old)
    with pytest.raises(errors.InvalidInstanceId):
        stock.entries(three[0])
    assert stock.counts(VERSION) == [("5.2", "2"), ("5.9", "1")]
