"""Documents: each operation's effect seen through another one, access, versions, and the errors that clients know."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
import yaml

from fleetward.server import paging
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.paging import InvalidNextToken
from fleetward.server.ssm import documents
from fleetward.server.ssm.documents import store
from fleetward.server.ssm.errors import (
    DocumentAlreadyExists,
    DocumentLimitExceeded,
    DocumentVersionLimitExceeded,
    DuplicateDocumentContent,
    DuplicateDocumentVersionName,
    InvalidDocument,
    InvalidDocumentContent,
    InvalidDocumentOperation,
    InvalidDocumentSchemaVersion,
    InvalidDocumentVersion,
    InvalidResourceId,
    MaxDocumentSizeExceeded,
)

ON_BOTH_STORES = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
BAD_KEYS: tuple[list[Any], ...] = ([], [None], [-1], [2**62], ["a\0"], [1, 2], ["a", "b"], [[1]])
NODE = "mi-0123456789abcdef0"
SSH = {"schemaVersion": "1.0", "sessionType": "Port", "properties": {"portNumber": "22"}}
PREFERENCES = "SSM-SessionManagerRunShell"


def script(*lines: str, **more: Any) -> dict[str, Any]:
    step = {"action": "aws:runShellScript", "name": "run", "inputs": {"runCommand": list(lines) or ["true"]}}
    return {"schemaVersion": "2.2", "description": "Says something.", **more, "mainSteps": [step]}


def create(world: Any, name: str = "Mine", *lines: str, **members: Any) -> Any:
    request = {"Name": name, "Content": json.dumps(script(*lines)), **members}
    return world.call("CreateDocument", request)["DocumentDescription"]


def add_version(world: Any, line: str, name: str = "Mine", **members: Any) -> Any:
    request = {"Name": name, "Content": json.dumps(script(line)), **members}
    return world.call("UpdateDocument", request)["DocumentDescription"]


def text_of(world: Any, name: str = "Mine", **members: Any) -> str:
    return str(world.call("GetDocument", {"Name": name, **members})["Content"])


def test_a_created_document_is_described_and_got_back_byte_for_byte(world: Any) -> None:
    content = json.dumps(
        script(
            "echo {{ words }}",
            parameters={
                "words": {"type": "StringList", "description": "What to say.", "default": ["a", "b"]},
                "times": {"type": "Integer", "default": 2},
                "loud": {"type": "String"},
            },
        ),
        indent=7,
    )
    request = {"Name": "Say", "Content": content, "DisplayName": "Say it", "VersionName": "first", "TargetType": "/"}
    request |= {"CloudProviders": ["AWS", "Azure"]}
    created = world.call("CreateDocument", request)["DocumentDescription"]
    described = world.call("DescribeDocument", {"Name": "Say"})["Document"]
    assert described == created
    assert described["Hash"] == hashlib.sha256(content.encode()).hexdigest()
    assert described["Sha1"] == hashlib.sha1(content.encode()).hexdigest()
    assert described["Parameters"] == [
        {"Name": "words", "Type": "StringList", "Description": "What to say.", "DefaultValue": '["a","b"]'},
        {"Name": "times", "Type": "String", "Description": "", "DefaultValue": "2"},
        {"Name": "loud", "Type": "String", "Description": ""},
    ]
    expected = {
        "Owner": world.account,
        "Status": "Active",
        "DocumentVersion": "1",
        "LatestVersion": "1",
        "DefaultVersion": "1",
        "DocumentType": "Command",
        "SchemaVersion": "2.2",
        "DocumentFormat": "JSON",
        "PlatformTypes": ["Linux", "MacOS"],
        "Description": "Says something.",
        "VersionName": "first",
        "TargetType": "/",
        "CloudProviders": ["AWS", "Azure"],
        "DisplayName": "Say it",
        "HashType": "Sha256",
        "CreatedDate": world.clock.now(),
        "Author": f"arn:aws:iam::{world.account}:root",
    }
    assert expected.items() <= described.items()
    got = world.call("GetDocument", {"Name": "Say"})
    assert (got["Content"], got["DocumentFormat"], got["VersionName"]) == (content, "JSON", "first")


def test_yaml_is_given_as_json_unless_yaml_is_asked_for(world: Any) -> None:
    text = yaml.safe_dump(script("echo one\necho two\n"), sort_keys=False)
    create(world, Content=text, DocumentFormat="YAML")
    as_json = world.call("GetDocument", {"Name": "Mine"})
    assert as_json["DocumentFormat"] == "JSON"
    assert json.loads(as_json["Content"]) == script("echo one\necho two\n")
    assert text_of(world, DocumentFormat="YAML") == text
    described = world.call("DescribeDocument", {"Name": "Mine"})["Document"]
    assert (described["DocumentFormat"], described["Hash"]) == ("YAML", hashlib.sha256(text.encode()).hexdigest())


@ON_BOTH_STORES
def test_json_is_given_as_yaml_with_readable_scripts(world: Any) -> None:
    create(world, "Mine", "echo one\necho two\n")
    text = text_of(world, DocumentFormat="YAML")
    assert "    - |\n      echo one\n      echo two\n" in text
    assert list(yaml.safe_load(text)) == ["schemaVersion", "description", "mainSteps"]


def test_a_calendar_is_text_and_comes_back_as_text(world: Any) -> None:
    text = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nX-CALENDAR-TYPE:DEFAULT_OPEN\r\nEND:VCALENDAR\r\n"
    create(world, "Calendar", Content=text, DocumentType="ChangeCalendar", DocumentFormat="TEXT")
    got = world.call("GetDocument", {"Name": "Calendar", "DocumentFormat": "YAML"})
    assert (got["Content"], got["DocumentFormat"], got["DocumentType"]) == (text, "TEXT", "ChangeCalendar")


def test_a_template_with_tags_of_its_own_is_kept_as_it_is(world: Any) -> None:
    text = "Resources:\n  A: {Type: X, Properties: {B: !Ref C}}\n"
    create(world, "Template", Content=text, DocumentType="CloudFormation", DocumentFormat="YAML")
    got = world.call("GetDocument", {"Name": "Template"})
    assert (got["Content"], got["DocumentFormat"]) == (text, "YAML")


@pytest.mark.parametrize(
    ("document_type", "content", "platforms"),
    [
        ("Automation", {"schemaVersion": "0.3", "mainSteps": [{"name": "a", "action": "aws:sleep"}]}, 3),
        ("Session", {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {}}, 3),
        ("Policy", {"schemaVersion": "2.0", "mainSteps": [{"name": "a", "action": "aws:softwareInventory"}]}, 3),
        ("ApplicationConfiguration", {"anything": [1]}, 0),
    ],
)
def test_other_types_are_stored(world: Any, document_type: str, content: Any, platforms: int) -> None:
    create(world, "Other", Content=json.dumps(content), DocumentType=document_type)
    described = world.call("DescribeDocument", {"Name": "Other"})["Document"]
    assert (described["DocumentType"], len(described["PlatformTypes"])) == (document_type, platforms)
    assert json.loads(text_of(world, "Other")) == content


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"Content": "{"}, InvalidDocumentContent),
        ({"Content": "a: 1"}, InvalidDocumentContent),
        ({"Content": "[1]"}, InvalidDocumentContent),
        ({"Content": json.dumps(script("x" * 70_000))}, MaxDocumentSizeExceeded),
        ({"Content": json.dumps({**script(), "mainSteps": []})}, InvalidDocumentContent),
        ({"Content": json.dumps({**script(), "schemaVersion": "9.9"})}, InvalidDocumentSchemaVersion),
        ({"Content": "schemaVersion: 2.2\n", "DocumentFormat": "YAML"}, InvalidDocumentSchemaVersion),
        ({"Content": json.dumps(script()), "DocumentType": "Automation"}, InvalidDocumentSchemaVersion),
        ({"DocumentType": "Automation", "Content": '{"schemaVersion":"0.3","mainSteps":[1]}'}, InvalidDocumentContent),
        ({"DocumentType": "Session", "Content": '{"schemaVersion":"1.0"}'}, InvalidDocumentContent),
        ({"DocumentType": "Session", "Content": '{"schemaVersion":"2.2"}'}, InvalidDocumentSchemaVersion),
        ({"DocumentType": "Session", "Content": json.dumps({**SSH, "properties": {}})}, InvalidDocumentContent),
        ({"DocumentType": "ChangeCalendar", "Content": "{}"}, InvalidDocumentContent),
        ({"DocumentType": "ChangeCalendar", "Content": "x", "DocumentFormat": "TEXT"}, InvalidDocumentContent),
        ({"DocumentFormat": "TEXT"}, InvalidDocumentContent),
        ({"Content": '{"schemaVersion":"2.2\\u0000"}\0'}, InvalidDocumentContent),
        ({"Name": "AWS-Mine"}, ValidationException),
        ({"Name": "amazonMine"}, ValidationException),
        ({"Name": "AMZN_x"}, ValidationException),
        ({"Name": "x"}, ValidationException),
        ({"DocumentType": "Package"}, ValidationException),
        ({"Attachments": [{"Key": "SourceUrl", "Values": ["s3://x"]}]}, ValidationException),
        ({"Tags": [{"Key": f"k{i}", "Value": ""} for i in range(51)]}, ValidationException),
        ({"Tags": [{"Key": "aws:k", "Value": ""}]}, ValidationException),
    ],
)
def test_what_cannot_be_a_document_is_refused_and_nothing_is_stored(world: Any, members: Any, error: Any) -> None:
    with pytest.raises(error):
        create(world, "Broken", **members)
    assert world.call("ListDocuments", {"Filters": [{"Key": "Owner", "Values": ["Self"]}]})["DocumentIdentifiers"] == []
    create(world, "Broken")


def test_attachments_are_refused_by_name(world: Any) -> None:
    with pytest.raises(ValidationException, match="Attachments"):
        create(world, Attachments=[{"Key": "SourceUrl", "Values": ["s3://x"]}])


@ON_BOTH_STORES
def test_a_name_is_given_once_in_an_account_and_region(world: Any) -> None:
    create(world)
    with pytest.raises(DocumentAlreadyExists):
        create(world)
    for elsewhere in ({"account": world.other_account}, {"region": "eu-west-1"}):
        world.call("CreateDocument", {"Name": "Mine", "Content": json.dumps(script("x"))}, **elsewhere)
    assert "true" in text_of(world)


def test_the_number_of_documents_is_bounded(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "DOCUMENT_LIMIT", 2)
    create(world, "One")
    create(world, "Two")
    with pytest.raises(DocumentLimitExceeded):
        create(world, "Three")
    world.call("DeleteDocument", {"Name": "One"})
    create(world, "Three")


def test_an_update_adds_a_version_and_leaves_the_default_where_it_is(world: Any) -> None:
    create(world, "Mine", "one", TargetType="/", DisplayName="Shown", CloudProviders=["GCP"])
    world.clock.advance(timedelta(hours=1))
    updated = add_version(world, "two", VersionName="second")
    assert (updated["DocumentVersion"], updated["LatestVersion"], updated["DefaultVersion"]) == ("2", "2", "1")
    assert (updated["TargetType"], updated["DisplayName"]) == ("/", "Shown")
    listed = world.call("ListDocumentVersions", {"Name": "Mine"})["DocumentVersions"]
    assert [each["CloudProviders"] for each in (updated, *listed)] == [["GCP"]] * 3
    assert "one" in text_of(world)
    assert "one" in text_of(world, DocumentVersion="$DEFAULT")
    for choice in ({"DocumentVersion": "2"}, {"DocumentVersion": "$LATEST"}, {"VersionName": "second"}):
        assert "two" in text_of(world, **choice)
    versions = world.call("ListDocumentVersions", {"Name": "Mine"})["DocumentVersions"]
    assert [(each["DocumentVersion"], each["IsDefaultVersion"]) for each in versions] == [("2", False), ("1", True)]
    assert versions[0]["CreatedDate"] - versions[1]["CreatedDate"] == timedelta(hours=1)


def test_the_default_version_moves_when_told(world: Any) -> None:
    create(world, "Mine", "one")
    add_version(world, "two", VersionName="second")
    moved = world.call("UpdateDocumentDefaultVersion", {"Name": "Mine", "DocumentVersion": "2"})
    assert moved["Description"] == {"Name": "Mine", "DefaultVersion": "2", "DefaultVersionName": "second"}
    assert "two" in text_of(world)
    assert world.call("DescribeDocument", {"Name": "Mine", "DocumentVersion": "1"})["Document"]["DefaultVersion"] == "2"
    with pytest.raises(InvalidDocumentVersion):
        world.call("UpdateDocumentDefaultVersion", {"Name": "Mine", "DocumentVersion": "3"})
    with pytest.raises(InvalidDocument):
        world.call("UpdateDocumentDefaultVersion", {"Name": "Nobodys", "DocumentVersion": "1"})


@pytest.mark.parametrize("chosen", ["1", "$DEFAULT", "3"])
def test_only_the_latest_version_can_be_updated(world: Any, chosen: str) -> None:
    create(world, "Mine", "one")
    add_version(world, "two", DocumentVersion="1")
    with pytest.raises(InvalidDocumentVersion):
        add_version(world, "three", DocumentVersion=chosen)
    assert add_version(world, "three", DocumentVersion="$LATEST")["DocumentVersion"] == "3"


def test_the_same_content_again_is_refused_but_that_of_an_older_version_is_not(world: Any) -> None:
    create(world, "Mine", "one")
    with pytest.raises(DuplicateDocumentContent):
        add_version(world, "one")
    add_version(world, "two")
    assert add_version(world, "one")["DocumentVersion"] == "3"


@ON_BOTH_STORES
def test_a_version_name_is_unique_in_its_document(world: Any) -> None:
    create(world, "Mine", "one", VersionName="v")
    create(world, "Other", "one", VersionName="v")
    with pytest.raises(DuplicateDocumentVersionName):
        add_version(world, "two", VersionName="v")
    add_version(world, "two")
    add_version(world, "three")


def test_updates_are_checked_like_new_documents(world: Any) -> None:
    create(world)
    for members, error in (
        ({"Content": "{"}, InvalidDocumentContent),
        ({"Content": json.dumps({**script(), "schemaVersion": "0.3"})}, InvalidDocumentSchemaVersion),
        ({"Content": "x" * 70_000}, MaxDocumentSizeExceeded),
        ({"Attachments": [{"Key": "SourceUrl", "Values": ["s3://x"]}]}, ValidationException),
    ):
        with pytest.raises(error):
            add_version(world, "x", **members)
    with pytest.raises(InvalidDocument):
        add_version(world, "x", "Nobodys")
    assert world.call("DescribeDocument", {"Name": "Mine"})["Document"]["LatestVersion"] == "1"


def test_the_number_of_versions_is_bounded(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "VERSION_LIMIT", 2)
    create(world, "Mine", "one")
    add_version(world, "two")
    with pytest.raises(DocumentVersionLimitExceeded):
        add_version(world, "three")
    world.call("DeleteDocument", {"Name": "Mine", "DocumentVersion": "2"})
    add_version(world, "three")


@ON_BOTH_STORES
def test_a_deleted_version_is_gone_and_its_number_is_not_given_again(world: Any) -> None:
    create(world, "Mine", "one")
    add_version(world, "two")
    add_version(world, "three", VersionName="third")
    world.call("DeleteDocument", {"Name": "Mine", "VersionName": "third"})
    assert world.call("DescribeDocument", {"Name": "Mine"})["Document"]["LatestVersion"] == "2"
    assert "two" in text_of(world, DocumentVersion="$LATEST")
    with pytest.raises(InvalidDocumentVersion):
        text_of(world, DocumentVersion="3")
    assert add_version(world, "four")["DocumentVersion"] == "4"


def test_the_default_version_cannot_be_deleted_alone(world: Any) -> None:
    create(world)
    for choice in ({"DocumentVersion": "1"}, {"DocumentVersion": "$DEFAULT"}, {"DocumentVersion": "$LATEST"}):
        with pytest.raises(InvalidDocumentOperation):
            world.call("DeleteDocument", {"Name": "Mine", **choice})
    for choice in ({"DocumentVersion": "2"}, {"VersionName": "none"}):
        with pytest.raises(InvalidDocument):
            world.call("DeleteDocument", {"Name": "Mine", **choice})
    assert "true" in text_of(world)


@ON_BOTH_STORES
def test_a_deleted_document_leaves_nothing_behind(world: Any) -> None:
    create(world, Tags=[{"Key": "team", "Value": "blue"}])
    add_version(world, "two")
    review = {"Name": "Mine", "DocumentReviews": {"Action": "SendForReview"}}
    world.call("UpdateDocumentMetadata", review)
    world.call("DeleteDocument", {"Name": "Mine"})
    for operation in ("GetDocument", "DescribeDocument", "ListDocumentVersions", "DeleteDocument"):
        with pytest.raises(InvalidDocument):
            world.call(operation, {"Name": "Mine"})
    with pytest.raises(InvalidResourceId):
        world.call("ListTagsForResource", {"ResourceType": "Document", "ResourceId": "Mine"})
    create(world)
    assert world.call("DescribeDocument", {"Name": "Mine"})["Document"]["Tags"] == []
    history = {"Name": "Mine", "Metadata": "DocumentReviews"}
    assert world.call("ListDocumentMetadataHistory", history)["Metadata"]["ReviewerResponse"] == []


def test_a_configuration_schema_is_deleted_with_force_alone(world: Any) -> None:
    create(world, "Schema", DocumentType="ApplicationConfigurationSchema", Content="{}")
    with pytest.raises(InvalidDocumentOperation):
        world.call("DeleteDocument", {"Name": "Schema"})
    world.call("DeleteDocument", {"Name": "Schema", "Force": True})
    with pytest.raises(InvalidDocument):
        text_of(world, "Schema")


def test_a_version_and_a_version_name_must_mean_the_same(world: Any) -> None:
    create(world, "Mine", "one", VersionName="first")
    add_version(world, "two", VersionName="second")
    assert "two" in text_of(world, DocumentVersion="2", VersionName="second")
    with pytest.raises(InvalidDocumentVersion):
        text_of(world, DocumentVersion="1", VersionName="second")
    with pytest.raises(InvalidDocumentVersion):
        text_of(world, DocumentVersion="99999999999999999999")


def test_tags_of_a_new_document_are_those_of_the_tags_operations(world: Any) -> None:
    created = create(world, Tags=[{"Key": "team", "Value": "blue"}, {"Key": "env", "Value": "test"}])
    tags = {"ResourceType": "Document", "ResourceId": "Mine"}
    assert world.call("ListTagsForResource", tags)["TagList"] == created["Tags"]
    world.call("RemoveTagsFromResource", {**tags, "TagKeys": ["env"]})
    assert world.call("DescribeDocument", {"Name": "Mine"})["Document"]["Tags"] == [{"Key": "team", "Value": "blue"}]


@pytest.mark.parametrize("name", ["AWS-RunShellScript", "arn:aws:ssm:us-east-1::document/AWS-RunShellScript"])
def test_documents_of_aws_are_visible_to_every_account(world: Any, name: str) -> None:
    described = world.call("DescribeDocument", {"Name": name}, account=world.other_account)["Document"]
    assert (described["Name"], described["Owner"]) == ("AWS-RunShellScript", "Amazon")
    assert described["PlatformTypes"] == ["Linux", "MacOS"]
    content = text_of(world, name)
    assert json.loads(content)["schemaVersion"] == "1.2"
    assert described["Hash"] == hashlib.sha256(content.encode()).hexdigest()
    (version,) = world.call("ListDocumentVersions", {"Name": name})["DocumentVersions"]
    assert (version["DocumentVersion"], version["IsDefaultVersion"]) == ("1", True)
    for wrong in ({"DocumentVersion": "2"}, {"VersionName": "x"}):
        with pytest.raises(InvalidDocumentVersion):
            text_of(world, name, **wrong)


@pytest.mark.parametrize(
    ("operation", "members", "error"),
    [
        ("UpdateDocument", {"Content": "{}"}, InvalidDocumentOperation),
        ("DeleteDocument", {}, InvalidDocumentOperation),
        ("UpdateDocumentDefaultVersion", {"DocumentVersion": "1"}, InvalidDocument),
        ("ModifyDocumentPermission", {"PermissionType": "Share", "AccountIdsToAdd": ["all"]}, InvalidDocument),
        ("DescribeDocumentPermission", {"PermissionType": "Share"}, InvalidDocumentOperation),
        ("UpdateDocumentMetadata", {"DocumentReviews": {"Action": "Approve"}}, InvalidDocumentOperation),
        (
            "AddTagsToResource",
            {"ResourceType": "Document", "ResourceId": "AWS-RunShellScript", "Tags": [{"Key": "a", "Value": "b"}]},
            InvalidResourceId,
        ),
    ],
)
def test_documents_of_aws_cannot_be_changed(world: Any, operation: str, members: Any, error: Any) -> None:
    before = text_of(world, "AWS-RunShellScript")
    with pytest.raises(error):
        world.call(operation, members if "ResourceId" in members else {"Name": "AWS-RunShellScript", **members})
    assert text_of(world, "AWS-RunShellScript") == before


@pytest.mark.parametrize(
    "name",
    [
        "Nobodys",
        "arn:aws:ssm:us-east-1:123456789012:document/Nobodys",
        "arn:aws:ssm:us-east-1:210987654321:document/Mine",
        "arn:aws:ssm:eu-west-1:123456789012:document/Mine",
        "arn:aws:ssm:eu-west-1::document/AWS-RunShellScript",
        "arn:aws:ssm:us-east-1::document/Mine",
        "arn:aws:ssm:us-east-1:123456789012:association/Mine",
        "Mine:1",
        "AWS-Unheard",
    ],
)
def test_what_is_not_there_is_an_invalid_document_everywhere(world: Any, name: str) -> None:
    create(world)
    for operation in ("GetDocument", "DescribeDocument", "ListDocumentVersions"):
        with pytest.raises(InvalidDocument):
            world.call(operation, {"Name": name})


def test_own_documents_go_by_their_arn_too(world: Any) -> None:
    create(world)
    name = f"arn:aws:ssm:us-east-1:{world.account}:document/Mine"
    assert world.call("GetDocument", {"Name": name})["Name"] == "Mine"


def test_nodes_read_documents_of_their_account_and_of_aws_and_change_none(world: Any) -> None:
    create(world)
    node = world.as_node(NODE)
    assert "true" in world.call("GetDocument", {"Name": "Mine"}, node)["Content"]
    assert world.call("DescribeDocument", {"Name": "AWS-RunShellScript"}, node)["Document"]["Status"] == "Active"
    with pytest.raises(InvalidDocument):
        world.call("GetDocument", {"Name": "Mine"}, world.as_node(NODE, account=world.other_account))
    for operation, members in (
        ("DeleteDocument", {"Name": "Mine"}),
        ("CreateDocument", {"Name": "Yours", "Content": json.dumps(script())}),
        ("ListDocuments", {}),
    ):
        with pytest.raises(AccessDeniedException):
            world.call(operation, members, node)


def test_policies_decide_by_arn_and_tags_and_aws_documents_have_no_account(world: Any) -> None:
    create(world, "Blue", Tags=[{"Key": "team", "Value": "blue"}])
    create(world, "Red", Tags=[{"Key": "team", "Value": "red"}])
    role = world.as_role(
        {
            "Effect": "Allow",
            "Action": "ssm:GetDocument",
            "Resource": "arn:aws:ssm:us-east-1:123456789012:document/*",
            "Condition": {"StringEquals": {"aws:ResourceTag/team": "blue"}},
        },
        {"Effect": "Allow", "Action": "ssm:DescribeDocument", "Resource": "arn:aws:ssm:*::document/AWS-*"},
        {"Effect": "Allow", "Action": "ssm:CreateDocument", "Resource": "arn:aws:ssm:*:*:document/Team-*"},
    )
    world.call("GetDocument", {"Name": "Blue"}, role)
    world.call("DescribeDocument", {"Name": "AWS-RunShellScript"}, role)
    world.call("CreateDocument", {"Name": "Team-1", "Content": json.dumps(script())}, role)
    for operation, members in (
        ("GetDocument", {"Name": "Red"}),
        ("GetDocument", {"Name": "AWS-RunShellScript"}),
        ("DescribeDocument", {"Name": "Blue"}),
        ("CreateDocument", {"Name": "Other", "Content": json.dumps(script())}),
        ("ListDocuments", {}),
    ):
        with pytest.raises(AccessDeniedException):
            world.call(operation, members, role)


def test_paging_of_versions_misses_and_repeats_nothing(world: Any) -> None:
    create(world, "Mine", "1")
    for number in range(2, 8):
        add_version(world, str(number))
    for size in (1, 2, 3, 7, 50):
        pages = world.pages("ListDocumentVersions", {"Name": "Mine", "MaxResults": size}, "DocumentVersions")
        assert [each["DocumentVersion"] for page in pages for each in page] == ["7", "6", "5", "4", "3", "2", "1"]
        assert all(len(page) == size for page in pages[:-1])
    for operation, more in (
        ("ListDocumentVersions", {}),
        ("DescribeDocumentPermission", {"PermissionType": "Share"}),
        ("ListDocumentMetadataHistory", {"Metadata": "DocumentReviews"}),
    ):
        for token in ("bm9uc2Vuc2U=", *(paging.encode(operation, bad) for bad in BAD_KEYS)):
            with pytest.raises(InvalidNextToken):
                world.call(operation, {"Name": "Mine", "NextToken": token, **more})


def test_resolve_gives_what_run_command_needs(world: Any) -> None:
    create(world, "Mine", "echo {{ x }}", VersionName="first")
    add_version(world, "two")
    found = world.do(lambda call: documents.resolve(call, "Mine", None, "first"))
    assert (found.name, found.version, found.is_default, found.status) == ("Mine", "1", True, "Active")
    assert found.sha256 == hashlib.sha256(found.text.encode()).hexdigest()
    assert found.content["mainSteps"][0]["name"] == "run"
    assert found.document.steps[0].action == "aws:runShellScript"
    assert found.arn == f"arn:aws:ssm:us-east-1:{world.account}:document/Mine"
    latest = world.do(lambda call: documents.resolve(call, found.arn, "$LATEST"))
    assert (latest.version, latest.is_default) == ("2", False)
    owned = world.do(lambda call: documents.resolve(call, "AWS-RunShellScript"))
    assert (owned.owner, owned.arn) == ("Amazon", "arn:aws:ssm:us-east-1::document/AWS-RunShellScript")
    assert owned.document.schema_version == "1.2"
    for wrong in ("7", "$NONSENSE"):
        with pytest.raises(InvalidDocumentVersion):
            world.do(lambda call, wrong=wrong: documents.resolve(call, "Mine", wrong))


def test_a_text_is_parsed_once_however_often_it_is_resolved(world: Any) -> None:
    create(world, "Mine", "same")
    create(world, "Other", "same")
    first, second = (world.do(lambda call, name=name: documents.resolve(call, name)) for name in ("Mine", "Other"))
    assert first.document is second.document


def test_documents_that_nodes_do_not_run_resolve_without_a_plan(world: Any) -> None:
    create(world, "Other", DocumentType="Session", Content=json.dumps(SSH))
    found = world.do(lambda call: documents.resolve(call, "Other"))
    assert found.content["sessionType"] == "Port"
    with pytest.raises(InvalidDocument, match="Session"):
        _ = found.document


def test_the_preferences_of_sessions_are_a_document_of_the_account(world: Any) -> None:
    def preferences(**inputs: Any) -> str:
        return json.dumps({"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": inputs})

    create(world, PREFERENCES, DocumentType="Session", Content=preferences(idleSessionTimeout="20"))
    changed = {"Name": PREFERENCES, "Content": preferences(idleSessionTimeout="61"), "DocumentVersion": "$LATEST"}
    with pytest.raises(InvalidDocumentContent, match="idleSessionTimeout must be minutes from 1 to 60"):
        world.call("UpdateDocument", changed)
    version = world.call("UpdateDocument", {**changed, "Content": preferences(idleSessionTimeout="60")})
    assert version["DocumentDescription"]["LatestVersion"] == "2"


def test_a_pattern_that_takes_too_long_fits_nothing() -> None:
    assert documents.fits("[a-z]+", "abc")
    assert not documents.fits("[a-z]+", "abc\n")
    assert not documents.fits("(a|aa)+(a|aa)+(a|aa)+b", "a" * 4000)
    assert not documents.fits("(", "(")
