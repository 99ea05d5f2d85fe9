"""Access keys: two for each user, with which it signs; when they were last used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.iam import limits, names, principals, users
from fleetward.server.iam.errors import InvalidInputException, NoSuchEntityException
from fleetward.server.iam.service import iam
from fleetward.server.iam.tables import access_keys
from fleetward.server.keys import new_access_key_id, new_secret_access_key

_OF = access_keys.c.user_id == bindparam("of_user")
_ONE = (_OF, access_keys.c.access_key_id == bindparam("key_id"))
ALL = (
    select(access_keys.c.access_key_id, access_keys.c.status, access_keys.c.created_at)
    .where(_OF)
    .order_by(access_keys.c.access_key_id)
)
SET_STATUS = update(access_keys).where(*_ONE).values(status=bindparam("to_status"))
REMOVE = delete(access_keys).where(*_ONE)


@iam.operation("CreateAccessKey", resources=users.resource)
def create_access_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A new key; this answer alone shows its secret."""
    owner = users.owner(call, request)
    limits.exceeded("AccessKeysPerUser", len(call.db.all(ALL, of_user=owner.user_id)))
    key_id, secret = new_access_key_id("AKIA"), new_secret_access_key()
    principals.add_access_key(call, key_id, secret, owner.arn, owner.user_id)
    made = {"UserName": owner.name, "AccessKeyId": key_id, "Status": "Active", "SecretAccessKey": secret}
    return {"AccessKey": {**made, "CreateDate": names.now(call)}}


@iam.operation("ListAccessKeys", resources=users.resource, reads=True)
def list_access_keys(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a user, without secrets."""
    owner = users.owner(call, request)
    rows = call.db.all(ALL, of_user=owner.user_id)
    shown, more = names.paged("ListAccessKeys", rows, request, lambda row: str(row.access_key_id))
    listed = [
        {
            "UserName": owner.name,
            "AccessKeyId": row.access_key_id,
            "Status": row.status,
            "CreateDate": row.created_at,
        }
        for row in shown
    ]
    return {"AccessKeyMetadata": listed, **more}


@iam.operation("UpdateAccessKey", resources=users.resource)
def update_access_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Switch a key off, or on again; within a second no server takes one that is off."""
    status = request["Status"]
    if status not in ("Active", "Inactive"):
        raise InvalidInputException(f"A key is Active or Inactive; {status} happens to it by itself.")
    owner, key_id = users.owner(call, request), request["AccessKeyId"]
    if not call.db.run(SET_STATUS, {"of_user": owner.user_id, "key_id": key_id, "to_status": status}):
        raise _missing(key_id)
    principals.changed(call)
    return {}


@iam.operation("DeleteAccessKey", resources=users.resource)
def delete_access_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a key; within a second no server takes it."""
    owner, key_id = users.owner(call, request), request["AccessKeyId"]
    if not call.db.run(REMOVE, {"of_user": owner.user_id, "key_id": key_id}):
        raise _missing(key_id)
    principals.changed(call)
    return {}


def _missing(key_id: str) -> NoSuchEntityException:
    return NoSuchEntityException(f"The Access Key with id {key_id} cannot be found.")


def _owner_of_key(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    row = call.db.first(principals.KEY, key_id=request["AccessKeyId"])
    if row is None or row.account_id != call.account:
        return (Resource(names.entity_arn(call.account, "user", "/", "*")),)
    return (Resource(row.principal),)


@iam.operation("GetAccessKeyLastUsed", resources=_owner_of_key, reads=True)
def get_access_key_last_used(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """When, where and for which service a key last signed; to the minute (Ours)."""
    row = call.db.first(principals.KEY, key_id=request["AccessKeyId"])
    if row is None or row.account_id != call.account:
        raise _missing(request["AccessKeyId"])
    user = principals.user_by_id(call, row.user_id)
    used = {"ServiceName": "N/A", "Region": "N/A"}
    if row.used_at is not None:
        moment = row.used_at.replace(microsecond=0)
        used = {"LastUsedDate": moment, "ServiceName": row.used_service, "Region": row.used_region}
    return {"UserName": users.ROOT if user is None else user.name, "AccessKeyLastUsed": used}
