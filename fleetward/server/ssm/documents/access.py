"""Access: from a name or ARN and a version to one document that the caller may read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Row

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.ssm import tags
from fleetward.server.ssm.documents import owned_by_aws, store
from fleetward.server.ssm.documents.store import ResolvedDocument, key
from fleetward.server.ssm.errors import InvalidDocument, InvalidDocumentVersion

DEFAULT = "$DEFAULT"
LATEST = "$LATEST"
EVERY_VERSION = "$ALL"
RESOURCE_TYPE = "Document"
TYPE_KEY = "ssm:DocumentType"

_ARN = re.compile(r"arn:aws[a-z-]*:ssm:([a-z0-9-]*):([0-9]{12})?:document/([a-zA-Z0-9_\-.]{3,128})")
_NAME = re.compile(r"[a-zA-Z0-9_\-.]{3,128}")
_MOST_DIGITS = 9

T = TypeVar("T", int, str)


class Reference(NamedTuple):
    """What a name or ARN refers to. Account "" is AWS."""

    account: str
    name: str


def resolve(
    call: Call, name_or_arn: str, version: str | None = None, version_name: str | None = None
) -> ResolvedDocument:
    """The version `"3"`, `$DEFAULT` (also None) or `$LATEST`, or the one called `version_name`, of a document.

    Own and AWS-owned documents go by name or ARN, those shared by other accounts by ARN. Raises InvalidDocument for
    what does not exist or is not shared with the caller's account, InvalidDocumentVersion for its versions.
    """
    reference = refer(call, name_or_arn)
    if reference.account == "":
        return _from_library(call, reference.name, version, version_name)
    head = call.db.first(store.FIND, **key(call, reference.name, reference.account))
    if head is None:
        raise _unknown(name_or_arn)
    shared = None if reference.account == call.account else _shared_versions(call, name_or_arn, reference)
    if shared is not None and version is None and version_name is None:
        version = LATEST if shared == {LATEST} else DEFAULT
    row = find_version(call, head, version, version_name)
    if row is None or (shared is not None and not is_shared(head, row.version, shared)):
        raise no_version(name_or_arn, version, version_name)
    return store.resolved(call, head, row)


def of_type(call: Call, document_type: str) -> list[ResolvedDocument]:
    """The account's own documents of one type, in their default versions and in order of name."""
    return [resolve(call, name) for name in call.db.values(store.NAMES_OF_TYPE, **call.here, of_type=document_type)]


def refer(call: Call, name_or_arn: str) -> Reference:
    """Whose document a name or ARN means; raises InvalidDocument for anything else, or another region's."""
    if _NAME.fullmatch(name_or_arn):
        owned = name_or_arn in owned_by_aws.LIBRARY
        return Reference("" if owned else call.account, name_or_arn)
    match = _ARN.fullmatch(name_or_arn)
    if match is None or match[1] != call.region:
        raise _unknown(name_or_arn)
    return Reference(match[2] or "", match[3])


