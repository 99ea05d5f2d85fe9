"""Describe: a document's text, and everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetward.server.call import Call
from fleetward.server.ssm import ssm, tags
from fleetward.server.ssm.documents import access, content, convert, reviews
from fleetward.server.ssm.documents.store import ResolvedDocument


@ssm.operation("GetDocument", resources=access.resources, reads=True, audience="both")
def get_document(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A document's text, as JSON unless YAML is asked for (API reference, GetDocument: DocumentFormat).

    What has no other form (TEXT, templates with tags of their own) comes as it is stored.
    """
    document = access.resolve(call, request["Name"], request.get("DocumentVersion"), request.get("VersionName"))
    wanted = request.get("DocumentFormat", "JSON")
    text = document.text
    if wanted in ("TEXT", document.format) or not content.convertible(document.source):
        wanted = document.format
    else:
        text = convert.write(document.content, wanted)
    return access.given(
        Name=document.shown_name,
        CreatedDate=document.created_at,
        DisplayName=document.display_name,
        VersionName=document.version_name,
        DocumentVersion=document.version,
        Status=document.status,
        Content=text,
        DocumentType=document.document_type,
        DocumentFormat=wanted,
        Requires=document.requires,
        ReviewStatus=document.review_status,
    )


@ssm.operation("DescribeDocument", resources=access.resources, reads=True, audience="both")
def describe_document(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about one version but its text."""
    document = access.resolve(call, request["Name"], request.get("DocumentVersion"), request.get("VersionName"))
    return {"Document": description(call, document)}


def description(call: Call, document: ResolvedDocument) -> dict[str, Any]:
    """A DocumentDescription."""
    is_own = document.owner == call.account
    return access.given(
        Sha1=document.sha1,
        Hash=document.sha256,
        HashType="Sha256",
        Name=document.shown_name,
        DisplayName=document.display_name,
        VersionName=document.version_name,
        Owner=document.owner,
        CreatedDate=document.created_at,
        Status=document.status,
        DocumentVersion=document.version,
        Description=document.description or None,
        Parameters=list(content.parsed(document.source).parameters),
        PlatformTypes=list(document.platform_types),
        DocumentType=document.document_type,
        SchemaVersion=document.schema_version or None,
        LatestVersion=document.latest_version,
        DefaultVersion=document.default_version,
        DocumentFormat=document.format,
        TargetType=document.target_type,
        CloudProviders=document.cloud_providers,
        Tags=tags.shape(tags.of(call, access.RESOURCE_TYPE, [document.name])[document.name]) if is_own else [],
        Requires=document.requires,
        Author=document.author,
        ReviewStatus=document.review_status,
        **(reviews.summary(call, document) if is_own else {}),
    )
