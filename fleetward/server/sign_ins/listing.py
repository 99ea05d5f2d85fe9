"""What operators see of sign-ins, and end: the operations of Fleetward's own API are made of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row, bindparam, select

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.iam import names
from fleetward.server.iam import users as iam_users
from fleetward.server.sign_ins import sessions
from fleetward.server.sign_ins.errors import SignInDoesNotExist
from fleetward.server.sign_ins.tables import sign_ins

PAGE = 50
LIST = (
    select(sign_ins)
    .where(sign_ins.c.account_id == bindparam("account"), sign_ins.c.sign_in_id > bindparam("after"))
    .order_by(sign_ins.c.sign_in_id)
    .limit(bindparam("most"))
)
LIST_OF_NAME = LIST.where(sign_ins.c.name == bindparam("of_name"), sign_ins.c.kind == "user")


def listed(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """One page of the account's sign-ins, or of one user's."""
    key = paging.decode("ListSignIns", request.get("NextToken"))
    size = request.get("MaxResults", PAGE)
    asked = {"account": call.account, "after": str(key[0]) if key else "", "most": size + 1}
    if "UserName" in request:
        rows = call.db.all(LIST_OF_NAME, **asked, of_name=request["UserName"])
    else:
        rows = call.db.all(LIST, **asked)
    shown, more = paging.page("ListSignIns", rows, size, lambda row: [row.sign_in_id])
    return {"SignIns": [_shape(row) for row in shown if sessions.is_current(call, row)], **more}


def users(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the user named, else all of them."""
    if "UserName" in request:
        return iam_users.resource(call, request)
    return (Resource(names.entity_arn(call.account, "user", "/", "*")),)


def owner(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the user or role that a sign-in is of."""
    row = call.db.first(sessions.FIND, account=call.account, of_sign_in=request["SignInId"])
    return (Resource(names.entity_arn(call.account, "user", "/", "*") if row is None else row.arn),)


def revoke(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """End one sign-in."""
    if not sessions.end(call, request["SignInId"]):
        raise SignInDoesNotExist(f"There is no sign-in {request['SignInId']} (any more).")
    return {}


def _shape(row: Row[Any]) -> dict[str, Any]:
    return {
        "SignInId": row.sign_in_id,
        "UserName": row.name,
        "Arn": row.arn,
        "CreatedAt": row.created_at,
        "LastUsedAt": row.used_at,
        "ExpiresAt": row.expires_at,
        "SourceIp": row.address,
        "UserAgent": row.agent,
        "MfaUsed": row.second_factor_at is not None,
        **({"Provider": row.provider} if row.provider else {}),
    }
