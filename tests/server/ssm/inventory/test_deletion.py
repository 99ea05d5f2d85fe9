"""Deleting custom types: what nodes told goes in chunks; a disabled version is ignored until a newer one comes."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.jobs import Job
from fleetward.server.ssm import errors, inventory
from tests.server.ssm.inventory.conftest import item

RACK = "Custom:Rack"


def delete(world: Any, **request: Any) -> dict[str, Any]:
    """A deletion that has run to its end; what it answered."""
    answer: dict[str, Any] = world.call("DeleteInventory", {"TypeName": RACK, **request})
    job = Job(world.account, world.region, "", "inventory-deletion", answer["DeletionId"], "start", {}, 0)
    while world.do(lambda call: inventory.deletion.delete_chunk(call, job)).step:
        pass
    return answer


def test_a_deleted_type_is_gone_and_can_be_told_again(world: Any, fleet: Any, stock: Any) -> None:
    nodes = [fleet.admit() for _ in range(3)]
    for node_id in nodes:
        stock.put(node_id, item([{"Rack": "a"}], RACK))
    stock.fold()
    planned = world.call("DeleteInventory", {"TypeName": RACK, "DryRun": True})["DeletionSummary"]
    assert planned == {
        "TotalCount": 3,
        "RemainingCount": 3,
        "SummaryItems": [{"Version": "1.0", "Count": 3, "RemainingCount": 3}],
    }
    answer = delete(world)
    (told,) = world.call("DescribeInventoryDeletions", {"DeletionId": answer["DeletionId"]})["InventoryDeletions"]
    assert (told["LastStatus"], told["DeletionSummary"]["RemainingCount"]) == ("Complete", 0)
    with pytest.raises(errors.InvalidTypeNameException):
        stock.entries(nodes[0], RACK)
    stock.fold()
    world.clock.advance(world.clock.now().resolution)
    stock.put(nodes[0], item([{"Rack": "b"}], RACK))
    assert stock.counts(f"{RACK}.Rack") == [("b", "1")]


def test_a_disabled_version_is_ignored(world: Any, fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    stock.put(node_id, item([{"Rack": "a"}], RACK))
    delete(world, SchemaDeleteOption="DisableSchema")
    stock.put(node_id, item([{"Rack": "b"}], RACK))
    assert stock.entries(node_id, RACK) == []
    stock.put(node_id, item([{"Rack": "c"}], RACK, SchemaVersion="1.1"))
    assert stock.entries(node_id, RACK) == [{"Rack": "c"}]


def test_a_token_begins_one_deletion(world: Any, fleet: Any, stock: Any) -> None:
    stock.put(fleet.admit(), item([{"Rack": "a"}], RACK))
    token = "00000000-0000-4000-8000-000000000000"
    assert delete(world, ClientToken=token)["DeletionId"] == delete(world, ClientToken=token)["DeletionId"]
    assert len(world.pages("DescribeInventoryDeletions", {"MaxResults": 1}, "InventoryDeletions")) == 1


def test_deletions_are_paged_the_latest_first(world: Any, fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    begun = []
    for _ in range(3):
        world.clock.advance(world.clock.now().resolution)
        stock.put(node_id, item([{"Rack": "a"}], RACK))
        begun.append(delete(world)["DeletionId"])
    pages = world.pages("DescribeInventoryDeletions", {"MaxResults": 2}, "InventoryDeletions")
    assert [each["DeletionId"] for page in pages for each in page] == begun[::-1]


def test_aws_types_and_unknown_deletions_are_refused(world: Any) -> None:
    with pytest.raises(errors.InvalidTypeNameException):
        world.call("DeleteInventory", {"TypeName": "AWS:Application"})
    with pytest.raises(errors.InvalidDeletionIdException):
        world.call("DescribeInventoryDeletions", {"DeletionId": "00000000-0000-4000-8000-000000000000"})
