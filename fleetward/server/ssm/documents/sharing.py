"""Sharing: which accounts may read a document, and which of its versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert as insert_or_change

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import service_settings, ssm
from fleetward.server.ssm.documents import access, owned_by_aws
from fleetward.server.ssm.documents.access import DEFAULT, resources
from fleetward.server.ssm.documents.store import EVERYBODY, key, shares
from fleetward.server.ssm.errors import DocumentLimitExceeded, DocumentPermissionLimit, InvalidDocumentOperation

RECIPIENT_LIMIT = 1000
PUBLIC_LIMIT = 5
PAGE = 20
PUBLIC_SHARING = "/ssm/documents/console/public-sharing-permission"

_TENANT = in_tenant(shares)
_THIS = (*_TENANT, shares.c.name == bindparam("document"))
_ADDED = insert_or_change(shares)
SHARE = _ADDED.on_conflict_do_update(
    index_elements=["account_id", "region", "name", "with_account"],
    set_={"shared_version": _ADDED.excluded.shared_version},
)
UNSHARE = delete(shares).where(*_THIS, shares.c.with_account == bindparam("recipient"))
COUNT_RECIPIENTS = select(func.count()).select_from(shares).where(*_THIS, shares.c.with_account != EVERYBODY)
COUNT_PUBLIC = select(func.count()).select_from(shares).where(*_TENANT, shares.c.with_account == EVERYBODY)
ANY_SHARE = select(shares.c.with_account).where(*_THIS).limit(1)
AFTER = (
    select(shares.c.with_account, shares.c.shared_version)
    .where(*_THIS, shares.c.with_account > bindparam("after"))
    .order_by(shares.c.with_account)
    .limit(bindparam("most"))
)


def is_shared(call: Call, name: str) -> bool:
    """Whether any other account may read the document."""
    return call.db.first(ANY_SHARE, **key(call, name)) is not None


@ssm.operation("ModifyDocumentPermission", resources=resources)
def modify_document_permission(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Share with accounts, or with all, and stop sharing. Who has it already gets the version now chosen."""
    name = request["Name"]
    added = {_recipient(each) for each in request.get("AccountIdsToAdd", ())}
    removed = {_recipient(each) for each in request.get("AccountIdsToRemove", ())}
    if not added and not removed:
        raise ValidationException("Name at least one account in AccountIdsToAdd or AccountIdsToRemove.")
    if added & removed:
        raise ValidationException(f"{min(added & removed)} is both in AccountIdsToAdd and in AccountIdsToRemove.")
    for changed in (added, removed):
        if EVERYBODY in changed and len(changed) > 1:
            raise DocumentPermissionLimit(f"Name either {EVERYBODY!r} or accounts, not both in one list.")
    if call.account in added:
        raise ValidationException(f"The document belongs to {call.account}: it need not be shared with it.")
    access.own(call, name, hold=True)
    if EVERYBODY in added and service_settings.value(call, PUBLIC_SHARING) == "Disable":
        raise ValidationException(f"The service setting {PUBLIC_SHARING} forbids sharing documents with everybody.")
    scope, version = key(call, name), request.get("SharedDocumentVersion", DEFAULT)
    call.db.run(UNSHARE, [{**scope, "recipient": each} for each in sorted(removed)])
    share = {**call.tenant, "name": name, "shared_version": version, "created_at": call.now}
    call.db.run(SHARE, [{**share, "with_account": each} for each in sorted(added)])
    _check_limits(call, name, added)
    return {}


@ssm.operation("DescribeDocumentPermission", resources=resources, reads=True)
def describe_document_permission(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The accounts that a document is shared with, in order."""
    operation, name, limit = "DescribeDocumentPermission", request["Name"], request.get("MaxResults", PAGE)
    if name in owned_by_aws.LIBRARY:
        raise InvalidDocumentOperation(f"The document {name} is owned by {owned_by_aws.OWNER}; everybody may read it.")
    after = access.continue_after(operation, request.get("NextToken"), "")
    access.own(call, name)
    rows = call.db.all(AFTER, **key(call, name), after=after, most=limit + 1)
    listed, token = paging.page(operation, rows, limit, lambda row: [row.with_account])
    return {
        "AccountIds": [row.with_account for row in listed],
        "AccountSharingInfoList": [
            {"AccountId": row.with_account, "SharedDocumentVersion": row.shared_version} for row in listed
        ],
        **token,
    }


def _recipient(account_id: str) -> str:
    return account_id.lower()  # "All" and "all" are one


def _check_limits(call: Call, name: str, added: set[str]) -> None:
    """After the change, which an error takes back."""
    if call.db.value(COUNT_RECIPIENTS, **key(call, name)) > RECIPIENT_LIMIT:
        raise DocumentPermissionLimit(f"A document can be shared with {RECIPIENT_LIMIT} accounts at most.")
    if EVERYBODY not in added:
        return
    if call.db.value(COUNT_PUBLIC, **call.here) > PUBLIC_LIMIT:
        raise DocumentLimitExceeded(f"An account can share {PUBLIC_LIMIT} documents with everybody at most.")
