"""Custom types: their schema is what was told, and there are so many of them."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.ssm import errors
from tests.server.ssm.inventory.conftest import item


def test_a_custom_type_has_the_attributes_that_were_told(world: Any, fleet: Any, stock: Any) -> None:
    one, other = fleet.admit(), fleet.admit()
    stock.put(one, item([{"Rack": "a", "Row": "1"}], "Custom:Rack"))
    stock.put(other, item([{"Rack": "b", "Floor": "2"}], "Custom:Rack", SchemaVersion="1.1"))
    (schema,) = world.call("GetInventorySchema", {"TypeName": "Custom:"})["Schemas"]
    assert [each["Name"] for each in schema["Attributes"]] == ["Floor", "Rack", "Row"]
    assert schema["Version"] == "1.1"
    assert stock.entries(one, "Custom:Rack") == [{"Rack": "a", "Row": "1"}]


def test_there_are_twenty_custom_types(fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    stock.put(node_id, *(item([{"A": "b"}], f"Custom:Type{number}") for number in range(20)))
    with pytest.raises(errors.CustomSchemaCountLimitExceededException):
        stock.put(node_id, item([{"A": "b"}], "Custom:OneMore"))


def test_a_custom_type_has_fifty_attributes(fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    stock.put(node_id, item([{f"A{number}": "b" for number in range(50)}], "Custom:Wide"))
    with pytest.raises(errors.InvalidItemContentException):
        stock.put(node_id, item([{"OneMore": "b"}], "Custom:Wide"))


def test_a_type_nobody_told_of_is_refused(fleet: Any, stock: Any) -> None:
    with pytest.raises(errors.InvalidTypeNameException):
        stock.entries(fleet.admit(), "Custom:Unheard")
