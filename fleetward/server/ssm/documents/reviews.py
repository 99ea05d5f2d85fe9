"""Reviews: a version is sent for review and approved or rejected; the history of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Integer, String, Table, Text, bindparam, delete, func, insert, select, update

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.schema import UtcDateTime, in_tenant, metadata, tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.documents import access, owned_by_aws
from fleetward.server.ssm.documents.store import ResolvedDocument, key, versions
from fleetward.server.ssm.errors import InvalidDocumentOperation

PAGE = 50
REVIEWER_CHARACTERS = 50
NOT_REVIEWED, PENDING, APPROVED, REJECTED = "NOT_REVIEWED", "PENDING", "APPROVED", "REJECTED"

STATUS_AFTER: Mapping[tuple[str, str], str] = {
    ("SendForReview", NOT_REVIEWED): PENDING,
    ("SendForReview", REJECTED): PENDING,
    ("UpdateReview", PENDING): PENDING,
    ("UpdateReview", APPROVED): PENDING,
    ("UpdateReview", REJECTED): PENDING,
    ("Approve", PENDING): APPROVED,
    ("Reject", PENDING): REJECTED,
}
"""(action, status before) -> status after; what is missing is refused."""

reviews = Table(
    "documents_reviews",
    metadata,
    *tenant(),
    Column("name", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("reviewer", String(REVIEWER_CHARACTERS), nullable=False),
    Column("comment", Text),
    Column("created_at", UtcDateTime, nullable=False),
)

_OF_DOCUMENT = (*in_tenant(reviews), reviews.c.name == bindparam("document"))
_OF_VERSION = (*_OF_DOCUMENT, reviews.c.version == bindparam("number"))
ADD = insert(reviews)
LAST_NUMBER = select(func.max(reviews.c.number)).where(*_OF_VERSION)
BEFORE = (
    select(reviews)
    .where(*_OF_VERSION, reviews.c.number < bindparam("before"))
    .order_by(reviews.c.number.desc())
    .limit(bindparam("most"))
)
FORGET = delete(reviews).where(*_OF_DOCUMENT)
FORGET_VERSION = delete(reviews).where(*_OF_VERSION)
SET_STATUS = (
    update(versions)
    .where(*in_tenant(versions), versions.c.name == bindparam("document"), versions.c.version == bindparam("number"))
    .values(review_status=bindparam("to_status"))
)
NEWEST_WITH = select(func.max(versions.c.version)).where(
    *in_tenant(versions), versions.c.name == bindparam("document"), versions.c.review_status == bindparam("status")
)
_BEYOND_ALL = 10**9


def at_first(document_type: str) -> str | None:
    """The review status of a new version; templates of changes have one from the start."""
    return NOT_REVIEWED if document_type == "Automation.ChangeTemplate" else None


def summary(call: Call, document: ResolvedDocument) -> dict[str, Any]:
    """What a DocumentDescription says about reviews; nothing for documents that never had one."""
    if document.review_status in (None, NOT_REVIEWED):
        return {}
    scope = key(call, document.name)
    rows = call.db.all(BEFORE, **scope, number=int(document.version), before=_BEYOND_ALL, most=1)
    newest = {
        "ApprovedVersion": call.db.value(NEWEST_WITH, **scope, status=APPROVED),
        "PendingReviewVersion": call.db.value(NEWEST_WITH, **scope, status=PENDING),
    }
    reviewed = [{"ReviewedTime": row.created_at, "Status": row.status, "Reviewer": row.reviewer} for row in rows]
    return {"ReviewInformation": reviewed, **{name: str(number) for name, number in newest.items() if number}}


def forget(call: Call, name: str, version: int | None = None) -> None:
    """Remove the reviews of a document, or of one version, that is going away."""
    if version is None:
        call.db.run(FORGET, key(call, name))
    else:
        call.db.run(FORGET_VERSION, {**key(call, name), "number": version})


@ssm.operation("UpdateDocumentMetadata", resources=access.resources)
def update_document_metadata(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send a version (by default the latest) for review, change the review, approve or reject."""
    name, wanted = request["Name"], request["DocumentReviews"]
    if name in owned_by_aws.LIBRARY:
        raise InvalidDocumentOperation(f"The document {name} is owned by {owned_by_aws.OWNER} and cannot be reviewed.")
    head = access.own(call, name, hold=True)
    version = request.get("DocumentVersion", access.LATEST)
    row = access.find_version(call, head, version, None)
    if row is None:
        raise access.no_version(name, version, None)
    before, action = row.review_status or NOT_REVIEWED, wanted["Action"]
    after = STATUS_AFTER.get((action, before))
    if after is None:
        raise InvalidDocumentOperation(f"{action} is not possible: version {row.version} of {name} is {before}.")
    scope = {**key(call, name), "number": row.version}
    last: int | None = call.db.value(LAST_NUMBER, **scope)
    review = {
        "name": name,
        "version": row.version,
        "number": (last or 0) + 1,
        "status": after,
        "reviewer": _reviewer(call),
        "comment": _comment(wanted),
        "created_at": call.now,
    }
    call.db.run(ADD, {**call.tenant, **review})
    call.db.run(SET_STATUS, {**scope, "to_status": after})
    return {}


@ssm.operation("ListDocumentMetadataHistory", resources=access.resources, reads=True)
def list_document_metadata_history(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The reviews of a version (by default the default one), newest first."""
    operation, name, limit = "ListDocumentMetadataHistory", request["Name"], request.get("MaxResults", PAGE)
    before = access.continue_after(operation, request.get("NextToken"), _BEYOND_ALL)
    document = access.resolve(call, name, request.get("DocumentVersion"))
    scope = {**key(call, name), "number": int(document.version)}
    rows = [] if document.owner != call.account else call.db.all(BEFORE, **scope, before=before, most=limit + 1)
    listed, token = paging.page(operation, rows, limit, lambda row: [row.number])
    responses = [
        access.given(
            CreateTime=row.created_at,
            UpdatedTime=row.created_at,
            ReviewStatus=row.status,
            Comment=[{"Type": "Comment", "Content": row.comment}] if row.comment is not None else None,
            Reviewer=row.reviewer,
        )
        for row in listed
    ]
    return access.given(
        Name=name,
        DocumentVersion=document.version,
        Author=document.author,
        Metadata={"ReviewerResponse": responses},
        **token,
    )


def _comment(wanted: Mapping[str, Any]) -> str | None:
    comments = wanted.get("Comment") or ()
    text: str | None = comments[0].get("Content") if comments else None
    if text is not None and "\0" in text:
        raise ValidationException("The comment contains a NUL character.")
    return text


def _reviewer(call: Call) -> str:
    """The last part of the caller's ARN, in the characters and length that a Reviewer may have."""
    return re.sub(r"[^a-zA-Z0-9_\-.]", "-", re.split(r"[/:]", call.caller.arn)[-1])[:REVIEWER_CHARACTERS]
