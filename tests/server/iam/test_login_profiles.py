"""Login profiles: passwords are hashed, held to the account's policy, changed by their users, and stand nowhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from fleetward.protocol.sigv4 import Credentials
from tests.identities import allow, fresh, new_user, refusal, refused
from tests.serving import ServerProcess
from tests.trail import bodies, trail

FIRST, SECOND, THIRD = "Correct-Horse-1", "Correct-Horse-2", "Correct-Horse-3"


@pytest.fixture
def policy(iam: Any) -> Iterator[Any]:
    """Sets the account's password policy until the end of the test."""
    yield iam.update_account_password_policy
    iam.update_account_password_policy()
    iam.delete_account_password_policy()


def user_with_password(server: ServerProcess, iam: Any, *statements: Any) -> tuple[str, Credentials]:
    """A user, its key and the password FIRST."""
    name, keys = new_user(server, *statements)
    iam.create_login_profile(UserName=name, Password=FIRST)
    return name, keys


def test_a_profile_is_made_shown_changed_and_deleted(iam: Any) -> None:
    name = fresh("user")
    iam.create_user(UserName=name)
    assert refused(iam.get_login_profile, UserName=name)[:2] == ("NoSuchEntity", 404)
    made = iam.create_login_profile(UserName=name, Password=FIRST, PasswordResetRequired=True)["LoginProfile"]
    assert (made["UserName"], made["PasswordResetRequired"]) == (name, True)
    assert refusal(iam.create_login_profile, UserName=name, Password=FIRST) == "EntityAlreadyExists"
    iam.update_login_profile(UserName=name, Password=SECOND, PasswordResetRequired=False)
    assert iam.get_login_profile(UserName=name)["LoginProfile"]["PasswordResetRequired"] is False
    assert refused(iam.delete_user, UserName=name)[2] == "Cannot delete entity, must delete login profile first."
    iam.delete_login_profile(UserName=name)
    assert refusal(iam.get_login_profile, UserName=name) == "NoSuchEntity"


def test_a_user_changes_its_password_by_showing_the_old_one(serving: ServerProcess, iam: Any) -> None:
    _, keys = user_with_password(serving, iam, allow("iam:ChangePassword"))
    own = serving.client("iam", keys)
    assert refused(own.change_password, OldPassword=SECOND, NewPassword=THIRD)[:2] == ("AccessDenied", 403)
    own.change_password(OldPassword=FIRST, NewPassword=SECOND)
    assert refusal(own.change_password, OldPassword=FIRST, NewPassword=THIRD) == "AccessDenied"
    own.change_password(OldPassword=SECOND, NewPassword=THIRD)
    assert refusal(iam.change_password, OldPassword=FIRST, NewPassword=SECOND) == "InvalidUserType"


def test_changing_needs_a_policy_unless_the_account_allows_it_to_all(
    serving: ServerProcess, iam: Any, policy: Any
) -> None:
    _, keys = user_with_password(serving, iam)
    own = serving.client("iam", keys)
    assert "iam:ChangePassword" in refused(own.change_password, OldPassword=FIRST, NewPassword=SECOND)[2]
    policy(AllowUsersToChangePassword=True)
    own.change_password(OldPassword=FIRST, NewPassword=SECOND)


def test_passwords_used_before_are_refused_as_far_back_as_told(serving: ServerProcess, iam: Any, policy: Any) -> None:
    _, keys = user_with_password(serving, iam, allow("iam:ChangePassword"))
    own = serving.client("iam", keys)
    own.change_password(OldPassword=FIRST, NewPassword=SECOND)
    policy(PasswordReusePrevention=2)
    assert refusal(own.change_password, OldPassword=SECOND, NewPassword=FIRST) == "PasswordPolicyViolation"
    policy(PasswordReusePrevention=1)
    own.change_password(OldPassword=SECOND, NewPassword=FIRST)


def test_the_accounts_policy_counts_for_new_passwords(iam: Any, policy: Any) -> None:
    name = fresh("user")
    iam.create_user(UserName=name)
    policy(MinimumPasswordLength=12, RequireSymbols=True)
    code, status, message = refused(iam.create_login_profile, UserName=name, Password="Short1")
    assert (code, status) == ("PasswordPolicyViolation", 400)
    assert message == "The password needs at least 12 characters, a symbol."
    assert "Short1" not in message
    iam.create_login_profile(UserName=name, Password="long-enough-1")


def test_passwords_stand_in_no_record_log_or_row(serving: ServerProcess, iam: Any) -> None:
    name, keys = user_with_password(serving, iam, allow("iam:ChangePassword"))
    serving.client("iam", keys).change_password(OldPassword=FIRST, NewPassword=SECOND)
    assert {"CreateLoginProfile"} <= {record["eventName"] for record in trail(serving, name, least=4)}
    assert not [body for body in bodies(serving) if FIRST in body or SECOND in body]
    assert FIRST not in serving.log.read_text()
    with sqlite3.connect(f"file:{serving.data / 'fleetward.db'}?mode=ro", uri=True) as database:
        hashes = [row[0] for row in database.execute("SELECT hash FROM iam_login_profiles")]
    assert hashes
    assert all(each.startswith("$argon2id$v=19$m=65536,") for each in hashes)
