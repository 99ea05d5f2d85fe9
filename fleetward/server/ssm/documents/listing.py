"""Listing: ListDocuments: first AWS's documents, then the account's own, then those that others share with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, bindparam, func, literal, null, or_, select, type_coerce

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.schema import same_tenant
from fleetward.server.ssm import ssm, tags
from fleetward.server.ssm.documents import owned_by_aws, store
from fleetward.server.ssm.documents.access import RESOURCE_TYPE, given
from fleetward.server.ssm.documents.store import EVERYBODY, ResolvedDocument, documents, shares, versions
from fleetward.server.ssm.errors import InvalidFilterKey

PAGE = 50
AMAZON, SELF, PRIVATE, PUBLIC, THIRD_PARTY, ALL = "Amazon", "Self", "Private", "Public", "ThirdParty", "All"
OWNERS = (AMAZON, SELF, PRIVATE, PUBLIC, THIRD_PARTY, ALL)
TAG_PREFIX = "tag:"

Place = tuple[str, str]
"""Where a list stands: owner and name."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One key's meaning: as a condition on rows, and as a test of a library document. Values are alternatives."""

    condition: Callable[[Sequence[str]], ColumnElement[bool]]
    test: Callable[[ResolvedDocument, Sequence[str]], bool]


def _begins(values: Sequence[str]) -> ColumnElement[bool]:
    """By comparison of substrings: LIKE minds case in one database and not in the other."""
    return or_(*(func.substr(documents.c.name, 1, len(value)) == value for value in values))


def _on_platform(values: Sequence[str]) -> ColumnElement[bool]:
    return or_(
        *(type_coerce(versions.c.platform_types, Text).contains(f'"{each}"', autoescape=True) for each in values)
    )


def _mentions(values: Sequence[str]) -> ColumnElement[bool]:
    texts = (documents.c.name, versions.c.description, func.coalesce(versions.c.display_name, ""))
    return or_(*(func.lower(text).contains(each.lower(), autoescape=True) for text in texts for each in values))


FILTERS: Mapping[str, Filter] = {
    "Name": Filter(_begins, lambda document, values: document.name.startswith(tuple(values))),
    "DocumentType": Filter(
        lambda values: documents.c.document_type.in_(values), lambda document, values: document.document_type in values
    ),
    "PlatformTypes": Filter(
        _on_platform, lambda document, values: any(each in document.platform_types for each in values)
    ),
    "SchemaVersion": Filter(
        lambda values: versions.c.schema_version.in_(values), lambda document, values: document.schema_version in values
    ),
    "SearchKeyword": Filter(
        _mentions,
        lambda document, values: any(
            each.lower() in text.lower() for text in (document.name, document.description) for each in values
        ),
    ),
    "TargetType": Filter(lambda values: versions.c.target_type.in_(values), lambda document, values: False),
}
"""Every key but Owner and tag:…, which decide where to look."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for: kinds of owners, tags (one's own documents alone have some), and the other filters."""

    owners: frozenset[str]
    labels: Mapping[str, Sequence[str]]
    others: Sequence[tuple[Filter, Sequence[str]]]

    def conditions(self) -> list[ColumnElement[bool]]:
        """The other filters, as conditions on rows."""
        return [each.condition(values) for each, values in self.others]


_COLUMNS = (
    documents.c.account_id,
    documents.c.name,
    documents.c.document_type,
    documents.c.default_version,
    documents.c.latest_version,
    *(
        versions.c[name]
        for name in (
            "version",
            "version_name",
            "display_name",
            "format",
            "sha256",
            "sha1",
            "schema_version",
            "description",
            "platform_types",
            "target_type",
            "cloud_providers",
            "requires",
            "author",
            "review_status",
        )
    ),
    documents.c.created_at,
)
_DEFAULT_VERSIONS = (
    select(*_COLUMNS, literal("").label("content"), null().label("timeline"))
    .join(
        versions,
        and_(
            *same_tenant(versions, documents),
            versions.c.name == documents.c.name,
            versions.c.version == documents.c.default_version,
        ),
    )
    .where(documents.c.region == bindparam("in_region"))
    .limit(bindparam("most"))
)


