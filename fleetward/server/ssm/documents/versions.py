"""Versions: create, update and delete documents, move the default version, list versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row, bindparam, select

from fleetward.protocol import document as protocol
from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.effects import ComputeApart, Failed, Outside
from fleetward.server.errors import AwsError, ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam.context import Conditions
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import ssm, tags
from fleetward.server.ssm.documents import (
    access,
    calendars,
    cedar,
    content,
    describe,
    owned_by_aws,
    reviews,
    sharing,
    store,
)
from fleetward.server.ssm.documents.access import DEFAULT, LATEST, RESOURCE_TYPE, TYPE_KEY, given, resources
from fleetward.server.ssm.documents.store import key
from fleetward.server.ssm.errors import (
    DocumentAlreadyExists,
    DocumentLimitExceeded,
    DocumentVersionLimitExceeded,
    DuplicateDocumentContent,
    DuplicateDocumentVersionName,
    InvalidDocument,
    InvalidDocumentContent,
    InvalidDocumentOperation,
    InvalidDocumentVersion,
)

PAGE = 50
NEEDS_FORCE = "ApplicationConfigurationSchema"

_OF_DOCUMENT = (*in_tenant(store.versions), store.versions.c.name == bindparam("document"))
BEFORE = (
    select(store.versions)
    .where(*_OF_DOCUMENT, store.versions.c.version < bindparam("before"))
    .order_by(store.versions.c.version.desc())
    .limit(bindparam("most"))
)
_BEYOND_ALL = 10**9


def exists(call: Call, name: str) -> bool:
    """Whether the account owns a document of this name."""
    return call.db.first(store.FIND, **key(call, name)) is not None


tags.taggable(RESOURCE_TYPE, exists=exists, arn=lambda call, name: store.arn(call, name, call.account))


def _to_be_created(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return [Resource(store.arn(call, request["Name"], call.account))]


def _asked_for(call: Call, request: Mapping[str, Any]) -> Conditions:
    return {**keys_of.requested_tags(request.get("Tags", ())), TYPE_KEY: request.get("DocumentType", "Command")}


@ssm.operation("CreateDocument", resources=_to_be_created, conditions=_asked_for)
def create_document(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | Outside:
    """Store a document; its first version is the default, and active at once."""
    name, document_type = request["Name"], request.get("DocumentType", "Command")
    _refuse_reserved(name)
    _refuse_packages(request, document_type)
    labels = _labels(request)
    if call.db.value(store.COUNT, **call.here) >= store.DOCUMENT_LIMIT:
        raise DocumentLimitExceeded(f"An account can have {store.DOCUMENT_LIMIT} documents in a region; delete one.")
    source, read = content.check(request["Content"], document_type, request.get("DocumentFormat", "JSON"))
    _check_approval_policy(call, name, document_type, source)
    timeline = _timeline(call, source)
    if isinstance(timeline, Outside):
        return timeline
    head = {
        "name": name,
        "document_type": document_type,
        "default_version": 1,
        "latest_version": 1,
        "last_number": 1,
        "created_at": call.now,
    }
    if call.db.first(store.ADD, **call.tenant, **head) is None:
        raise DocumentAlreadyExists(f"There is a document {name} already; use UpdateDocument to add a version.")
    _add_version(
        call,
        name,
        1,
        source,
        read,
        version_name=request.get("VersionName"),
        display_name=request.get("DisplayName"),
        target_type=request.get("TargetType"),
        cloud_providers=request.get("CloudProviders"),
        requires=request.get("Requires"),
        review_status=reviews.at_first(document_type),
        timeline=timeline,
    )
    tags.put(call, RESOURCE_TYPE, name, labels)
    return {"DocumentDescription": describe.description(call, access.resolve(call, name, "1"))}


@ssm.operation("UpdateDocument", resources=resources)
def update_document(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | Outside:
    """Add a version after the latest one; the default version stays where it is."""
    name = request["Name"]
    _refuse_library(name)
    head = access.own(call, name, hold=True)
    _refuse_packages(request, head.document_type)
    if access.number_of(head, request.get("DocumentVersion", LATEST)) != head.latest_version:
        raise InvalidDocumentVersion(
            f"Only the latest version, {head.latest_version}, can be updated; leave out DocumentVersion or say {LATEST}"
        )
    source, read = content.check(request["Content"], head.document_type, request.get("DocumentFormat", "JSON"))
    _check_cedar(name, head.document_type, source)
    latest = _version(call, head, str(head.latest_version))
    if (latest.sha256, latest.format) == (source.sha256, source.format):
        raise DuplicateDocumentContent(f"The content is that of version {latest.version}, which is the latest.")
    _check_version_name(call, name, request.get("VersionName"))
    if call.db.value(store.COUNT_VERSIONS, **key(call, name)) >= store.VERSION_LIMIT:
        raise DocumentVersionLimitExceeded(f"A document can have {store.VERSION_LIMIT} versions; delete one first.")
    timeline = _timeline(call, source)
    if isinstance(timeline, Outside):
        return timeline
    number = head.last_number + 1
    _add_version(
        call,
        name,
        number,
        source,
        read,
        version_name=request.get("VersionName"),
        display_name=request.get("DisplayName", latest.display_name),
        target_type=request.get("TargetType", latest.target_type),
        cloud_providers=request.get("CloudProviders", latest.cloud_providers),
        requires=latest.requires,
        review_status=reviews.at_first(head.document_type),
        timeline=timeline,
    )
    _change(call, name, default=head.default_version, latest=number, last=number)
    return {"DocumentDescription": describe.description(call, access.resolve(call, name, str(number)))}


@ssm.operation("UpdateDocumentDefaultVersion", resources=resources)
def update_document_default_version(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the version that is used where none is named."""
    name = request["Name"]
    head = access.own(call, name, hold=True)
    version = _version(call, head, request["DocumentVersion"])
    _change(call, name, default=version.version, latest=head.latest_version, last=head.last_number)
    return {
        "Description": given(Name=name, DefaultVersion=str(version.version), DefaultVersionName=version.version_name)
    }


