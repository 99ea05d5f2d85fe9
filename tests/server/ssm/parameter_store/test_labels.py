"""Labels: on versions, moving between them, at most ten."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.ssm import errors

pytest_plugins = ("tests.services",)


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_a_label_moves_and_is_taken_off(world: Any, store: Any) -> None:
    store.put("a", "one")
    store.put("a", "two")
    world.call("LabelParameterVersion", {"Name": "a", "ParameterVersion": 1, "Labels": ["live"]})
    assert store.value("a:live") == "one"
    answer = world.call("LabelParameterVersion", {"Name": "a", "Labels": ["live", "1st", "awsome"]})
    assert answer == {"InvalidLabels": ["1st", "awsome"], "ParameterVersion": 2}
    assert store.value("a:live") == "two"
    wrong = world.call("UnlabelParameterVersion", {"Name": "a", "ParameterVersion": 1, "Labels": ["live"]})
    assert wrong == {"RemovedLabels": [], "InvalidLabels": ["live"]}
    world.call("UnlabelParameterVersion", {"Name": "a", "ParameterVersion": 2, "Labels": ["live"]})
    with pytest.raises(errors.ParameterVersionNotFound):
        store.get("a:live")


def test_a_version_has_ten_labels_at_most(world: Any, store: Any) -> None:
    store.put("a")
    world.call("LabelParameterVersion", {"Name": "a", "Labels": [f"l{number}" for number in range(10)]})
    with pytest.raises(errors.ParameterVersionLabelLimitExceeded):
        world.call("LabelParameterVersion", {"Name": "a", "Labels": ["more"]})
    with pytest.raises(errors.ParameterVersionNotFound):
        world.call("LabelParameterVersion", {"Name": "a", "ParameterVersion": 2, "Labels": ["more"]})
    with pytest.raises(errors.ParameterNotFound):
        world.call("LabelParameterVersion", {"Name": "b", "Labels": ["more"]})
