"""Login profiles: passwords of users for the console; the account's policy says how good they must be and how old.

Hashes are made outside of entries; here they are only kept and compared (DESIGN 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.effects import HashPassword, Outside, VerifyPassword
from fleetward.server.errors import AccessDeniedException
from fleetward.server.iam import account, passwords, users
from fleetward.server.iam.errors import (
    EntityAlreadyExistsException,
    EntityTemporarilyUnmodifiableException,
    InvalidUserTypeException,
    NoSuchEntityException,
    PasswordPolicyViolationException,
)
from fleetward.server.iam.service import iam
from fleetward.server.iam.tables import login_profiles
from fleetward.server.schema import Json
from fleetward.server.service import nobody_is_denied

MOST_FORMER = 24

_THIS = login_profiles.c.user_id == bindparam("of_user")
ADD = insert(login_profiles)
PROFILE = select(login_profiles).where(_THIS)
CHANGE = (
    update(login_profiles)
    .where(_THIS)
    .values(
        hash=bindparam("to_hash"),
        former=bindparam("to_former", type_=Json),
        reset_required=bindparam("to_reset"),
        changed_at=bindparam("now"),
    )
)
REMOVE = delete(login_profiles).where(_THIS)


def find(call: Call, owner: users.Owner) -> Row[Any]:
    """A user's profile; NoSuchEntity."""
    row = call.db.first(PROFILE, of_user=owner.user_id)
    if row is None:
        raise NoSuchEntityException(f"Login Profile for User {owner.name} cannot be found.")
    return row


def check_strength(call: Call, owner: users.Owner, password: str) -> None:
    """PasswordPolicyViolation when a password is weaker than the account's policy asks for; it is not named."""
    missing = passwords.faults(account.password_policy(call), password, owner.name)
    if missing:
        raise PasswordPolicyViolationException(f"The password needs {', '.join(missing)}.")


def shape(owner: users.Owner, row: Row[Any]) -> dict[str, Any]:
    """A profile as answers show it."""
    return {
        "UserName": owner.name,
        "CreateDate": row.created_at.replace(microsecond=0),
        "PasswordResetRequired": bool(row.reset_required),
    }


@iam.operation("CreateLoginProfile", resources=users.resource)
def create_login_profile(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | Outside:
    """Give a user a password."""
    owner, password = users.owner(call, request), request.get("Password", "")
    if call.db.first(PROFILE, of_user=owner.user_id) is not None:
        raise EntityAlreadyExistsException(f"Login Profile for user {owner.name} already exists.")
    check_strength(call, owner, password)
    if not call.context.outcomes:
        return Outside((HashPassword(password),))
    row = {
        "user_id": owner.user_id,
        "account_id": call.account,
        "hash": call.context.outcomes[0],
        "former": [],
        "reset_required": request.get("PasswordResetRequired", False),
        "created_at": call.now,
        "changed_at": call.now,
    }
    call.db.run(ADD, row)
    return {"LoginProfile": shape(owner, find(call, owner))}


@iam.operation("GetLoginProfile", resources=users.resource, reads=True)
def get_login_profile(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a user has a password, and since when."""
    owner = users.owner(call, request)
    return {"LoginProfile": shape(owner, find(call, owner))}


@iam.operation("UpdateLoginProfile", resources=users.resource)
def update_login_profile(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | Outside:
    """Another password, or the duty to choose one at the next sign-in."""
    owner = users.owner(call, request)
    row, password = find(call, owner), request.get("Password")
    reset = request.get("PasswordResetRequired", bool(row.reset_required))
    if password is None:
        _store(call, row, row.hash, row.former, reset)
        return {}
    check_strength(call, owner, password)
    if not call.context.outcomes:
        return Outside((HashPassword(password),))
    _store(call, row, call.context.outcomes[0], _former(row), reset)
    return {}


@iam.operation("DeleteLoginProfile", resources=users.resource)
def delete_login_profile(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take a user's password away; its keys stay good."""
    owner = users.owner(call, request)
    find(call, owner)
    call.db.run(REMOVE, {"of_user": owner.user_id})
    return {}


@iam.operation("ChangePassword", resources=nobody_is_denied)
def change_password(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | Outside:
    """A user exchanges its own password; the account's policy may let every user do so without a policy of its own."""
    if call.caller.kind != "user":
        raise InvalidUserTypeException("Only users change their passwords with this operation.")
    owner, policy = users.owner(call, {}), account.password_policy(call)
    if not (policy or {}).get("AllowUsersToChangePassword"):
        call.authorize("iam:ChangePassword", Resource(owner.arn, owner.tags))
    row, password = find(call, owner), request["NewPassword"]
    check_strength(call, owner, password)
    taken = tuple([row.hash, *row.former][: passwords.remembered(policy)])
    if not call.context.outcomes:
        old = VerifyPassword(request["OldPassword"], (row.hash,))
        return Outside((old, VerifyPassword(password, taken), HashPassword(password)))
    old_hash, used_before, new_hash = call.context.outcomes
    if not old_hash:
        raise AccessDeniedException("The old password was incorrect.")
    if used_before:
        raise PasswordPolicyViolationException("Password has been used before; the account's policy remembers it.")
    if old_hash != row.hash:
        raise EntityTemporarilyUnmodifiableException("The password was just changed by somebody else.")
    _store(call, row, new_hash, _former(row), False)
    return {}


def _former(row: Row[Any]) -> list[str]:
    return [row.hash, *row.former][:MOST_FORMER]


def _store(call: Call, row: Row[Any], to_hash: str, former: list[str], reset: bool) -> None:
    values = {"to_hash": to_hash, "to_former": former, "to_reset": reset, "now": call.now}
    call.db.run(CHANGE, {"of_user": row.user_id, **values})
