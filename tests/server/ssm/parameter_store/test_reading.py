"""Reading: selectors, ARNs, lists by name, hierarchies, history, and what policies decide on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetward.server.errors import AccessDeniedException
from fleetward.server.ssm import errors
from fleetward.server.ssm.parameter_store import names

pytest_plugins = ("tests.services",)
TREE = ("/a", "/a/b", "/a/b/c", "/a/b_c/d", "/a/bb/c", "/a-b/c", "/a0", "one")


def test_versions_and_labels_are_selected(world: Any, store: Any) -> None:
    for value in ("one", "two", "three"):
        store.put("/a/b", value)
    world.call("LabelParameterVersion", {"Name": "/a/b", "ParameterVersion": 2, "Labels": ["middle"]})
    arn = store.get("/a/b")["ARN"]
    assert [store.value(f"/a/b{end}") for end in ("", ":1", ":middle", ":3")] == ["three", "one", "two", "three"]
    assert store.get(f"{arn}:1")["Selector"] == ":1"
    for missing in ("/a/b:4", "/a/b:none", "/a/b:99999999999999999999"):
        with pytest.raises(errors.ParameterVersionNotFound):
            store.get(missing)
    for unknown in ("/a", arn.replace("us-east-1", "eu-west-1"), f"{arn}/c"):
        with pytest.raises(errors.ParameterNotFound):
            store.get(unknown)


def test_several_are_read_and_the_missing_are_named(world: Any, store: Any) -> None:
    store.put("a")
    answer = world.call("GetParameters", {"Names": ["a", "b", "a:9", "a"]})
    assert ([each["Name"] for each in answer["Parameters"]], answer["InvalidParameters"]) == (["a"], ["b", "a:9"])


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_a_path_is_read_by_level_or_whole(world: Any, store: Any) -> None:
    for name in TREE:
        store.put(name)
    assert store.below("/a") == ["/a/b"]
    assert store.below("/a/b/") == ["/a/b/c"]
    assert store.below("/a", Recursive=True, MaxResults=2) == ["/a/b", "/a/b/c", "/a/b_c/d", "/a/bb/c"]
    assert store.below("/") == ["/a", "/a0", "one"]
    assert store.below("/", Recursive=True) == sorted(TREE)
    world.call("LabelParameterVersion", {"Name": "/a/b/c", "Labels": ["x"]})
    labelled = [{"Key": "Label", "Values": ["x"]}]
    assert store.below("/a", Recursive=True, ParameterFilters=labelled) == ["/a/b/c"]
    assert store.below("/a", ParameterFilters=labelled) == []
    with pytest.raises(errors.InvalidFilterKey):
        store.below("/a", ParameterFilters=[{"Key": "Name", "Values": ["x"]}])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.sets(st.lists(st.sampled_from(["a", "b", "b0", "-"]), min_size=1, max_size=4), max_size=0)
    | st.sets(st.lists(st.sampled_from(["a", "b", "b0", "-"]), min_size=1, max_size=3).map(tuple), max_size=8),
    size=st.integers(1, 3),
)
def test_paging_misses_and_repeats_nothing(world: Any, store: Any, chosen: set[Any], size: int) -> None:
    for name in store.names():
        world.call("DeleteParameter", {"Name": name})
    put = sorted("/" + "/".join(levels) for levels in chosen)
    for name in put:
        store.put(name)
    for path in ("/", "/a", "/b"):
        for recursive in (True, False):
            expected = [name for name in put if names.is_below(name, path, recursive=recursive)]
            assert store.below(path, Recursive=recursive, MaxResults=size) == expected


def test_the_history_is_told_from_the_oldest_on(world: Any, store: Any) -> None:
    for value in ("one", "two", "three"):
        store.put("a", value)
    first = world.call("GetParameterHistory", {"Name": "a", "MaxResults": 2})
    rest = world.call("GetParameterHistory", {"Name": "a", "NextToken": first["NextToken"]})
    assert [each["Value"] for each in (*first["Parameters"], *rest["Parameters"])] == ["one", "two", "three"]


def test_policies_decide_on_the_name_and_on_the_path(world: Any, store: Any) -> None:
    store.put("/a/b")
    store.put("/c")
    below_a = {"Effect": "Allow", "Action": "ssm:Get*", "Resource": "arn:aws:ssm:*:*:parameter/a*"}
    flat = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"ssm:Recursive": "true"}}}
    role = world.as_role(below_a, flat)
    assert store.get("/a/b", role)["Value"] == "a"
    assert store.below("/a", role) == ["/a/b"]
    for call in (lambda: store.get("/c", role), lambda: store.below("/", role), lambda: store.get("/none", role)):
        with pytest.raises(AccessDeniedException):
            call()
    with pytest.raises(AccessDeniedException):
        store.below("/a", role, Recursive=True)
