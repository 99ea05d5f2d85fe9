"""PutInventory: what is kept, the protocol of hashes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException
from fleetward.server.ssm import errors
from tests.server.ssm.inventory.conftest import APPLICATION, item, package, same


def test_what_a_node_put_is_listed_as_it_was_told(world: Any, fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    rows = [package("zsh", InstalledTime="2030-01-01T00:00:00Z"), package("bash", "5.2")]
    stock.put(node_id, item(rows))
    listed = world.call("ListInventoryEntries", {"InstanceId": node_id, "TypeName": APPLICATION})
    assert listed["Entries"] == rows
    assert (listed["SchemaVersion"], listed["CaptureTime"]) == ("1.1", "2030-01-01T12:00:00Z")
    stock.put(node_id, item([package("bash", "5.3")]))
    assert [row["Version"] for row in stock.entries(node_id)] == ["5.3"]


def test_a_hash_alone_means_unchanged(world: Any, fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    told = item([package("bash")])
    stock.put(node_id, told)
    stock.put(node_id, same(told, CaptureTime="2030-02-01T00:00:00Z"))
    listed = world.call("ListInventoryEntries", {"InstanceId": node_id, "TypeName": APPLICATION})
    assert (listed["CaptureTime"], len(listed["Entries"])) == ("2030-02-01T00:00:00Z", 1)


def test_an_unknown_hash_wants_the_content(fleet: Any, stock: Any) -> None:
    node_id, other = fleet.admit(), fleet.admit()
    told = item([package("bash")])
    stock.put(node_id, told)
    for who, hashed in ((other, told["ContentHash"]), (node_id, "another")):
        with pytest.raises(errors.ItemContentMismatchException):
            stock.put(who, same(told, ContentHash=hashed))
    assert len(stock.entries(node_id)) == 1


def test_an_empty_list_clears_the_type(fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    stock.packages(node_id, "bash")
    stock.put(node_id, item([]))
    assert stock.entries(node_id) == []
    stock.put(node_id, same(item([])))


def test_a_put_with_one_wrong_item_changes_nothing(fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    with pytest.raises(errors.ItemContentMismatchException):
        stock.put(node_id, item([package("bash")]), same(item([], "AWS:Network")))
    assert stock.entries(node_id) == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"TypeName": "AWS:Nonsense"}, errors.InvalidTypeNameException),
        ({"TypeName": "Custom:"}, errors.InvalidTypeNameException),
        ({"TypeName": "AWS:InstanceInformation"}, errors.InvalidTypeNameException),
        ({"SchemaVersion": "2.0"}, errors.UnsupportedInventorySchemaVersionException),
        ({"Context": {"ComplianceType": "Patch"}}, errors.UnsupportedInventoryItemContextException),
        (
            {"TypeName": "AWS:ComplianceItem", "SchemaVersion": "1.0", "Context": {"Colour": "red"}},
            errors.InvalidInventoryItemContextException,
        ),
    ],
)
def test_items_that_cannot_be_put_are_refused(fleet: Any, stock: Any, wrong: dict[str, Any], error: type) -> None:
    node_id = fleet.admit()
    with pytest.raises(error):
        stock.put(node_id, item([package("bash")], **wrong))
    stock.packages(node_id, "bash")


def test_an_item_of_neither_content_nor_hash_is_refused(fleet: Any, stock: Any) -> None:
    with pytest.raises(errors.InvalidItemContentException):
        stock.put(
            fleet.admit(), {"TypeName": APPLICATION, "SchemaVersion": "1.1", "CaptureTime": "2030-01-01T00:00:00Z"}
        )


def test_sizes_are_bounded(fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    large = item([{"Name": f"{number}", "Description": "x" * 4000} for number in range(800)], "AWS:File")
    with pytest.raises(errors.ItemSizeLimitExceededException):
        stock.put(node_id, large)
    some = [{"Name": f"{number}", "Description": "x" * 4000} for number in range(750)]
    with pytest.raises(errors.TotalSizeLimitExceededException):
        stock.put(node_id, *(item(some, f"Custom:Large{number}") for number in range(4)))


def test_a_node_tells_about_itself_alone(fleet: Any, stock: Any) -> None:
    node_id, other = fleet.admit(), fleet.admit()
    with pytest.raises(AccessDeniedException):
        stock.put(node_id, item([package("bash")]), by=other)
    with pytest.raises(errors.InvalidInstanceId):
        stock.put("mi-00000000000000000", item([package("bash")]), by="root")


def test_the_context_holds_for_every_row(fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    stock.put(node_id, item([{"Id": "a"}], "AWS:ComplianceItem", Context={"ComplianceType": "Patch"}))
    assert stock.entries(node_id, "AWS:ComplianceItem") == [{"ComplianceType": "Patch", "Id": "a"}]
