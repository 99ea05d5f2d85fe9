"""PutParameter and the deletions: versions, types, tiers, limits, patterns, tags, rights."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException, AwsError, ValidationException
from fleetward.server.ssm import errors, ssm
from fleetward.server.ssm.parameter_store import ParameterChanged

pytest_plugins = ("tests.services",)


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_a_value_put_again_is_the_next_version(world: Any, store: Any) -> None:
    assert store.put("/a/b", "one", Description="first") == 1
    with pytest.raises(errors.ParameterAlreadyExists):
        world.call("PutParameter", {"Name": "/a/b", "Value": "two", "Type": "String"})
    assert store.put("/a/b", "two") == 2
    got = store.get("/a/b")
    assert (got["Value"], got["Version"], got["Type"]) == ("two", 2, "String")
    assert got["ARN"] == "arn:aws:ssm:us-east-1:123456789012:parameter/a/b"
    (described,) = world.call("DescribeParameters", {})["Parameters"]
    assert described["Description"] == "first"


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_what_is_deleted_is_gone_with_all_versions_and_tags(world: Any, store: Any) -> None:
    world.call("PutParameter", {"Name": "a", "Value": "1", "Type": "String", "Tags": [{"Key": "k", "Value": "v"}]})
    store.put("b")
    tagged = {"ResourceType": "Parameter", "ResourceId": "a"}
    assert world.call("ListTagsForResource", tagged)["TagList"] == [{"Key": "k", "Value": "v"}]
    assert store.names(Key="tag:k", Values=["v"]) == ["a"]
    answer = world.call("DeleteParameters", {"Names": ["a", "none"]})
    assert answer == {"DeletedParameters": ["a"], "InvalidParameters": ["none"]}
    world.call("DeleteParameter", {"Name": "b"})
    with pytest.raises(errors.ParameterNotFound):
        world.call("DeleteParameter", {"Name": "b"})
    assert store.put("a", "new") == 1
    assert world.call("ListTagsForResource", tagged)["TagList"] == []
    assert len(world.call("GetParameterHistory", {"Name": "a"})["Parameters"]) == 1


def test_the_oldest_of_100_versions_goes_unless_it_has_a_label(world: Any, store: Any) -> None:
    for number in range(101):
        store.put("a", str(number))
    history = world.call("GetParameterHistory", {"Name": "a", "MaxResults": 1})["Parameters"]
    assert history[0]["Version"] == 2
    world.call("LabelParameterVersion", {"Name": "a", "ParameterVersion": 2, "Labels": ["kept"]})
    with pytest.raises(errors.ParameterMaxVersionLimitExceeded):
        store.put("a", "more")
    world.call("LabelParameterVersion", {"Name": "a", "ParameterVersion": 3, "Labels": ["kept"]})
    assert store.put("a", "more") == 102


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"Type": "String", "AllowedPattern": "[0-9]+"}, errors.ParameterPatternMismatchException),
        ({"Type": "String", "AllowedPattern": "("}, errors.InvalidAllowedPatternException),
        ({"Type": "String", "KeyId": "alias/aws/ssm"}, ValidationException),
        ({"Type": "String", "Value": "x" * 4097}, ValidationException),
        ({"Type": "String", "Value": "x" * 8193, "Tier": "Advanced"}, ValidationException),
        ({"Type": "String", "Value": ""}, ValidationException),
        ({"Type": "String", "Value": "{{ssm:b}}"}, ValidationException),
        ({"Type": "String", "DataType": "aws:ec2:image"}, ValidationException),
        ({"Type": "SecureString", "KeyId": "alias/none"}, errors.InvalidKeyId),
        ({"Type": "String", "Overwrite": True, "Tags": [{"Key": "k", "Value": "v"}]}, ValidationException),
        ({}, ValidationException),
    ],
)
def test_what_cannot_be_put(world: Any, store: Any, members: dict[str, Any], fault: type[AwsError]) -> None:
    with pytest.raises(fault):
        world.call("PutParameter", {"Name": "a", "Value": "x", **members})
    assert store.put("a") == 1


def test_a_type_stays(world: Any, store: Any) -> None:
    store.put("a")
    with pytest.raises(errors.HierarchyTypeMismatchException):
        store.put("a", Type="SecureString")


def test_a_tier_is_what_the_value_needs_and_never_goes_back(world: Any, store: Any) -> None:
    def tier(**members: Any) -> str:
        request = {"Name": "a", "Value": "x", "Type": "String", "Overwrite": True, **members}
        return str(world.call("PutParameter", request)["Tier"])

    assert tier(Tier="Intelligent-Tiering") == "Standard"
    assert tier(Tier="Intelligent-Tiering", Value="x" * 5000) == "Advanced"
    assert tier() == "Advanced"
    with pytest.raises(ValidationException):
        tier(Tier="Standard")


def test_a_pattern_that_takes_for_ever_does_not(world: Any, store: Any) -> None:
    with pytest.raises(errors.ParameterPatternMismatchException):
        store.put("a", "a" * 60 + "!", AllowedPattern="(a|aa)+$")


def test_policies_decide_on_overwriting_and_on_tags(world: Any, store: Any) -> None:
    everything = {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": "*"}
    no_change = {**everything, "Effect": "Deny", "Condition": {"StringEquals": {"ssm:Overwrite": "true"}}}
    limited = world.as_role(everything, no_change)
    request = {"Name": "a", "Value": "x", "Type": "String"}
    with pytest.raises(AccessDeniedException):
        world.call("PutParameter", {**request, "Tags": [{"Key": "k", "Value": "v"}]}, limited)
    world.call("PutParameter", request, limited)
    with pytest.raises(AccessDeniedException):
        world.call("PutParameter", {**request, "Overwrite": True}, limited)


def test_changes_are_told(monkeypatch: pytest.MonkeyPatch, world: Any, store: Any) -> None:
    seen: list[str] = []
    monkeypatch.setitem(world.runner._reactions, ParameterChanged, [lambda _, event: seen.append(event.name)])
    store.put("a")
    world.call("DeleteParameter", {"Name": "a"})
    assert seen == ["a", "a"]
    assert ssm.operations["PutParameter"].grows
