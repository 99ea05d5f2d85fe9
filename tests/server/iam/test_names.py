"""Names: ARNs are taken apart as they are put together, pages miss and repeat nothing."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.errors import ValidationException
from fleetward.server.iam import names
from fleetward.server.iam.errors import InvalidInputException

NAMES = st.text(string.ascii_letters + string.digits + "+=,.@-_", min_size=1, max_size=64)
PATHS = st.lists(st.text(string.ascii_letters + "!$-", min_size=1, max_size=8), max_size=3).map(
    lambda parts: "/" + "".join(f"{part}/" for part in parts)
)


@given(PATHS, NAMES, st.sampled_from(["user", "role", "policy", "mfa", "oidc-provider"]))
def test_an_arn_gives_back_path_and_name(path: str, name: str, kind: str) -> None:
    arn = names.entity_arn("123456789012", kind, path, name)
    assert names.parse_arn(arn, kind) == ("123456789012", path, name)
    assert names.parse_arn(arn, "group") is None


@given(st.sets(NAMES, max_size=20), st.integers(1, 7))
def test_pages_of_a_list_are_the_list(items: set[str], size: int) -> None:
    found: list[str] = []
    request: dict[str, Any] = {"MaxItems": size}
    while True:
        shown, more = names.paged("ListThings", items, request, str)
        assert len(shown) <= size
        found += shown
        if not more["IsTruncated"]:
            break
        request["Marker"] = more["Marker"]
    assert found == sorted(items)


def test_a_marker_of_another_operation_is_refused() -> None:
    _, more = names.paged("ListThings", ["a", "b"], {"MaxItems": 1}, str)
    with pytest.raises(ValidationException, match="Marker"):
        names.paged("ListOthers", ["a", "b"], {"Marker": more["Marker"]}, str)


def test_unique_ids_have_the_form_of_awss() -> None:
    made = {names.new_unique_id("AIDA") for _ in range(100)}
    assert len(made) == 100
    assert all(len(each) == 21 and each.isalnum() and each.isupper() for each in made)


def test_tags_merge_whatever_their_case() -> None:
    assert names.merged_tags({"A": "1", "b": "2"}, {"a": "3"}) == {"b": "2", "a": "3"}
    with pytest.raises(InvalidInputException):
        names.tag_mapping([{"Key": "a", "Value": ""}, {"Key": "A", "Value": ""}])
