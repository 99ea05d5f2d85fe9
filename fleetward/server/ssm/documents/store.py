"""Store: the documents' tables, their statements, and one document as every operation sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Integer, Row, String, Table, Text, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_keep

from fleetward.protocol import document as protocol
from fleetward.server.call import Call
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, tenant
from fleetward.server.ssm.documents import content

DOCUMENT_LIMIT = 500
VERSION_LIMIT = 1000
MANUAL_APPROVAL = "ManualApprovalPolicy"
APPROVAL_POLICY_LIMIT = 50
RESERVED_PREFIXES = ("aws", "amazon", "amzn")
"""In any case of letters; AWS's other reserved prefixes begin with one of these."""

documents = Table(
    "documents",
    metadata,
    *tenant(),
    Column("name", String(128), primary_key=True),
    Column("document_type", String(64), nullable=False),
    Column("default_version", Integer, nullable=False),
    Column("latest_version", Integer, nullable=False),
    Column("last_number", Integer, nullable=False),  # numbers of deleted versions are not given again
    Column("created_at", UtcDateTime, nullable=False),
)

versions = Table(
    "documents_versions",
    metadata,
    *tenant(),
    Column("name", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("version_name", String(128)),
    Column("display_name", String(1024)),
    Column("format", String(8), nullable=False),
    Column("content", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("sha1", String(40), nullable=False),
    Column("schema_version", String(16), nullable=False),
    Column("description", Text, nullable=False),
    Column("platform_types", Json, nullable=False),
    Column("target_type", String(200)),
    Column("requires", Json),
    Column("author", Text, nullable=False),  # ARN
    Column("review_status", String(16)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("cloud_providers", Json),
    Column("timeline", Json),  # of a ChangeCalendar: calendars.Timeline
    Index("documents_versions_name", "account_id", "region", "name", "version_name", unique=True),
)

shares = Table(
    "documents_shares",
    metadata,
    *tenant(),
    Column("name", String(128), primary_key=True),
    Column("with_account", String(12), primary_key=True),  # or "all"
    Column("shared_version", String(8), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("documents_shares_with", "region", "with_account", "account_id", "name"),
)


def _of(table: Table) -> tuple[Any, ...]:
    return (*in_tenant(table), table.c.name == bindparam("document"))


_VERSION = (*_of(versions), versions.c.version == bindparam("number"))
FIND = select(documents).where(*_of(documents))
HOLD = FIND.with_for_update()
COUNT = select(func.count()).select_from(documents).where(*in_tenant(documents))
_OF_TYPE = (*in_tenant(documents), documents.c.document_type == bindparam("of_type"))
COUNT_OF_TYPE = select(func.count()).select_from(documents).where(*_OF_TYPE)
NAMES_OF_TYPE = select(documents.c.name).where(*_OF_TYPE).order_by(documents.c.name)
ADD = insert_or_keep(documents).on_conflict_do_nothing().returning(documents.c.name)  # no row: it is there already
REMOVE = delete(documents).where(*_of(documents))
CHANGE = (
    update(documents)
    .where(*_of(documents))
    .values(
        default_version=bindparam("to_default"),
        latest_version=bindparam("to_latest"),
        last_number=bindparam("to_last"),
    )
)
ADD_VERSION = insert(versions)
FIND_VERSION = select(versions).where(*_VERSION)
FIND_VERSION_NAME = select(versions).where(*_of(versions), versions.c.version_name == bindparam("named"))
COUNT_VERSIONS = select(func.count()).select_from(versions).where(*_of(versions))
NEWEST_VERSION = select(func.max(versions.c.version)).where(*_of(versions))
REMOVE_VERSION = delete(versions).where(*_VERSION)
REMOVE_VERSIONS = delete(versions).where(*_of(versions))
SHARED_WITH = select(shares.c.shared_version).where(
    *_of(shares), shares.c.with_account.in_([bindparam("recipient"), bindparam("everybody")])
)

EVERYBODY = "all"


@dataclass(frozen=True, slots=True)
class ResolvedDocument:
    """One version of a document, whoever owns it.

    `version` is its number as text. `format` and `text` are as stored; `content` is the JSON equivalent and `document`
    the parsed form that nodes run: both are shared and must not be changed.
    """

    name: str
    version: str
    is_default: bool
    default_version: str
    latest_version: str
    document_type: str
    text: str = field(repr=False)
    format: str
    sha256: str
    sha1: str
    owner: str
    """An account id, or Amazon."""
    arn: str
    foreign: bool
    """Shared by another account; such documents are named by ARN."""
    created_at: datetime
    platform_types: tuple[str, ...]
    schema_version: str
    description: str = ""
    status: str = "Active"
    version_name: str | None = None
    display_name: str | None = None
    target_type: str | None = None
    cloud_providers: Sequence[str] | None = None
    """Where the document is meant to be used, as its author says; nothing depends on it."""
    requires: Sequence[Mapping[str, Any]] | None = None
    author: str | None = None
    review_status: str | None = None
    timeline: Sequence[Any] | None = field(default=None, repr=False)
    """Of a ChangeCalendar: the members of its `calendars.Timeline`."""

    @property
    def source(self) -> content.Source:
        """Text and how to read it, the key of what is cached."""
        return content.Source(self.sha256, self.document_type, self.format, self.text)

    @property
    def content(self) -> Mapping[str, Any]:
        """The JSON equivalent; empty for text that has none."""
        return content.parsed(self.source).value or {}

    @property
    def document(self) -> protocol.Document:
        """The document as nodes run it; raises InvalidDocument for types that they do not run."""
        return content.runnable(self.source)

    @property
    def shown_name(self) -> str:
        """The name its caller must use."""
        return self.arn if self.foreign else self.name


def key(call: Call, name: str, account: str | None = None) -> dict[str, Any]:
    """Parameters that find a document in this module's statements."""
    return {"account": account or call.account, "in_region": call.region, "document": name}


def arn(call: Call, name: str, account: str) -> str:
    """The ARN of a document that an account owns."""
    return f"arn:aws:ssm:{call.region}:{account}:document/{name}"


def resolved(call: Call, head: Row[Any], version: Row[Any]) -> ResolvedDocument:
    """A document's row and one of its versions."""
    return ResolvedDocument(
        name=head.name,
        version=str(version.version),
        is_default=version.version == head.default_version,
        default_version=str(head.default_version),
        latest_version=str(head.latest_version),
        document_type=head.document_type,
        text=version.content,
        format=version.format,
        sha256=version.sha256,
        sha1=version.sha1,
        owner=head.account_id,
        arn=arn(call, head.name, head.account_id),
        foreign=head.account_id != call.account,
        created_at=version.created_at,
        platform_types=tuple(version.platform_types),
        schema_version=version.schema_version,
        description=version.description,
        version_name=version.version_name,
        display_name=version.display_name,
        target_type=version.target_type,
        cloud_providers=version.cloud_providers,
        requires=version.requires,
        author=version.author,
        review_status=version.review_status,
        timeline=version.timeline,
    )