def resources(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the ARN of the document that `Name` means."""
    return [resource(call, request["Name"])]


def resource(call: Call, name_or_arn: str) -> Resource:
    """The document as a resource of IAM; tags count for one's own documents."""
    try:
        account, name = refer(call, name_or_arn)
    except InvalidDocument:
        return Resource(name_or_arn)
    if account == "":
        return Resource(owned_by_aws.arn(call, name), conditions=_type(owned_by_aws.LIBRARY.get(name)))
    own = tags.of(call, RESOURCE_TYPE, [name])[name] if account == call.account else None
    head = call.db.first(store.FIND, **key(call, name, account))
    return Resource(store.arn(call, name, account), own, conditions=_type(head))


def _type(document: Any) -> dict[str, str] | None:
    """The condition key of a document's type; None where there is no document."""
    return None if document is None else {TYPE_KEY: document.document_type}


def own(call: Call, name: str, *, hold: bool = False) -> Row[Any]:
    """The row of one of the account's own documents, locked with `hold`; raises InvalidDocument."""
    if name in owned_by_aws.LIBRARY:
        raise InvalidDocument(f"The document {name} is owned by {owned_by_aws.OWNER} and cannot be changed.")
    head = call.db.first(store.HOLD if hold else store.FIND, **key(call, name))
    if head is None:
        raise _unknown(name)
    return head


def find_version(call: Call, head: Row[Any], version: str | None, version_name: str | None) -> Row[Any] | None:
    """The row of one version; None when there is none, or number and name mean different ones."""
    scope = key(call, head.name, head.account_id)
    if version_name is None:
        number = number_of(head, version or DEFAULT)
        return None if number is None else call.db.first(store.FIND_VERSION, **scope, number=number)
    row = call.db.first(store.FIND_VERSION_NAME, **scope, named=version_name)
    if row is not None and version is not None and number_of(head, version) != row.version:
        return None
    return row


def number_of(head: Row[Any], version: str) -> int | None:
    """The number that `$DEFAULT`, `$LATEST` or digits stand for; None for numbers no document reaches."""
    if version == DEFAULT:
        return int(head.default_version)
    if version == LATEST:
        return int(head.latest_version)
    return int(version) if version.isascii() and version.isdigit() and len(version) <= _MOST_DIGITS else None


def is_shared(head: Row[Any], version: int, shared: frozenset[str]) -> bool:
    """Whether a version is among what an owner shares."""
    return (
        EVERY_VERSION in shared
        or (DEFAULT in shared and version == head.default_version)
        or (LATEST in shared and version == head.latest_version)
    )


def shared_versions(call: Call, reference: Reference) -> frozenset[str]:
    """Which versions (`$DEFAULT`, `$LATEST`, `$ALL`) another account's document shows to the caller's; maybe none."""
    everybody = {"recipient": call.account, "everybody": store.EVERYBODY}
    return frozenset(call.db.values(store.SHARED_WITH, **key(call, reference.name, reference.account), **everybody))


def no_version(name: str, version: str | None, version_name: str | None) -> InvalidDocumentVersion:
    """The refusal of a version that is not there."""
    wanted = " ".join(each for each in (version, version_name and f"named {version_name!r}") if each)
    return InvalidDocumentVersion(f"The document {name} has no version {wanted or DEFAULT}.")


def given(**members: Any) -> dict[str, Any]:
    """A result without the members that are unset."""
    return {name: value for name, value in members.items() if value is not None}


def continue_after(operation: str, token: str | None, first: T) -> T:
    """The one value that a token holds, an int below `first` or a text; `first` itself without a token."""
    decoded = paging.decode(operation, token)
    if decoded is None:
        return first
    if len(decoded) == 1 and type(decoded[0]) is type(first):
        (value,) = decoded
        if "\0" not in value if isinstance(value, str) else 0 <= value <= first:
            return value  # type: ignore[no-any-return]  # its type is that of `first`
    raise paging.InvalidNextToken("The NextToken is not one that this operation handed out.")


def _shared_versions(call: Call, name: str, reference: Reference) -> frozenset[str]:
    shared = shared_versions(call, reference)
    if not shared:
        raise _unknown(name)
    return shared


def _unknown(name: str) -> InvalidDocument:
    return InvalidDocument(
        f"There is no document {name} that this account may read here. "
        "Documents shared by other accounts are named by their ARN."
    )


def _from_library(call: Call, name: str, version: str | None, version_name: str | None) -> ResolvedDocument:
    document = owned_by_aws.LIBRARY.get(name)
    if document is None:
        raise _unknown(name)
    if version not in (None, DEFAULT, LATEST, owned_by_aws.VERSION) or version_name is not None:
        raise no_version(name, version, version_name)
    return replace(document, arn=owned_by_aws.arn(call, name))
