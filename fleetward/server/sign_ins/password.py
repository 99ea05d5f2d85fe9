"""Signing in with a password: two entries, between which the edge compares and computes hashes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta

from fleetward.server import audit
from fleetward.server.call import Call, Caller
from fleetward.server.errors import AwsError, ValidationException
from fleetward.server.iam import passwords, sign_in
from fleetward.server.service import Entry
from fleetward.server.sign_ins import sessions, tries
from fleetward.server.sign_ins.errors import MultiFactorAuthRequired, PasswordChangeRequired, SignInRefused
from fleetward.server.sign_ins.tries import Subject

CONSOLE_LOGIN = Entry("signin:ConsoleLogin", lambda call: None, audit=True)
"""What the trail calls it, after CloudTrail's word."""
REFUSED = "The user name, the password or the code is not right."
DEVICE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody gave, but for the passwords, which stay at the edge."""

    user_name: str
    code: str = field(default="", repr=False)
    changes_password: bool = False
    last: timedelta = sessions.KEYS_LAST
    device: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Begun:
    """A try that counts: what to compare the password with (`login` is None where there is no such user)."""

    login: sign_in.Login | None
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """What became of the passwords: whether the given one is right; the hash of the new one, if one was given."""

    attempt: Attempt
    begun: Begun
    matches: bool
    new_hash: str = field(default="", repr=False)


def begin(call: Call, attempt: Attempt) -> Begun:
    """Entry: count the try; TooManyTries while the user or the address is paused."""
    login = sign_in.find(call, attempt.user_name)
    user_id = "" if login is None else login.user_id
    subjects = tries.subjects(call, attempt.user_name, user_id, call.context.source_ip, attempt.device)
    tries.take(call, subjects)
    return Begun(login, subjects)


def conclude(call: Call, compared: Compared) -> sessions.Granted | AwsError:
    """Entry: a sign-in, or the error that says what was wrong or is wanted too."""
    attempt, begun = compared.attempt, compared.begun
    login = sign_in.find(call, attempt.user_name)
    if not compared.matches or login is None or begun.login is None or login.hash != begun.login.hash:
        return _refused(call, login)
    wanted = _wanted(call, login, attempt)
    if wanted is not None:
        tries.give_back(call, begun.subjects)
        return wanted
    if login.devices and not sign_in.use_code(call, login, attempt.code):
        return _refused(call, login)
    if compared.new_hash:
        sign_in.set_password(call, login, compared.new_hash)
        login = replace(login, hash=compared.new_hash)
    tries.succeed(call, begun.subjects)
    device = attempt.device
    if not tries.is_known(call, login.user_id, device):
        device = secrets.token_urlsafe(DEVICE_BYTES)
    tries.remember_device(call, login.user_id, device)
    sign_in.signed_in(call, login.user_id)
    record(call, _user(call, login), second_factor=bool(login.devices))
    beginning = sessions.Beginning(
        "user", login.name, login.arn, login.user_id, sessions.mark_of(login), second_factor=bool(login.devices)
    )
    return sessions.begin(call, beginning, device, attempt.last)


def must_change(call: Call, login: sign_in.Login) -> bool:
    """Whether the user has to take another password before he gets in."""
    return login.reset_required or passwords.has_expired(login.policy, login.changed_at, call.now)


def _wanted(call: Call, login: sign_in.Login, attempt: Attempt) -> AwsError | None:
    """What is still missing, as an error that names all of it."""
    changes = must_change(call, login)
    if changes and login.policy is not None and login.policy.get("HardExpiry") and not login.reset_required:
        return SignInRefused("The password has expired; an administrator has to give a new one.")
    needs = [
        *(["TokenCode"] if login.devices and not attempt.code else []),
        *(["NewPassword"] if changes and not attempt.changes_password else []),
    ]
    if "TokenCode" in needs:
        return MultiFactorAuthRequired("Give the code that your device shows as TokenCode too.", Needs=needs)
    if needs:
        return PasswordChangeRequired("Your password has to be changed: give NewPassword too.", Needs=needs)
    if attempt.changes_password and not changes:
        return ValidationException("NewPassword is for passwords that have to be changed; others: iam ChangePassword.")
    return None


def _refused(call: Call, login: sign_in.Login | None) -> AwsError:
    """The same answer for whatever was wrong, written down; of strangers not even the name, which may be a password."""
    who = Caller(kind="user", arn="", account=call.account) if login is None else _user(call, login)
    fault = SignInRefused(REFUSED)
    record(call, who, second_factor=False, fault=fault)
    return fault


def _user(call: Call, login: sign_in.Login) -> Caller:
    return Caller(kind="user", arn=login.arn, account=call.account, user_id=login.user_id)


def record(call: Call, who: Caller, *, second_factor: bool, provider: str = "", fault: AwsError | None = None) -> None:
    """Write a ConsoleLogin into the trail, with neither password nor code nor token."""
    known = audit.HIDDEN if not who.arn else who.arn.rsplit("/", 1)[-1]
    said = {
        "UserName": known,
        "ConsoleLogin": "Success" if fault is None else "Failure",
        "MFAUsed": "Yes" if second_factor else "No",
        **({"Provider": provider} if provider else {}),
    }
    own = Call(replace(call.context, caller=who), now=call.now, db=call.db, settings=call.settings, keys=call.keys)
    audit.record(own, CONSOLE_LOGIN, said, fault)
