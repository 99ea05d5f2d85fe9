"""Documents: sharing with accounts and with all, and what the recipients may read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetward.server.errors import ValidationException
from fleetward.server.ssm.documents import sharing
from fleetward.server.ssm.errors import (
    DocumentLimitExceeded,
    DocumentPermissionLimit,
    InvalidDocument,
    InvalidDocumentOperation,
    InvalidDocumentVersion,
)

ON_BOTH_STORES = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
THIRD_ACCOUNT = "333333333333"


def content(line: str) -> str:
    step = {"action": "aws:runShellScript", "name": "run", "inputs": {"runCommand": [line]}}
    return json.dumps({"schemaVersion": "2.2", "mainSteps": [step]})


def arn(world: Any, name: str = "Mine") -> str:
    return f"arn:aws:ssm:us-east-1:{world.account}:document/{name}"


def share(world: Any, *accounts: str, name: str = "Mine", **members: Any) -> None:
    request = {"Name": name, "PermissionType": "Share", "AccountIdsToAdd": list(accounts), **members}
    world.call("ModifyDocumentPermission", request)


def unshare(world: Any, *accounts: str) -> None:
    request = {"Name": "Mine", "PermissionType": "Share", "AccountIdsToRemove": list(accounts)}
    world.call("ModifyDocumentPermission", request)


def read(world: Any, account: str, **members: Any) -> str:
    return str(world.call("GetDocument", {"Name": arn(world), **members}, account=account)["Content"])


@pytest.fixture
def shared_world(world: Any) -> Any:
    """With a document of three versions, the second of which is the default."""
    world.call("CreateDocument", {"Name": "Mine", "Content": content("one")})
    for line in ("two", "three"):
        world.call("UpdateDocument", {"Name": "Mine", "Content": content(line)})
    world.call("UpdateDocumentDefaultVersion", {"Name": "Mine", "DocumentVersion": "2"})
    return world


@ON_BOTH_STORES
def test_recipients_read_by_arn_and_others_do_not(shared_world: Any) -> None:
    world = shared_world
    for account in (world.other_account, THIRD_ACCOUNT):
        with pytest.raises(InvalidDocument):
            read(world, account)
    share(world, world.other_account)
    assert "two" in read(world, world.other_account)
    described = world.call("DescribeDocument", {"Name": arn(world)}, account=world.other_account)["Document"]
    assert (described["Name"], described["Owner"], described["Tags"]) == (arn(world), world.account, [])
    with pytest.raises(InvalidDocument):
        world.call("GetDocument", {"Name": "Mine"}, account=world.other_account)
    with pytest.raises(InvalidDocument):
        read(world, THIRD_ACCOUNT)
    unshare(world, world.other_account)
    with pytest.raises(InvalidDocument):
        read(world, world.other_account)


def test_a_node_of_a_recipient_reads_it_too(shared_world: Any) -> None:
    world = shared_world
    share(world, world.other_account)
    node = world.as_node("mi-0123456789abcdef0", account=world.other_account)
    assert "two" in world.call("GetDocument", {"Name": arn(world)}, node)["Content"]


@pytest.mark.parametrize("everybody", ["all", "All"])
def test_what_is_shared_with_all_is_read_by_all(shared_world: Any, everybody: str) -> None:
    world = shared_world
    share(world, everybody)
    assert "two" in read(world, THIRD_ACCOUNT)
    permission = world.call("DescribeDocumentPermission", {"Name": "Mine", "PermissionType": "Share"})
    assert permission["AccountIds"] == ["all"]


@pytest.mark.parametrize(
    ("shared", "readable", "chosen_by_default"),
    [("$DEFAULT", {"2"}, "two"), ("$LATEST", {"3"}, "three"), ("$ALL", {"1", "2", "3"}, "two"), (None, {"2"}, "two")],
)
def test_recipients_see_the_shared_versions_alone(
    shared_world: Any, shared: str | None, readable: set[str], chosen_by_default: str
) -> None:
    world = shared_world
    share(world, world.other_account, **({"SharedDocumentVersion": shared} if shared else {}))
    assert chosen_by_default in read(world, world.other_account)
    seen = set()
    for version in ("1", "2", "3"):
        try:
            read(world, world.other_account, DocumentVersion=version)
            seen.add(version)
        except InvalidDocumentVersion:
            pass
    assert seen == readable
    request = {"Name": arn(world), "MaxResults": 2}
    pages = world.pages("ListDocumentVersions", request, "DocumentVersions", world.as_root(world.other_account))
    assert [each["DocumentVersion"] for page in pages for each in page] == sorted(readable, reverse=True)


@ON_BOTH_STORES
def test_sharing_again_changes_the_shared_version(shared_world: Any) -> None:
    world = shared_world
    share(world, world.other_account)
    share(world, world.other_account, SharedDocumentVersion="$LATEST")
    permission = world.call("DescribeDocumentPermission", {"Name": "Mine", "PermissionType": "Share"})
    assert permission["AccountSharingInfoList"] == [
        {"AccountId": world.other_account, "SharedDocumentVersion": "$LATEST"}
    ]
    assert "three" in read(world, world.other_account)


def test_recipients_change_nothing(shared_world: Any) -> None:
    world = shared_world
    share(world, world.other_account, SharedDocumentVersion="$ALL")
    for operation, members in (
        ("DeleteDocument", {}),
        ("UpdateDocument", {"Content": content("four")}),
        ("UpdateDocumentDefaultVersion", {"DocumentVersion": "1"}),
        ("ModifyDocumentPermission", {"PermissionType": "Share", "AccountIdsToAdd": [THIRD_ACCOUNT]}),
        ("DescribeDocumentPermission", {"PermissionType": "Share"}),
        ("UpdateDocumentMetadata", {"DocumentReviews": {"Action": "SendForReview"}}),
    ):
        with pytest.raises(InvalidDocument):
            world.call(operation, {"Name": "Mine", **members}, account=world.other_account)
    assert "two" in read(world, world.other_account)


def test_a_shared_document_cannot_be_deleted(shared_world: Any) -> None:
    world = shared_world
    share(world, world.other_account)
    for choice in ({}, {"DocumentVersion": "1"}):
        with pytest.raises(InvalidDocumentOperation):
            world.call("DeleteDocument", {"Name": "Mine", **choice})
    unshare(world, world.other_account)
    world.call("DeleteDocument", {"Name": "Mine"})


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({}, ValidationException),
        ({"AccountIdsToAdd": ["123456789012"]}, ValidationException),
        ({"AccountIdsToAdd": ["all"], "AccountIdsToRemove": ["ALL"]}, ValidationException),
        ({"AccountIdsToAdd": ["nobody"]}, ValidationException),
        ({"AccountIdsToAdd": ["all", THIRD_ACCOUNT]}, DocumentPermissionLimit),
        ({"AccountIdsToRemove": [THIRD_ACCOUNT, "All"]}, DocumentPermissionLimit),
        ({"AccountIdsToAdd": ["all"], "SharedDocumentVersion": "1"}, ValidationException),
        ({"AccountIdsToAdd": [THIRD_ACCOUNT], "PermissionType": "Own"}, ValidationException),
        ({"AccountIdsToAdd": [THIRD_ACCOUNT], "Name": "Nobodys"}, InvalidDocument),
    ],
)
def test_bad_sharing_is_refused_and_changes_nothing(shared_world: Any, members: Any, error: Any) -> None:
    world = shared_world
    with pytest.raises(error):
        world.call("ModifyDocumentPermission", {"Name": "Mine", "PermissionType": "Share", **members})
    assert world.call("DescribeDocumentPermission", {"Name": "Mine", "PermissionType": "Share"})["AccountIds"] == []


def test_the_number_of_recipients_is_bounded(shared_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = shared_world
    monkeypatch.setattr(sharing, "RECIPIENT_LIMIT", 2)
    share(world, world.other_account, THIRD_ACCOUNT)
    share(world, "all")
    with pytest.raises(DocumentPermissionLimit):
        share(world, "444444444444")
    permission = world.call("DescribeDocumentPermission", {"Name": "Mine", "PermissionType": "Share"})
    assert permission["AccountIds"] == [world.other_account, THIRD_ACCOUNT, "all"]


def test_five_documents_can_be_public(world: Any) -> None:
    for number in range(6):
        world.call("CreateDocument", {"Name": f"Doc-{number}", "Content": content("x")})
    for number in range(5):
        share(world, "all", name=f"Doc-{number}")
    share(world, "all", name="Doc-0", SharedDocumentVersion="$ALL")
    with pytest.raises(DocumentLimitExceeded):
        share(world, "all", name="Doc-5")
    share(world, world.other_account, name="Doc-5")


def test_the_account_can_forbid_public_sharing(shared_world: Any) -> None:
    world = shared_world
    world.call("UpdateServiceSetting", {"SettingId": sharing.PUBLIC_SHARING, "SettingValue": "Disable"})
    with pytest.raises(ValidationException, match=sharing.PUBLIC_SHARING):
        share(world, "all")
    share(world, world.other_account)


def test_paging_of_recipients_misses_and_repeats_nothing(shared_world: Any) -> None:
    world = shared_world
    accounts = [f"{number:012d}" for number in range(900, 945)]
    for start in range(0, 45, 15):
        share(world, *accounts[start : start + 15])
    for size in (1, 7, 20, 45, 200):
        request = {"Name": "Mine", "PermissionType": "Share", "MaxResults": size}
        pages = world.pages("DescribeDocumentPermission", request, "AccountIds")
        assert [each for page in pages for each in page] == accounts
