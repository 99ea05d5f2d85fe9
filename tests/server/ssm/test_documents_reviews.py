"""Documents: reviews of versions, and their history."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.errors import ValidationException
from fleetward.server.ssm.documents.reviews import STATUS_AFTER
from fleetward.server.ssm.errors import InvalidDocument, InvalidDocumentOperation, InvalidDocumentVersion

ON_BOTH_STORES = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
ACTIONS = ("SendForReview", "UpdateReview", "Approve", "Reject")


def runbook(seconds: int) -> str:
    step = {"name": "wait", "action": "aws:sleep", "inputs": {"Duration": f"PT{seconds}S"}}
    return json.dumps({"schemaVersion": "0.3", "mainSteps": [step]})


def review(world: Any, action: str, comment: str | None = None, caller: Any = "root", **members: Any) -> None:
    reviews: dict[str, Any] = {"Action": action}
    if comment is not None:
        reviews["Comment"] = [{"Type": "Comment", "Content": comment}]
    world.call("UpdateDocumentMetadata", {"Name": "Change", "DocumentReviews": reviews, **members}, caller)


def history(world: Any, **members: Any) -> Any:
    return world.call("ListDocumentMetadataHistory", {"Name": "Change", "Metadata": "DocumentReviews", **members})


def described(world: Any, version: str = "$LATEST") -> Any:
    return world.call("DescribeDocument", {"Name": "Change", "DocumentVersion": version})["Document"]


@pytest.fixture
def template_world(world: Any) -> Any:
    """With a change template that nobody has reviewed."""
    request = {"Name": "Change", "Content": runbook(1), "DocumentType": "Automation.ChangeTemplate"}
    world.call("CreateDocument", request)
    return world


def test_a_new_template_is_not_reviewed_and_other_documents_say_nothing(template_world: Any) -> None:
    assert described(template_world)["ReviewStatus"] == "NOT_REVIEWED"
    template_world.call("CreateDocument", {"Name": "Plain", "Content": runbook(1), "DocumentType": "Automation"})
    assert "ReviewStatus" not in template_world.call("DescribeDocument", {"Name": "Plain"})["Document"]


def test_a_template_is_sent_for_review_and_approved(template_world: Any) -> None:
    world = template_world
    review(world, "SendForReview", "please look")
    pending = described(world)
    assert (pending["ReviewStatus"], pending["PendingReviewVersion"]) == ("PENDING", "1")
    world.clock.advance(timedelta(minutes=5))
    reviewer = world.as_role({"Effect": "Allow", "Action": "ssm:UpdateDocumentMetadata", "Resource": "*"})
    review(world, "Approve", "looks good", reviewer)
    approved = described(world)
    assert (approved["ReviewStatus"], approved["ApprovedVersion"]) == ("APPROVED", "1")
    assert "PendingReviewVersion" not in approved
    assert approved["ReviewInformation"] == [
        {"ReviewedTime": world.clock.now(), "Status": "APPROVED", "Reviewer": "test"}
    ]
    newest, oldest = history(world)["Metadata"]["ReviewerResponse"]
    assert newest["Comment"] == [{"Type": "Comment", "Content": "looks good"}]
    assert (newest["ReviewStatus"], newest["Reviewer"]) == ("APPROVED", "test")
    assert (oldest["ReviewStatus"], oldest["Reviewer"]) == ("PENDING", "root")
    assert newest["CreateTime"] - oldest["CreateTime"] == timedelta(minutes=5)
    assert world.call("GetDocument", {"Name": "Change"})["ReviewStatus"] == "APPROVED"


@ON_BOTH_STORES
def test_each_version_is_reviewed_for_itself(template_world: Any) -> None:
    world = template_world
    review(world, "SendForReview")
    review(world, "Approve")
    world.call("UpdateDocument", {"Name": "Change", "Content": runbook(2)})
    assert described(world)["ReviewStatus"] == "NOT_REVIEWED"
    review(world, "SendForReview", DocumentVersion="2")
    first = described(world, "1")
    assert (first["ReviewStatus"], first["ApprovedVersion"], first["PendingReviewVersion"]) == ("APPROVED", "1", "2")
    assert len(history(world, DocumentVersion="2")["Metadata"]["ReviewerResponse"]) == 1
    assert history(world)["DocumentVersion"] == "1"


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("path", [(), ("SendForReview",), ("SendForReview", "Approve"), ("SendForReview", "Reject")])
def test_only_the_listed_transitions_are_possible(template_world: Any, path: tuple[str, ...], action: str) -> None:
    for each in path:
        review(template_world, each)
    before = described(template_world)["ReviewStatus"]
    expected = STATUS_AFTER.get((action, before))
    if expected is None:
        with pytest.raises(InvalidDocumentOperation, match=before):
            review(template_world, action)
        expected = before
    else:
        review(template_world, action)
    assert described(template_world)["ReviewStatus"] == expected


def test_what_is_not_there_cannot_be_reviewed(template_world: Any) -> None:
    with pytest.raises(InvalidDocumentVersion):
        review(template_world, "SendForReview", DocumentVersion="2")
    with pytest.raises(InvalidDocument):
        review(template_world, "SendForReview", Name="Nobodys")
    with pytest.raises(InvalidDocumentVersion):
        history(template_world, DocumentVersion="2")
    with pytest.raises(InvalidDocument):
        history(template_world, Name="Nobodys")
    with pytest.raises(ValidationException):
        review(template_world, "SendForReview", "a\0b")
    assert history(template_world)["Metadata"]["ReviewerResponse"] == []


def test_paging_of_reviews_misses_and_repeats_nothing(template_world: Any) -> None:
    review(template_world, "SendForReview", "0")
    for number in range(1, 7):
        review(template_world, "UpdateReview", str(number))
    for size in (1, 2, 3, 7, 50):
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = history(template_world, MaxResults=size, **token)
            found += [each["Comment"][0]["Content"] for each in page["Metadata"]["ReviewerResponse"]]
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
        assert found == ["6", "5", "4", "3", "2", "1", "0"]
