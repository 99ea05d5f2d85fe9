"""Fold: in bounded steps, and whatever the order of puts and steps the answers are those of plain rows."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from tests.server.ssm.inventory.conftest import APPLICATION

pytest_plugins = ["tests.services"]


def test_a_large_report_is_folded_in_steps(fleet: Any, stock: Any) -> None:
    node_id = fleet.admit()
    stock.packages(node_id, *(f"p{number:04}" for number in range(1000)))
    assert stock.fold() == 2
    assert len(stock.counts(f"{APPLICATION}.Name")) == 1000
    assert stock.fold() == 0


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