@ssm.operation("DeleteDocument", resources=resources)
def delete_document(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a document with all its versions, or one version that is not the default."""
    name = request["Name"]
    _refuse_library(name)
    head = access.own(call, name, hold=True)
    if head.document_type == NEEDS_FORCE and not request.get("Force"):
        raise InvalidDocumentOperation(f"Deleting a document of type {NEEDS_FORCE} needs Force.")
    if sharing.is_shared(call, name):
        raise InvalidDocumentOperation(f"The document {name} is shared; stop sharing it before you delete it.")
    version, version_name = request.get("DocumentVersion"), request.get("VersionName")
    if version is None and version_name is None:
        _delete(call, name)
    else:
        _delete_version(call, head, version, version_name)
    return {}


@ssm.operation("ListDocumentVersions", resources=resources, reads=True)
def list_document_versions(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A document's versions, newest first; of a shared one those that are shared."""
    operation, limit = "ListDocumentVersions", request.get("MaxResults", PAGE)
    before = access.continue_after(operation, request.get("NextToken"), _BEYOND_ALL)
    reference = access.refer(call, request["Name"])
    if reference.account == "":
        return {"DocumentVersions": [_version_of_library(access.resolve(call, request["Name"]))]}
    if reference.account == call.account:
        rows = call.db.all(BEFORE, **key(call, reference.name), before=before, most=limit + 1)
        head = access.own(call, reference.name)
    else:
        head, rows = _shared_rows(call, request["Name"], reference)
        rows = [row for row in rows if row.version < before]
    listed, token = paging.page(operation, rows, limit, lambda row: [row.version])
    return {"DocumentVersions": [_version_shape(head, row) for row in listed], **token}


def _shared_rows(call: Call, name: str, reference: access.Reference) -> tuple[Row[Any], list[Row[Any]]]:
    """Another account's document and its shared versions, newest first; at most VERSION_LIMIT of them."""
    access.resolve(call, name)
    scope = key(call, reference.name, reference.account)
    head = call.db.first(store.FIND, **scope)
    assert head is not None
    shared = access.shared_versions(call, reference)
    rows = call.db.all(BEFORE, **scope, before=_BEYOND_ALL, most=store.VERSION_LIMIT)
    return head, [row for row in rows if access.is_shared(head, row.version, shared)]


def _version_shape(head: Row[Any], row: Row[Any]) -> dict[str, Any]:
    return given(
        Name=head.name,
        DisplayName=row.display_name,
        DocumentVersion=str(row.version),
        VersionName=row.version_name,
        CreatedDate=row.created_at,
        IsDefaultVersion=row.version == head.default_version,
        DocumentFormat=row.format,
        Status="Active",
        CloudProviders=row.cloud_providers,
        ReviewStatus=row.review_status,
    )


def _version_of_library(document: store.ResolvedDocument) -> dict[str, Any]:
    return {
        "Name": document.name,
        "DocumentVersion": document.version,
        "CreatedDate": document.created_at,
        "IsDefaultVersion": True,
        "DocumentFormat": document.format,
        "Status": document.status,
    }


def _refuse_reserved(name: str) -> None:
    for prefix in store.RESERVED_PREFIXES:
        if name.lower().startswith(prefix):
            raise ValidationException(f"Document names beginning with {prefix!r} are reserved; choose another name.")


def _refuse_library(name: str) -> None:
    if name in owned_by_aws.LIBRARY:
        raise InvalidDocumentOperation(f"The document {name} is owned by {owned_by_aws.OWNER} and cannot be changed.")


def _refuse_packages(request: Mapping[str, Any], document_type: str) -> None:
    if request.get("Attachments"):
        raise ValidationException("Attachments are not offered yet: they come with packages (Distributor).")
    if document_type == "Package":
        raise ValidationException("Documents of type Package are not offered yet: they come with Distributor.")


def _check_approval_policy(call: Call, name: str, document_type: str, source: content.Source) -> None:
    """The rules of new documents that say who gets into nodes: their names, how many, and Cedar's."""
    if document_type == content.CEDAR and name not in cedar.NAMES:
        raise ValidationException(f"A document of type {document_type} is named {' or '.join(cedar.NAMES)}.")
    if document_type != content.CEDAR and name in cedar.NAMES:
        raise ValidationException(f"A document named {name} is of type {content.CEDAR}.")
    if document_type == store.MANUAL_APPROVAL and _too_many(call):
        raise DocumentLimitExceeded(
            f"An account can have {store.APPROVAL_POLICY_LIMIT} manual approval policies in a region; delete one."
        )
    _check_cedar(name, document_type, source)


def _timeline(call: Call, source: content.Source) -> list[Any] | Outside | None:
    """The states of a ChangeCalendar, or what has to be done outside to know them; None for other types."""
    if source.document_type != content.CALENDAR:
        return None
    if not call.context.outcomes:
        arguments = (source.text, call.now.timestamp())
        return Outside((ComputeApart(calendars.timeline, arguments, calendars.SECONDS),))
    (found,) = call.context.outcomes
    if isinstance(found, AwsError):
        raise found
    if isinstance(found, Failed):
        raise InvalidDocumentContent(f"The calendar cannot be used: {found.reason}; say it by fewer or simpler events.")
    times: list[Any] = found
    return times


def _too_many(call: Call) -> bool:
    found: int = call.db.value(store.COUNT_OF_TYPE, **call.here, of_type=store.MANUAL_APPROVAL)
    return found >= store.APPROVAL_POLICY_LIMIT


def _check_cedar(name: str, document_type: str, source: content.Source) -> None:
    if document_type != content.CEDAR:
        return
    try:
        cedar.check(source.text, name)
    except protocol.DocumentFault as fault:
        raise InvalidDocumentContent(f"The document cannot be used: {fault.reason}.") from None


def _labels(request: Mapping[str, Any]) -> dict[str, str]:
    """The request's tags, checked; CreateDocument has no TooManyTagsError in the model."""
    listed = request.get("Tags", ())
    if len({tag["Key"] for tag in listed}) > tags.MOST_TAGS:
        raise ValidationException(f"A document can have {tags.MOST_TAGS} tags at most.")
    return tags.mapping(listed)


def _check_version_name(call: Call, name: str, version_name: str | None) -> None:
    if version_name is None:
        return
    if call.db.first(store.FIND_VERSION_NAME, **key(call, name), named=version_name) is not None:
        raise DuplicateDocumentVersionName(f"A version of {name} is named {version_name!r} already.")


def _version(call: Call, head: Row[Any], version: str) -> Row[Any]:
    row = access.find_version(call, head, version, None)
    if row is None:
        raise access.no_version(head.name, version, None)
    return row


def _add_version(
    call: Call, name: str, number: int, source: content.Source, read: content.Content, **chosen: Any
) -> None:
    """Store a version; `chosen` are the columns that neither text nor call determine."""
    columns = {
        "name": name,
        "version": number,
        "format": source.format,
        "content": source.text,
        "sha256": source.sha256,
        "sha1": protocol.sha1_hash(source.text),
        "schema_version": read.schema_version,
        "description": read.description,
        "platform_types": list(read.platform_types),
        "author": call.caller.arn,
        "created_at": call.now,
    }
    call.db.run(store.ADD_VERSION, {**call.tenant, **columns, **chosen})


def _change(call: Call, name: str, *, default: int, latest: int, last: int) -> None:
    call.db.run(store.CHANGE, {**key(call, name), "to_default": default, "to_latest": latest, "to_last": last})


def _delete(call: Call, name: str) -> None:
    scope = key(call, name)
    reviews.forget(call, name)
    call.db.run(store.REMOVE_VERSIONS, scope)
    call.db.run(store.REMOVE, scope)
    tags.drop(call, RESOURCE_TYPE, name)


def _delete_version(call: Call, head: Row[Any], version: str | None, version_name: str | None) -> None:
    row = access.find_version(call, head, version, version_name)
    if row is None:  # the model has no InvalidDocumentVersion here
        raise InvalidDocument(access.no_version(head.name, version, version_name).message)
    if row.version == head.default_version:
        raise InvalidDocumentOperation(
            f"Version {row.version} of {head.name} is the default ({DEFAULT}); choose another default before you "
            "delete it, or delete the whole document."
        )
    scope = key(call, head.name)
    reviews.forget(call, head.name, row.version)
    call.db.run(store.REMOVE_VERSION, {**scope, "number": row.version})
    latest = call.db.value(store.NEWEST_VERSION, **scope)
    _change(call, head.name, default=head.default_version, latest=latest, last=head.last_number)