@ssm.operation("ListDocuments", reads=True)
def list_documents(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """All documents that the caller may read, or those that every filter lets through; by their default version."""
    operation, limit = "ListDocuments", request.get("MaxResults", PAGE)
    wanted = _wanted(request)
    after = _after(paging.decode(operation, request.get("NextToken")))
    found: list[tuple[int, ResolvedDocument]] = []
    for rank, source in enumerate(SOURCES):
        if rank < after[0] or len(found) > limit:
            continue
        start = after[1] if rank == after[0] else ("", "")
        found += [(rank, each) for each in source(call, wanted, start, limit + 1 - len(found))]
    listed, token = paging.page(operation, found, limit, lambda each: [each[0], each[1].owner, each[1].name])
    labels = tags.of(call, RESOURCE_TYPE, [each.name for _, each in listed if each.owner == call.account])
    return {"DocumentIdentifiers": [_identifier(call, each, labels) for _, each in listed], **token}


def _library(call: Call, wanted: Wanted, start: Place, most: int) -> list[ResolvedDocument]:
    if not wanted.owners & {AMAZON, ALL} or wanted.labels:
        return []
    return [
        document
        for document in owned_by_aws.LIBRARY.values()
        if document.name > start[1] and all(each.test(document, values) for each, values in wanted.others)
    ][:most]


def _own(call: Call, wanted: Wanted, start: Place, most: int) -> list[ResolvedDocument]:
    if not wanted.owners & {SELF, PRIVATE, PUBLIC, ALL}:
        return []
    statement = _DEFAULT_VERSIONS.where(
        documents.c.account_id == bindparam("account"),
        documents.c.name > bindparam("after_name"),
        *wanted.conditions(),
        *(documents.c.name.in_(tags.having(RESOURCE_TYPE, key, values)) for key, values in wanted.labels.items()),
    ).order_by(documents.c.name)
    if not wanted.owners & {SELF, PRIVATE, ALL}:
        statement = statement.where(_shared_with([EVERYBODY]))
    return _rows(call, statement, most, after_name=start[1])


def _shared(call: Call, wanted: Wanted, start: Place, most: int) -> list[ResolvedDocument]:
    recipients = [call.account] if wanted.owners & {PRIVATE, ALL} else []
    recipients += [EVERYBODY] if wanted.owners & {PUBLIC, ALL} else []
    if not recipients or wanted.labels:
        return []
    statement = _DEFAULT_VERSIONS.where(
        documents.c.account_id != bindparam("account"),
        or_(
            documents.c.account_id > bindparam("after_account"),
            (documents.c.account_id == bindparam("after_account")) & (documents.c.name > bindparam("after_name")),
        ),
        _shared_with(recipients),
        *wanted.conditions(),
    ).order_by(documents.c.account_id, documents.c.name)
    return _rows(call, statement, most, after_account=start[0], after_name=start[1])


SOURCES = (_library, _own, _shared)
"""What is listed, in order; a token names the source by its place here."""


def _shared_with(recipients: Sequence[str]) -> ColumnElement[bool]:
    listed = select(shares.c.name).where(
        *same_tenant(shares, documents),
        shares.c.name == documents.c.name,
        shares.c.with_account.in_(recipients),
    )
    return listed.exists()


def _rows(call: Call, statement: Select[Any], most: int, **after: str) -> list[ResolvedDocument]:
    rows = call.db.all(statement, **call.here, most=most, **after)
    return [store.resolved(call, row, row) for row in rows]


def _identifier(call: Call, document: ResolvedDocument, labels: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    own = document.owner == call.account
    return given(
        Name=document.shown_name,
        CreatedDate=document.created_at,
        DisplayName=document.display_name,
        Owner=document.owner,
        VersionName=document.version_name,
        PlatformTypes=list(document.platform_types),
        DocumentVersion=document.version,
        DocumentType=document.document_type,
        SchemaVersion=document.schema_version or None,
        DocumentFormat=document.format,
        TargetType=document.target_type,
        CloudProviders=document.cloud_providers,
        Tags=tags.shape(labels[document.name]) if own else [],
        Requires=document.requires,
        ReviewStatus=document.review_status,
        Author=document.author,
    )


def _wanted(request: Mapping[str, Any]) -> Wanted:
    """The request's filters of either kind; never both."""
    legacy, modern = request.get("DocumentFilterList"), request.get("Filters")
    if legacy and modern:
        raise ValidationException("Use either DocumentFilterList or Filters, not both.")
    pairs = [(each["key"], [each["value"]]) for each in legacy or ()]
    pairs += [(each.get("Key", ""), each.get("Values", [])) for each in modern or ()]
    owners, labels, others = frozenset({ALL}), {}, []
    for name, values in pairs:
        if not values or any("\0" in value for value in (name, *values)):
            raise ValidationException(f"The filter {name!r} needs at least one value, and no NUL character in it.")
        if name == "Owner":
            owners = _owners(values)
        elif name.startswith(TAG_PREFIX):
            labels[name.removeprefix(TAG_PREFIX)] = values
        elif name in FILTERS:
            others.append((FILTERS[name], values))
        else:
            allowed = ", ".join(sorted([*FILTERS, "Owner", f"{TAG_PREFIX}<key>"]))
            raise InvalidFilterKey(f"{name!r} is no key to filter documents by; allowed: {allowed}.")
    return Wanted(owners, labels, others)


def _owners(values: Sequence[str]) -> frozenset[str]:
    unknown = sorted(set(values) - set(OWNERS))
    if unknown:
        raise ValidationException(f"Owner cannot be {unknown[0]!r}; allowed: {', '.join(OWNERS)}.")
    return frozenset(values)


def _after(decoded: list[Any] | None) -> tuple[int, Place]:
    """The source and the place in it to go on after."""
    if decoded is None:
        return 0, ("", "")
    match decoded:
        case [int(rank), str(owner), str(name)] if 0 <= rank < len(SOURCES) and "\0" not in owner + name:
            return rank, (owner, name)
    raise paging.InvalidNextToken("The NextToken is not one that this operation handed out.")
