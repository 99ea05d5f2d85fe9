"""Signing in: what the door needs to know of a user: the password's hash, the account's policy, the devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from fleetward.server.call import Call
from fleetward.server.iam import mfa, names, principals, users
from fleetward.server.iam.tables import accounts, login_profiles
from fleetward.server.iam.tables import users as users_table

PROFILE = select(login_profiles).where(login_profiles.c.user_id == bindparam("of_user"))
POLICY = select(accounts.c.password_policy).where(accounts.c.account_id == bindparam("account"))
SET_PASSWORD = (
    update(login_profiles)
    .where(login_profiles.c.user_id == bindparam("of_user"))
    .values(hash=bindparam("to_hash"), former=bindparam("before"), reset_required=False, changed_at=bindparam("moment"))
)
SIGNED_IN = (
    update(users_table).where(users_table.c.user_id == bindparam("of_user")).values(signed_in_at=bindparam("moment"))
)
MOST_FORMER = 24
"""The most that a policy's PasswordReusePrevention asks to remember."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user who has a password. `former`: hashes of earlier ones, newest first; `devices`: serial numbers."""

    user_id: str
    name: str
    arn: str
    hash: str = field(repr=False)
    former: tuple[str, ...] = field(repr=False)
    reset_required: bool
    changed_at: datetime
    policy: Mapping[str, Any] | None
    devices: tuple[str, ...]


def find(call: Call, user_name: str) -> Login | None:
    """The user of this name; None when there is none or he has no password."""
    user = call.db.first(principals.USER, account=call.account, user_name=user_name)
    profile = None if user is None else profile_of(call, user.user_id)
    if user is None or profile is None:
        return None
    return Login(
        user_id=user.user_id,
        name=user.name,
        arn=users.arn_of(user),
        hash=profile.hash,
        former=tuple(profile.former),
        reset_required=profile.reset_required,
        changed_at=profile.changed_at,
        policy=call.db.value(POLICY, account=call.account),
        devices=tuple(mfa.serial_of(row) for row in mfa.of_user(call, user.user_id)),
    )


def profile_of(call: Call, user_id: str) -> Row[Any] | None:
    """A user's login profile, by his unique id."""
    return call.db.first(PROFILE, of_user=user_id)


def set_password(call: Call, login: Login, password_hash: str) -> None:
    """Give the user the password of that hash; one that had to be changed has been."""
    before = [login.hash, *login.former][:MOST_FORMER]
    values = {"to_hash": password_hash, "before": before, "moment": names.now(call)}
    call.db.run(SET_PASSWORD, {"of_user": login.user_id, **values})


def signed_in(call: Call, user_id: str) -> None:
    """Note when the user last signed in with his password (`PasswordLastUsed`)."""
    call.db.run(SIGNED_IN, {"of_user": user_id, "moment": names.now(call)})


def use_code(call: Call, login: Login, code: str) -> bool:
    """Use up a code of one of the user's devices; False, and counted against all of them, when it is of none."""
    showing = [serial for serial in login.devices if mfa.fits(call, serial, code)]
    return any(mfa.verify(call, login.user_id, serial, code) is None for serial in showing or login.devices)
