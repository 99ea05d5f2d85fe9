"""Tags: what may be tagged, limits, selection, and distinct sets against a naive count."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.ssm import tags
from fleetward.server.ssm.errors import InvalidResourceId, InvalidResourceType, TooManyTagsError

NODE = "ManagedInstance"


def add(world: Any, node_id: str, content: dict[str, str], caller: Any = "root") -> None:
    listed = [{"Key": key, "Value": value} for key, value in content.items()]
    world.call("AddTagsToResource", {"ResourceType": NODE, "ResourceId": node_id, "Tags": listed}, caller)


def listed(world: Any, node_id: str) -> dict[str, str]:
    result = world.call("ListTagsForResource", {"ResourceType": NODE, "ResourceId": node_id})
    return {tag["Key"]: tag["Value"] for tag in result["TagList"]}


def test_added_tags_are_listed_and_overwrite_those_of_the_same_key(world: Any, fleet: Any) -> None:
    node_id = fleet.admit()
    add(world, node_id, {"env": "test", "team": "a"})
    add(world, node_id, {"env": "prod", "ENV": "other"})
    assert listed(world, node_id) == {"ENV": "other", "env": "prod", "team": "a"}


def test_removing_a_tag_leaves_the_others_and_unknown_keys_are_no_error(world: Any, fleet: Any) -> None:
    node_id = fleet.admit(tags={"a": "1", "b": "2"})
    remove = {"ResourceType": NODE, "ResourceId": node_id, "TagKeys": ["a", "never"]}
    world.call("RemoveTagsFromResource", remove)
    assert listed(world, node_id) == {"b": "2"}
    world.call("RemoveTagsFromResource", {**remove, "TagKeys": ["b"]})
    world.call("RemoveTagsFromResource", {**remove, "TagKeys": ["b"]})
    assert listed(world, node_id) == {}


def test_fifty_tags_are_the_most_a_resource_can_have(world: Any, fleet: Any) -> None:
    node_id = fleet.admit()
    add(world, node_id, {f"key{number}": "" for number in range(50)})
    add(world, node_id, {"key0": "overwritten"})
    with pytest.raises(TooManyTagsError):
        add(world, node_id, {"one more": ""})
    with pytest.raises(TooManyTagsError):
        add(world, fleet.admit(), {f"key{number}": "" for number in range(51)})
    assert len(listed(world, node_id)) == 50


def test_keys_under_aws_are_reserved(world: Any, fleet: Any) -> None:
    with pytest.raises(ValidationException, match="reserved"):
        add(world, fleet.admit(), {"aws:cloudformation:stack-name": "x"})


def test_unknown_resources_and_types_are_refused(world: Any) -> None:
    with pytest.raises(InvalidResourceId):
        add(world, "mi-00000000000000000", {"a": "b"})
    with pytest.raises(InvalidResourceType):
        world.call("ListTagsForResource", {"ResourceType": "CloudConnector", "ResourceId": "x"})


def test_iam_decides_on_the_resource_and_the_tags_it_has(world: Any, fleet: Any) -> None:
    mine, other = fleet.admit(tags={"team": "mine"}), fleet.admit(tags={"team": "other"})
    condition = {"StringEquals": {"aws:ResourceTag/team": "mine"}}
    role = world.as_role(
        {"Effect": "Allow", "Action": "ssm:AddTagsToResource", "Resource": "*", "Condition": condition}
    )
    add(world, mine, {"a": "b"}, role)
    with pytest.raises(AccessDeniedException):
        add(world, other, {"a": "b"}, role)


def test_tags_of_another_tenant_are_not_seen(world: Any, fleet: Any) -> None:
    node_id = fleet.admit(tags={"a": "b"})
    with pytest.raises(InvalidResourceId):
        world.call("ListTagsForResource", {"ResourceType": NODE, "ResourceId": node_id}, account=world.other_account)


def test_changes_are_told_to_other_capabilities(world: Any, fleet: Any) -> None:
    node_id = fleet.admit()
    told = []

    def change(call: Any) -> None:
        tags.put(call, NODE, node_id, {"a": "1"})
        tags.drop(call, NODE, node_id)
        told.extend(call.events)

    world.do(change)
    assert told == [tags.TagsChanged(NODE, node_id, {"a": "1"}), tags.TagsChanged(NODE, node_id, {})]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "drop"]),
        st.integers(0, 3),
        st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_sets_and_selection_agree_with_a_plain_dict(world: Any, steps: list[Any]) -> None:
    resources = [f"r{number}" for number in range(4)]
    naive: dict[str, dict[str, str]] = {resource: {} for resource in resources}

    def run(call: Any) -> None:
        for resource in resources:
            tags.drop(call, "Probe", resource)
        for action, number, content in steps:
            resource = resources[number]
            if action == "put":
                tags.put(call, "Probe", resource, content)
                naive[resource].update(content)
            elif action == "remove":
                tags.remove(call, "Probe", resource, content)
                naive[resource] = {key: value for key, value in naive[resource].items() if key not in content}
            else:
                tags.drop(call, "Probe", resource)
                naive[resource] = {}
        assert tags.of(call, "Probe", resources) == naive
        scope = {"account": call.account, "in_region": call.region}
        for key in "abc":
            assert set(call.db.values(tags.having("Probe", key), **scope)) == {r for r in resources if key in naive[r]}
            wanted = {r for r in resources if naive[r].get(key) in ("x", "y")}
            assert set(call.db.values(tags.having("Probe", key, ["x", "y"]), **scope)) == wanted
        every = select(tags.tags.c.resource_id).where(tags.tags.c.resource_type == "Probe").distinct()
        counted = Counter(
            {frozenset(each.content.items()): each.count for each in tags.distinct_sets(call, "Probe", every)}
        )
        assert counted == Counter(frozenset(content.items()) for content in naive.values() if content)
        kept = call.db.all(select(tags.tag_sets))
        assert Counter({frozenset(row.content.items()): row.users for row in kept}) == counted

    world.do(run)
