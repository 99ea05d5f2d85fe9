"""Documents: ListDocuments: whose documents, which filters, and pages without gaps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetward.server import paging
from fleetward.server.errors import ValidationException
from fleetward.server.paging import InvalidNextToken
from fleetward.server.ssm.documents import owned_by_aws
from fleetward.server.ssm.errors import InvalidFilterKey

ON_BOTH_STORES = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
LIBRARY = list(owned_by_aws.LIBRARY)
POWERSHELL = {"action": "aws:runPowerShellScript", "name": "run", "inputs": {"runCommand": ["x"]}}
SHELL = {"action": "aws:runShellScript", "name": "run", "inputs": {"runCommand": ["x"]}}


def content(step: Any = SHELL, **more: Any) -> str:
    return json.dumps({"schemaVersion": "2.2", "description": "Plain.", **more, "mainSteps": [step]})


@pytest.fixture
def listed_world(world: Any) -> Any:
    """Own documents of several kinds, and others' that are private, shared and public."""
    tag = {"Key": "team", "Value": "blue"}
    world.call("CreateDocument", {"Name": "Shell-a", "Content": content(), "Tags": [tag]})
    world.call("CreateDocument", {"Name": "Shell-b", "Content": content(description="Reboots 100% of it.")})
    world.call("CreateDocument", {"Name": "Windows-a", "Content": content({**POWERSHELL}), "TargetType": "/AWS::X"})
    session = '{"schemaVersion":"1.0","sessionType":"Port","properties":{"portNumber":"22"}}'
    world.call("CreateDocument", {"Name": "shell-session", "Content": session, "DocumentType": "Session"})
    for name, recipients in (("Private", []), ("Shared", [world.account]), ("Public", ["all", world.account])):
        world.call("CreateDocument", {"Name": name, "Content": content()}, account=world.other_account)
        for recipient in recipients:
            request = {"Name": name, "PermissionType": "Share", "AccountIdsToAdd": [recipient]}
            world.call("ModifyDocumentPermission", request, account=world.other_account)
    return world


def names(world: Any, *filters: tuple[str, list[str]], **members: Any) -> list[str]:
    request = {"Filters": [{"Key": key, "Values": values} for key, values in filters], **members}
    pages = world.pages("ListDocuments", request, "DocumentIdentifiers")
    return [each["Name"].rpartition("/")[2] for page in pages for each in page]


OWN = ["Shell-a", "Shell-b", "Windows-a", "shell-session"]


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        (["Self"], OWN),
        (["Amazon"], LIBRARY),
        (["Private"], [*OWN, "Public", "Shared"]),
        (["Public"], ["Public"]),
        (["ThirdParty"], []),
        (["All"], [*LIBRARY, *OWN, "Public", "Shared"]),
        (["Amazon", "Self"], [*LIBRARY, *OWN]),
    ],
)
def test_owner_decides_whose_documents_are_listed(listed_world: Any, owners: list[str], expected: list[str]) -> None:
    assert names(listed_world, ("Owner", owners)) == expected


@ON_BOTH_STORES
def test_without_filters_all_that_can_be_read_is_listed(listed_world: Any) -> None:
    assert names(listed_world) == [*LIBRARY, *OWN, "Public", "Shared"]
    identifiers = listed_world.call("ListDocuments", {})["DocumentIdentifiers"]
    for each in identifiers:
        described = listed_world.call("DescribeDocument", {"Name": each["Name"]})["Document"]
        same = ("Name", "Owner", "DocumentType", "PlatformTypes", "DocumentVersion", "SchemaVersion", "Tags")
        assert {name: each[name] for name in same} == {name: described[name] for name in same}


def test_own_public_documents_are_public(listed_world: Any) -> None:
    request = {"Name": "Shell-b", "PermissionType": "Share", "AccountIdsToAdd": ["all"]}
    listed_world.call("ModifyDocumentPermission", request)
    assert names(listed_world, ("Owner", ["Public"])) == ["Shell-b", "Public"]


