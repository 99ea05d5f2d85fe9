"""Targets: what ids and tags select, against a naive selection; paging by id; distinct tag sets."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetward.server import resource_groups
from fleetward.server.errors import ValidationException
from fleetward.server.ssm import nodes
from fleetward.server.ssm.errors import InvalidInstanceId

pytest_plugins = ("tests.services",)

CONTENTS = [{}, {"env": "prod"}, {"env": "test"}, {"env": "prod", "team": "a"}, {"env": "prod"}, {"team": "b"}, {}]
KEYS = ["InstanceIds", "tag:env", "tag:team", "tag:none", "tag-key"]
VALUES = ["prod", "test", "a", "b", "env", "team", "Prod", "mi-00000000000000000"]


@pytest.fixture(scope="module")
def made() -> dict[str, dict[str, str]]:
    """Node id -> tags; filled by the first example."""
    return {}


@given(
    chosen=st.lists(
        st.tuples(st.sampled_from(KEYS), st.lists(st.sampled_from([*VALUES, *range(7)]), min_size=1, max_size=3)),
        min_size=1,
        max_size=3,
    ),
    size=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_selection_agrees_with_a_naive_one(
    world: Any, fleet: Any, made: dict[str, dict[str, str]], chosen: list[tuple[str, list[Any]]], size: int
) -> None:
    if not made:
        made.update({fleet.admit(tags=content): content for content in CONTENTS})
    ids = list(made)
    targets = [
        {"Key": key, "Values": [ids[value] if isinstance(value, int) else value for value in values]}
        for key, values in chosen
    ]
    wanted = sorted(node_id for node_id in ids if all(fits(node_id, made[node_id], target) for target in targets))

    listed: list[str] = []
    while page := fleet.do(nodes.select, targets, listed[-1] if listed else "", size):
        assert len(page) <= size
        listed += [row.node_id for row in page]
    assert listed == wanted
    assert fleet.do(nodes.count, targets) == len(wanted)
    assert [node_id for node_id in sorted(ids) if fleet.do(nodes.is_target, targets, node_id)] == wanted
    sets = {frozenset(each.content.items()): each.count for each in fleet.do(nodes.tag_sets, targets)}
    assert sets == Counter(frozenset(made[node_id].items()) for node_id in wanted)


def fits(node_id: str, content: dict[str, str], target: dict[str, Any]) -> bool:
    key, values = target["Key"], target["Values"]
    if key == "InstanceIds":
        return node_id in values
    if key == "tag-key":
        return any(value in content for value in values)
    return content.get(key.removeprefix("tag:")) in values


def test_a_star_means_every_node_and_no_target_means_none(fleet: Any) -> None:
    every = sorted(fleet.admit() for _ in range(3))
    assert [row.node_id for row in fleet.do(nodes.select, [{"Key": "InstanceIds", "Values": ["*"]}])] == every
    assert fleet.do(nodes.select, []) == []
    assert fleet.do(nodes.count, []) == 0
    assert fleet.do(nodes.tag_sets, []) == []


def grouped(world: Any, name: str, *node_ids: str, **tags: list[str]) -> None:
    """A group of these nodes, or of what has these tags."""
    world.services["resource-groups"] = resource_groups.resource_groups
    request: dict[str, Any] = {"Name": name}
    if tags:
        filters = [{"Key": key, "Values": values} for key, values in tags.items()]
        content = {"ResourceTypeFilters": ["AWS::SSM::ManagedInstance"], "TagFilters": filters}
        request["ResourceQuery"] = {"Type": "TAG_FILTERS_1_0", "Query": json.dumps(content)}
    world.call("resource-groups:CreateGroup", request)
    if node_ids:
        arns = [f"arn:aws:ssm:us-east-1:{world.account}:managed-instance/{node_id}" for node_id in node_ids]
        world.call("resource-groups:GroupResources", {"Group": name, "ResourceArns": arns})


def group(*names: str) -> dict[str, Any]:
    return {"Key": "resource-groups:Name", "Values": list(names)}


def types(*names: str) -> dict[str, Any]:
    return {"Key": "resource-groups:ResourceTypeFilters", "Values": list(names)}


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_a_group_means_its_nodes_as_they_are_now(world: Any, fleet: Any) -> None:
    prod, test, other = (fleet.admit(tags={"env": env, "team": "a"}) for env in ("prod", "test", "none"))
    grouped(world, "listed", prod, other)
    grouped(world, "asked", env=["prod", "test"], team=[])

    def found(*targets: Any) -> list[str]:
        sets = fleet.do(nodes.tag_sets, targets)
        ids = [row.node_id for row in fleet.do(nodes.select, targets)]
        assert len(ids) == fleet.do(nodes.count, targets) == sum(each.count for each in sets)
        return ids

    assert found(group("listed")) == sorted((prod, other))
    assert found(group("asked")) == sorted((prod, test))
    assert found(group("asked"), group("listed")) == [prod]
    assert found(group("asked"), {"Key": "tag:env", "Values": ["test"]}) == [test]
    assert found(group("asked"), types("AWS::SSM::ManagedInstance")) == sorted((prod, test))
    assert found(group("asked"), types("AWS::EC2::Instance")) == []
    assert found(group("nobody")) == []
    world.call("resource-groups:DeleteGroup", {"Group": "asked"})
    assert found(group("asked")) == []


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([group("good")], ""),
        ([group("listed"), types("AWS::SSM::ManagedInstance")], ""),
        ([group("good", "listed")], "one group"),
        ([group("good"), group("listed")], "one group"),
        ([group("nobody")], "no resource group"),
        ([types("AWS::SSM::ManagedInstance")], "about a group"),
        ([group("keys")], "more than 5"),
        ([group("values")], "more than 5"),
        ([{"Key": "InstanceIds", "Values": ["*"]}], ""),
    ],
)
def test_what_is_wrong_with_groups_as_targets_is_said(world: Any, fleet: Any, targets: Any, said: str) -> None:
    grouped(world, "good", env=["a"])
    grouped(world, "listed")
    grouped(world, "keys", **{f"key{number}": [] for number in range(6)})
    grouped(world, "values", env=[str(number) for number in range(6)])
    fault = fleet.do(nodes.targets_fault, targets)
    assert (said in fault) if said else not fault


@pytest.mark.parametrize("key", ["tag:", "Platform", ""])
def test_keys_that_cannot_be_targeted_are_refused(fleet: Any, key: str) -> None:
    for refused in ({"Key": key, "Values": ["x"]}, {"Values": ["x"]}, {"Key": "tag:a"}, {"Key": "tag:a", "Values": []}):
        with pytest.raises(ValidationException, match="target"):
            fleet.do(nodes.select, [refused])
        with pytest.raises(ValidationException, match="target"):
            fleet.do(nodes.check_targets, [refused])


def test_the_case_of_instance_ids_does_not_count(fleet: Any) -> None:
    node_id = fleet.admit()
    fleet.admit()
    for key in ("instanceids", "InstanceIds"):
        assert [row.node_id for row in fleet.do(nodes.select, [{"Key": key, "Values": [node_id]}])] == [node_id]


def test_nodes_of_another_tenant_are_never_selected(world: Any, fleet: Any) -> None:
    node_id = fleet.admit(tags={"env": "prod"})
    stranger = world.as_root(world.other_account)
    for target in ({"Key": "tag:env", "Values": ["prod"]}, {"Key": "InstanceIds", "Values": ["*", node_id]}):
        assert world.do(lambda call, target=target: nodes.count(call, [target]), context=stranger) == 0


def test_required_nodes_come_in_the_order_asked_and_unknown_ones_are_named(fleet: Any) -> None:
    first, second = fleet.admit(name="a"), fleet.admit(name="b")
    assert [row.name for row in fleet.do(nodes.require, [second, first, second])] == ["b", "a", "b"]
    assert fleet.do(nodes.require, []) == []
    with pytest.raises(InvalidInstanceId, match="mi-00000000000000000, mi-00000000000000001") as caught:
        fleet.do(nodes.require, ["mi-00000000000000000", first, "mi-00000000000000001"])
    assert first not in caught.value.message


def test_platforms_are_known_once_told(fleet: Any) -> None:
    linux, silent = fleet.admit(), fleet.admit()
    fleet.beat(linux, PlatformType="Linux")
    assert fleet.do(nodes.platforms, [linux, silent]) == {linux: "Linux"}
