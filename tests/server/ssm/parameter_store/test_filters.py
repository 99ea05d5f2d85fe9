"""Filters: read from requests; each of them once, with the options that it has."""

from __future__ import annotations

import pytest

from fleetward.server.ssm.errors import InvalidFilterKey
from fleetward.server.ssm.parameter_store import filters


def test_a_filter_is_given_once() -> None:
    once = {"Key": "Type", "Values": ["String"]}
    assert filters.of_listing([once]) == [("Type", "Equals", ["String"])]
    with pytest.raises(InvalidFilterKey):
        filters.of_listing([once, once])


def test_a_path_is_read_as_a_folder() -> None:
    assert filters.of_listing([{"Key": "Path", "Values": ["/a/"]}]) == [("Path", "OneLevel", ["/a"])]


def test_the_older_filters_take_names_by_their_beginning() -> None:
    given = [{"Key": "Name", "Values": ["a"]}, {"Key": "Type", "Values": ["String"]}]
    assert [each.option for each in filters.of_old_listing(given)] == ["BeginsWith", "Equals"]