FILTERED: list[tuple[list[tuple[str, list[str]]], list[str]]] = [
    ([("Name", ["Shell"])], ["Shell-a", "Shell-b"]),
    ([("Name", ["Shell-b", "AWS-RunShell"])], ["AWS-RunShellScript", "Shell-b"]),
    ([("Name", ["%"])], []),
    ([("DocumentType", ["Session"]), ("Owner", ["Self"])], ["shell-session"]),
    ([("PlatformTypes", ["Windows"]), ("Owner", ["Self"])], ["Windows-a", "shell-session"]),
    ([("PlatformTypes", ["Windows"]), ("DocumentType", ["Command"]), ("Owner", ["Self"])], ["Windows-a"]),
    (
        [("PlatformTypes", ["MacOS"]), ("Owner", ["Amazon"]), ("SchemaVersion", ["1.2"])],
        ["AWS-RefreshAssociation", "AWS-RunShellScript"],
    ),
    ([("TargetType", ["/AWS::X"])], ["Windows-a"]),
    ([("SchemaVersion", ["1.0"]), ("Name", ["shell"])], ["shell-session"]),
    ([("SearchKeyword", ["REBOOTS"])], ["Shell-b"]),
    ([("SearchKeyword", ["0% of"])], ["Shell-b"]),
    ([("SearchKeyword", ["_"])], []),
    ([("tag:team", ["blue"])], ["Shell-a"]),
    ([("tag:team", ["blue", "red"]), ("Name", ["Shell"])], ["Shell-a"]),
    ([("tag:team", ["red"])], []),
    ([("tag:Team", ["blue"])], []),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERED)
def test_filters_are_all_to_be_met_by_one_of_their_values(listed_world: Any, filters: Any, expected: Any) -> None:
    assert names(listed_world, *filters) == expected


@pytest.mark.parametrize("world", ["postgresql"], indirect=True)
def test_filters_mean_the_same_on_postgresql(listed_world: Any) -> None:
    found = [names(listed_world, *filters, MaxResults=2) for filters, _ in FILTERED]
    assert found == [expected for _, expected in FILTERED]


def test_the_older_filters_mean_the_same(listed_world: Any) -> None:
    older = [{"key": "Owner", "value": "Self"}, {"key": "Name", "value": "Shell"}]
    found = listed_world.call("ListDocuments", {"DocumentFilterList": older})["DocumentIdentifiers"]
    assert [each["Name"] for each in found] == ["Shell-a", "Shell-b"]
    with pytest.raises(ValidationException):
        names(listed_world, ("Owner", ["Self"]), DocumentFilterList=older)


@pytest.mark.parametrize(
    ("key", "values", "error"),
    [
        ("Colour", ["x"], InvalidFilterKey),
        ("name", ["x"], InvalidFilterKey),
        ("Owner", ["Nobody"], ValidationException),
        ("Name", [], ValidationException),
        ("SearchKeyword", ["\0"], ValidationException),
    ],
)
def test_bad_filters_are_refused(listed_world: Any, key: str, values: list[str], error: Any) -> None:
    with pytest.raises(error):
        names(listed_world, (key, values))


def test_the_default_version_is_listed(listed_world: Any) -> None:
    update = {"Name": "Shell-a", "Content": content({**POWERSHELL}), "VersionName": "new"}
    listed_world.call("UpdateDocument", update)
    request = {"DocumentFilterList": [{"key": "Name", "value": "Shell-a"}]}
    (before,) = listed_world.call("ListDocuments", request)["DocumentIdentifiers"]
    listed_world.call("UpdateDocumentDefaultVersion", {"Name": "Shell-a", "DocumentVersion": "2"})
    (after,) = listed_world.call("ListDocuments", request)["DocumentIdentifiers"]
    assert (before["DocumentVersion"], before["PlatformTypes"]) == ("1", ["Linux", "MacOS"])
    assert (after["DocumentVersion"], after["PlatformTypes"]) == ("2", ["Windows", "Linux"])
    assert (after["VersionName"], after["Tags"]) == ("new", [{"Key": "team", "Value": "blue"}])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 50), kinds=st.sampled_from([[], ["Self"], ["Private"], ["Public"], ["Amazon", "Private"]]))
def test_paging_misses_and_repeats_nothing(listed_world: Any, size: int, kinds: list[str]) -> None:
    filters = [("Owner", kinds)] if kinds else []
    whole = names(listed_world, *filters)
    assert names(listed_world, *filters, MaxResults=size) == whole
    request = {"Filters": [{"Key": key, "Values": values} for key, values in filters], "MaxResults": size}
    pages = listed_world.pages("ListDocuments", request, "DocumentIdentifiers")
    assert all(len(page) == size for page in pages[:-1])
    assert sorted(set(whole)) == sorted(whole)


@pytest.mark.parametrize("key", [[], [0], [9, "a", "b"], [-1, "a", "b"], [0, 1, 2], ["x", "a", "b"], [0, "a", None]])
def test_a_token_with_anything_else_in_it_is_refused(listed_world: Any, key: list[Any]) -> None:
    with pytest.raises(InvalidNextToken):
        listed_world.call("ListDocuments", {"NextToken": paging.encode("ListDocuments", key)})
