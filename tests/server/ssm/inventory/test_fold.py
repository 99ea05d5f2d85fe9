"""Fold: in bounded steps, and whatever the order of puts and steps the answers are those of plain rows."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, NamedTuple

import pytest

from fleetward.server.ssm import inventory
from fleetward.server.ssm.inventory import rows
from tests.server.ssm.inventory.conftest import APPLICATION

pytest_plugins = ["tests.services"]


class Blob(NamedTuple):
    """What a step reads of one node."""

    node_id: str
    digests: bytes
    folded: bytes


def test_a_large_report_is_folded_in_steps(fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    stock.packages(node_id, *(f"p{number:04}" for number in range(1000)))
    assert stock.fold() == 2
    assert len(stock.counts(f"{APPLICATION}.Name")) == 1000
    assert stock.fold() == 0


def test_each_node_is_unpacked_once_and_few_in_a_step(fleet: Any, stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [fleet.admit() for _ in range(2 * inventory.fold.MOST_OPENED + 1)]
    for number, node_id in enumerate(nodes):
        stock.packages(node_id, "shared", f"own-{number}")
    unpack, unpacked = rows.unpack, []
    monkeypatch.setattr(rows, "unpack", lambda content: unpacked.append(content) or unpack(content))
    assert stock.fold() == 3
    assert len(unpacked) == len(nodes)
    for node_id in nodes:
        stock.packages(node_id, "shared")
    unpacked.clear()
    stock.fold()
    assert not unpacked  # what they have is known
    assert stock.counts(f"{APPLICATION}.Name") == [("shared", str(len(nodes)))]


def test_what_all_nodes_have_is_written_once_for_all_of_a_step() -> None:
    shared = range(1000, 1400)
    blobs = [Blob(f"mi-{number}", rows.write_digests([*shared, number]), b"") for number in range(40)]
    step = inventory.fold.planned(blobs, {f"mi-{number}": number for number in range(40)})  # type: ignore[arg-type]
    assert all(step.added[digest] == [*range(40)] for digest in shared)
    assert len(step.added) == len(shared) + inventory.fold.MOST_OPENED
    assert step.done == [f"mi-{number}" for number in range(inventory.fold.MOST_OPENED)]


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_answers_are_exact_at_any_moment(world: Any, fleet: Any, stock: Any) -> None:
    chance = random.Random(5)
    nodes = [fleet.admit() for _ in range(5)]
    told: dict[str, list[str]] = {}
    for _ in range(40):
        node_id = chance.choice(nodes)
        told[node_id] = chance.sample(
            [f"{name}={version}" for name in "abcdef" for version in "12"], chance.randrange(6)
        )
        stock.packages(node_id, *told[node_id])
        if chance.random() < 0.3:
            stock.fold()
        names = Counter(name for has in told.values() for name in {each[0] for each in has})
        assert dict(stock.counts(f"{APPLICATION}.Name")) == {name: str(count) for name, count in names.items()}
