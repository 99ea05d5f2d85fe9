"""Names: which are taken, what ARNs and selectors mean, and that paths are found by order alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.errors import AccessDeniedException, AwsError, ValidationException
from fleetward.server.ssm.errors import HierarchyLevelLimitExceededException
from fleetward.server.ssm.parameter_store import names

LEVEL = st.text("abz09_.-", min_size=1, max_size=3)
NAME = st.lists(LEVEL, min_size=1, max_size=4).map(lambda levels: "/" + "/".join(levels))


@pytest.mark.parametrize("name", ["one", "/one", "/a/b/c", "a.b-c_d", "/" + "/".join("abcdefghijklmno")])
def test_names_that_can_be(name: str) -> None:
    names.check(name)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a/b", ValidationException),
        ("/a//b", ValidationException),
        ("/a/", ValidationException),
        ("/a b", ValidationException),
        ("/ssm/a", ValidationException),
        ("/AWS/a", AccessDeniedException),
        ("awsome", AccessDeniedException),
        ("a" * 1012, ValidationException),
        ("/" + "/".join("abcdefghijklmnop"), HierarchyLevelLimitExceededException),
    ],
)
def test_names_that_cannot_be(name: str, fault: type[AwsError]) -> None:
    with pytest.raises(fault):
        names.check(name)


def test_an_arn_with_a_selector_names_one_of_two() -> None:
    read = names.read("arn:aws:ssm:us-east-1:123456789012:parameter/one:old", "123456789012", "us-east-1")
    assert read == (("one", "/one"), "old", False)
    assert names.read("arn:aws:ssm:eu-west-1:123456789012:parameter/a/b", "123456789012", "us-east-1").is_foreign


@given(NAME, NAME)
def test_what_lies_below_a_path_lies_between_its_bounds(name: str, path: str) -> None:
    low, high = names.bounds(path)
    assert (low < name < high) == names.is_below(name, path, recursive=True)
    assert names.is_below(name, names.folder(name), recursive=False)
