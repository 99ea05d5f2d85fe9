"""The `stock` fixture: nodes that put inventory, the job that folds it, and what is listed and counted of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pytest

from fleetward.server.jobs import Job
from fleetward.server.ssm import inventory

APPLICATION = "AWS:Application"
CAPTURED = "2030-01-01T12:00:00Z"


def package(name: str, version: str = "1.0", **more: str) -> dict[str, str]:
    """One item of AWS:Application."""
    return {"Name": name, "Version": version, "Publisher": "Debian", "Architecture": "amd64", **more}


def item(rows: Sequence[Mapping[str, str]], kind: str = APPLICATION, **more: Any) -> dict[str, Any]:
    """What a node tells of one type, with the hash that it finds."""
    hashed = hashlib.md5(orjson.dumps(rows), usedforsecurity=False).hexdigest()
    version = "1.1" if kind == APPLICATION else "1.0"
    told = {"TypeName": kind, "SchemaVersion": version, "CaptureTime": CAPTURED, "ContentHash": hashed}
    return {**told, "Content": list(rows), **more}


def same(told: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The item as a node tells it while nothing changed."""
    return {**{name: value for name, value in told.items() if name != "Content"}, **more}


def where(key: str, *values: str, kind: str = "Equal") -> dict[str, Any]:
    """One filter as a request carries it."""
    return {"Key": key, "Values": list(values), "Type": kind}


class Stock:
    """Puts inventory and reads it back."""

    def __init__(self, world: Any) -> None:
        self.world = world

    def put(self, node_id: str, *items: Mapping[str, Any], by: Any = None) -> None:
        """One PutInventory of the node itself."""
        self.world.call("PutInventory", {"InstanceId": node_id, "Items": list(items)}, by or node_id)

    def packages(self, node_id: str, *names: str) -> None:
        """The node has these packages, `name` or `name=version`."""
        self.put(node_id, item([package(*name.split("=")) for name in names]))

    def fold(self) -> int:
        """Run the job until nothing waits; how many steps that took."""
        job = Job(self.world.account, self.world.region, "", "inventory-fold", "", "start", {}, 0)
        for steps in range(1000):
            if self.world.do(lambda call: inventory.fold.fold(call, job)).due_at is not None:
                return steps
        raise AssertionError("folding does not end")

    def entries(self, node_id: str, kind: str = APPLICATION, *filters: Mapping[str, Any]) -> list[dict[str, str]]:
        """What ListInventoryEntries lists, all pages."""
        request: dict[str, Any] = {"InstanceId": node_id, "TypeName": kind}
        if filters:
            request["Filters"] = list(filters)
        return [row for page in self.world.pages("ListInventoryEntries", request, "Entries") for row in page]

    def entities(self, *filters: Mapping[str, Any], **request: Any) -> list[dict[str, Any]]:
        """What GetInventory answers, all pages."""
        if filters:
            request["Filters"] = list(filters)
        return [each for page in self.world.pages("GetInventory", request, "Entities") for each in page]

    def ids(self, *filters: Mapping[str, Any]) -> list[str]:
        """The nodes that fit."""
        return [each["Id"] for each in self.entities(*filters)]

    def counts(
        self, *expressions: str, filters: Iterable[Mapping[str, Any]] = (), **request: Any
    ) -> list[tuple[str, ...]]:
        """The rows of nested aggregators as their values with the count behind them."""
        nested: dict[str, Any] = {}
        for each in reversed(expressions):
            nested = {"Expression": each, **({"Aggregators": [nested]} if nested else {})}
        rows = [
            row
            for entity in self.entities(*filters, Aggregators=[nested], **request)
            for data in entity["Data"].values()
            for row in data["Content"]
        ]
        names = [each.rpartition(".")[2] for each in expressions]
        return [(*(row[name] for name in names), row["Count"]) for row in rows]


@pytest.fixture
def stock(world: Any) -> Stock:
    """Inventory of `world`."""
    return Stock(world)
