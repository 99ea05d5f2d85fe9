"""Owned by AWS: the library's documents as every account sees them; they cannot be changed and have one version."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from fleetward.protocol import document as protocol
from fleetward.server.call import Call
from fleetward.server.ssm import library
from fleetward.server.ssm.documents import content, convert
from fleetward.server.ssm.documents.store import ResolvedDocument

OWNER = "Amazon"
VERSION = "1"
RELEASED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def _load(written: library.Written) -> ResolvedDocument:
    text = convert.write_json(written.content)
    source, read = content.check(text, written.document_type, "JSON")
    return ResolvedDocument(
        name=written.name,
        version=VERSION,
        is_default=True,
        default_version=VERSION,
        latest_version=VERSION,
        document_type=written.document_type,
        text=text,
        format="JSON",
        sha256=source.sha256,
        sha1=protocol.sha1_hash(text),
        owner=OWNER,
        arn=f"arn:aws:ssm:::document/{written.name}",
        foreign=False,
        created_at=RELEASED_AT,
        platform_types=read.platform_types,
        schema_version=read.schema_version,
        description=read.description,
    )


LIBRARY: Mapping[str, ResolvedDocument] = {written.name: _load(written) for written in library.WRITTEN}
"""Every AWS-owned document by name, in order of name; the ARN still lacks its region."""


def arn(call: Call, name: str) -> str:
    """`arn:aws:ssm:R::document/AWS-…`: without an account."""
    return call.arn(f"document/{name}", owned_by_aws=True)
