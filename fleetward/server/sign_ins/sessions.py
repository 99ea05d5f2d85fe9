"""Sessions: a sign-in from its beginning to its end, the tokens that refresh it, and the keys it gives.

A refresh token is good once. Using it gives the next; showing one again that was used ends the sign-in, for somebody
has a copy. One exception keeps reloads and tabs working: for five seconds, from the same address and program and while
nothing newer was used, the last used token gives another successor; whichever successor comes first voids the others.

Keys are temporary credentials that carry the sign-in's id: they last while it does (`lives`), a second's memory apart.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Row, bindparam, delete, insert, select, update

from fleetward.server import audit
from fleetward.server.call import Call, Caller
from fleetward.server.errors import AccessDeniedException, AwsError
from fleetward.server.iam import oidc_providers, principals, sign_in
from fleetward.server.keys import token_hash
from fleetward.server.service import Entry
from fleetward.server.sign_ins.errors import SignInEnded
from fleetward.server.sign_ins.tables import sign_ins, tokens
from fleetward.server.sts import issue, roles, web_identity

KEYS_LAST = timedelta(minutes=15)
LONGEST_KEYS = timedelta(hours=1)
"""Ours: programs may ask for so much, since the SDKs renew keys with every call that have less than 15 minutes left."""
REFRESHING = Entry("signin:Refresh", lambda call: None)
LEAVING = Entry("signin:Logout", lambda call: None)
"""What the trail calls the reuse of a token, and a good end."""
GRACE = timedelta(seconds=5)
MOST_SUCCESSORS = 8
MOST_TOKENS = 1000
"""Of one sign-in; older ones are forgotten, and then say nothing."""
MOST_SIGN_INS = 50
"""Of one user; one more ends the one that was unused longest."""
AGENT_LENGTH = 256
TOKEN_BYTES = 32

_THIS = (sign_ins.c.account_id == bindparam("account"), sign_ins.c.sign_in_id == bindparam("of_sign_in"))
_TOKENS = (tokens.c.account_id == bindparam("account"), tokens.c.sign_in_id == bindparam("of_sign_in"))
ADD = insert(sign_ins)
FIND = select(sign_ins).where(*_THIS)
USED = update(sign_ins).where(*_THIS).values(used_at=bindparam("at"), address=bindparam("by"), agent=bindparam("with"))
REMOVE = delete(sign_ins).where(*_THIS)
OF_PRINCIPAL = (
    select(sign_ins.c.sign_in_id)
    .where(sign_ins.c.account_id == bindparam("account"), sign_ins.c.principal_id == bindparam("of_principal"))
    .order_by(sign_ins.c.used_at.desc())
)
OVER = (
    select(sign_ins.c.account_id, sign_ins.c.sign_in_id)
    .where((sign_ins.c.expires_at < bindparam("now")) | (sign_ins.c.used_at < bindparam("idle_since")))
    .limit(500)
)
ADD_TOKEN = insert(tokens)
TOKEN = select(tokens).where(tokens.c.token_hash == bindparam("of_hash"))
TOKENS = select(tokens.c.token_hash).where(*_TOKENS).order_by(tokens.c.issued_at.desc())
NEWER = select(tokens).where(*_TOKENS, tokens.c.replaced.is_(False))
REPLACE = update(tokens).where(*_TOKENS, tokens.c.replaced.is_(False)).values(replaced=True)
TOKEN_USED = update(tokens).where(tokens.c.token_hash == bindparam("of_hash")).values(used_at=bindparam("at"))
REMOVE_TOKEN = delete(tokens).where(tokens.c.token_hash == bindparam("of_hash"))
REMOVE_TOKENS = delete(tokens).where(*_TOKENS)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Whose sign-in begins, and how: `second_factor` by a code, `provider` by somebody else's word."""

    kind: str
    name: str
    arn: str
    principal_id: str
    password_mark: str = ""
    second_factor: bool = False
    provider: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Granted:
    """What a sign-in gives: keys, the token that refreshes it, and for how long at most."""

    sign_in_id: str
    arn: str
    credentials: Mapping[str, Any] = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: datetime
    device: str = field(default="", repr=False)


def begin(call: Call, beginning: Beginning, device: str = "", last: timedelta = KEYS_LAST) -> Granted:
    """A new sign-in of the caller's address and program."""
    _make_room(call, beginning.principal_id)
    context, now = call.context, call.now
    row = {
        "account_id": call.account,
        "sign_in_id": call.new_hex("si-", 20),
        "kind": beginning.kind,
        "name": beginning.name,
        "arn": beginning.arn,
        "principal_id": beginning.principal_id,
        "provider": beginning.provider,
        "subject": beginning.subject,
        "password_mark": beginning.password_mark,
        "second_factor_at": now.replace(microsecond=0) if beginning.second_factor else None,
        "created_at": now,
        "used_at": now,
        "expires_at": now + timedelta(seconds=call.settings.sign_in_lifetime),
        "address": context.source_ip[:64],
        "agent": shown_agent(context.user_agent),
    }
    call.db.run(ADD, row)
    found = call.db.first(FIND, account=call.account, of_sign_in=row["sign_in_id"])
    assert found is not None
    granted = _granted(call, found, "", last, device)
    if isinstance(granted, AwsError):
        raise granted
    return granted


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh token, and how long the keys for it are to last."""

    token: str = field(repr=False)
    last: timedelta = KEYS_LAST


def refresh(call: Call, asked: Refresh) -> Granted | AwsError:
    """New keys and the next token for a good one. An error that ends the sign-in is returned, not raised."""
    digest = token_hash(asked.token)
    shown = call.db.first(TOKEN, of_hash=digest)
    row = None if shown is None else call.db.first(FIND, account=shown.account_id, of_sign_in=shown.sign_in_id)
    if shown is None or row is None or row.account_id != call.account:
        return SignInEnded("The sign-in has ended: sign in again.")
    if not is_current(call, row):
        end(call, row.sign_in_id)
        return SignInEnded("The sign-in has ended: sign in again.")
    if shown.replaced and not _may_repeat(call, row, shown):
        end(call, row.sign_in_id)
        twice = SignInEnded("A refresh token was used twice: the sign-in was ended. Sign in again.")
        _record(call, REFRESHING, row, twice)
        return twice
    this = {"account": call.account, "of_sign_in": row.sign_in_id}
    if not shown.replaced:
        call.db.run(REPLACE, this)
        call.db.run(TOKEN_USED, {"of_hash": digest, "at": call.now})
        for old in call.db.values(TOKENS, **this)[MOST_TOKENS:]:
            call.db.run(REMOVE_TOKEN, {"of_hash": old})
    agent = shown_agent(call.context.user_agent)
    call.db.run(USED, {**this, "at": call.now, "by": call.context.source_ip[:64], "with": agent})
    granted = _granted(call, row, digest, asked.last)
    if isinstance(granted, AwsError):
        end(call, row.sign_in_id)
    return granted


def sign_out(call: Call, token: str) -> str:
    """End the sign-in that a token, used or not, belongs to; its id, or nothing when there is none."""
    shown = call.db.first(TOKEN, of_hash=token_hash(token))
    if shown is None or shown.account_id != call.account:
        return ""
    row = call.db.first(FIND, account=call.account, of_sign_in=shown.sign_in_id)
    if row is not None:
        _record(call, LEAVING, row, None)
    end(call, shown.sign_in_id)
    return str(shown.sign_in_id)


def _record(call: Call, what: Entry, row: Row[Any], fault: AwsError | None) -> None:
    """Write into the trail what became of a sign-in."""
    who = Caller(kind=row.kind, arn=row.arn, account=row.account_id, user_id=row.principal_id)
    own = Call(replace(call.context, caller=who), now=call.now, db=call.db, settings=call.settings, keys=call.keys)
    audit.record(own, what, {"SignInId": row.sign_in_id}, fault)


def end(call: Call, sign_in_id: str) -> bool:
    """End a sign-in and its keys, on every server within a second; False when there is none."""
    this = {"account": call.account, "of_sign_in": sign_in_id}
    call.db.run(REMOVE_TOKENS, this)
    found = bool(call.db.run(REMOVE, this))
    principals.changed(call)
    return found


def lives(call: Call, request: tuple[str, str]) -> bool:
    """Entry: whether the sign-in of an account that keys were given for has not ended: by time or by hand, nor
    because the user has another password, none any more, or is gone."""
    account, sign_in_id = request
    row = call.db.first(FIND, account=account, of_sign_in=sign_in_id)
    return row is not None and row.expires_at > call.now and _password_stands(call, row)


def forget(call: Call) -> None:
    """Remove sign-ins that are over."""
    idle_since = call.now - timedelta(seconds=call.settings.sign_in_idle)
    for row in call.db.all(OVER, now=call.now, idle_since=idle_since):
        this = {"account": row.account_id, "of_sign_in": row.sign_in_id}
        call.db.run(REMOVE_TOKENS, this)
        call.db.run(REMOVE, this)


def mark_of(login: sign_in.Login) -> str:
    """What changes whenever the user's password does, and tells nothing of it."""
    return token_hash(login.hash)


def shown_agent(agent: str) -> str:
    """A User-Agent header as it can be shown: printable, not too long."""
    return "".join(each for each in agent[:AGENT_LENGTH] if each.isprintable())


def is_current(call: Call, row: Row[Any]) -> bool:
    """Whether a sign-in can still be refreshed."""
    idle = row.used_at < call.now - timedelta(seconds=call.settings.sign_in_idle)
    return row.expires_at > call.now and not idle and _password_stands(call, row)


def _password_stands(call: Call, row: Row[Any]) -> bool:
    if row.kind != "user":
        return True
    profile = sign_in.profile_of(call, row.principal_id)
    return profile is not None and token_hash(profile.hash) == row.password_mark


def _may_repeat(call: Call, row: Row[Any], shown: Row[Any]) -> bool:
    """Whether a used token is shown again by who used it, who may not have got the answer."""
    newer = call.db.all(NEWER, account=call.account, of_sign_in=row.sign_in_id)
    context = call.context
    return (
        shown.used_at is not None
        and call.now - shown.used_at <= GRACE
        and all(each.parent == shown.token_hash for each in newer)
        and len(newer) < MOST_SUCCESSORS
        and row.address == context.source_ip[:64]
        and row.agent == shown_agent(context.user_agent)
    )


def _make_room(call: Call, principal_id: str) -> None:
    known = call.db.values(OF_PRINCIPAL, account=call.account, of_principal=principal_id)
    for sign_in_id in known[MOST_SIGN_INS - 1 :]:
        end(call, sign_in_id)


def _granted(call: Call, row: Row[Any], parent: str, last: timedelta, device: str = "") -> Granted | AwsError:
    try:
        arn, keys = _keys(call, row, last)
    except AccessDeniedException:
        return SignInEnded("The role does not trust you any more: the sign-in was ended.")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    call.db.run(
        ADD_TOKEN,
        {
            "token_hash": token_hash(token),
            "account_id": call.account,
            "sign_in_id": row.sign_in_id,
            "parent": parent,
            "issued_at": call.now,
            "used_at": None,
            "replaced": False,
        },
    )
    return Granted(row.sign_in_id, arn, keys, token, row.expires_at, device)


def _keys(call: Call, row: Row[Any], last: timedelta) -> tuple[str, Mapping[str, Any]]:
    """Whom the keys act as, and the keys."""
    lifetime = min(last, row.expires_at - call.now)
    if row.kind == "role":
        return _keys_of_role(call, row, lifetime)
    more = {"sign_in": row.sign_in_id, "user_id": row.principal_id}
    if row.second_factor_at is not None:
        more["mfa_at"] = str(int(row.second_factor_at.timestamp()))
    standing = principals.standing(call, (row.principal_id, ()))
    arn = row.arn if standing is None else standing.arn
    return arn, issue.issue(call, arn, row.kind, lifetime, issue.Session(more=more))


def role_of(call: Call, subject: Mapping[str, Any], name: str) -> principals.Role:
    """The role of a sign-in by a provider, if its trust policy lets the person in at present; AccessDenied.

    `subject`: role (ARN), url (of the provider), audience and claims, as the ID token had them.
    """
    role = roles.find_role(call, subject["role"])
    provider = oidc_providers.look_up(call, role.account, subject["url"]) if role is not None else None
    if role is None or role.account != call.account or provider is None:
        raise AccessDeniedException("Not authorized to perform sts:AssumeRoleWithWebIdentity")
    if subject["audience"] not in provider.client_ids:
        raise AccessDeniedException("Not authorized to perform sts:AssumeRoleWithWebIdentity")
    web_identity.authorize(call, subject["role"], role, provider, subject["claims"], subject["audience"], name)
    return role


def _keys_of_role(call: Call, row: Row[Any], lifetime: timedelta) -> tuple[str, Mapping[str, Any]]:
    subject = orjson.loads(row.subject)
    role = role_of(call, subject, row.name)
    arn = oidc_providers.arn_of(role.account, subject["url"])
    origin = web_identity.origin(arn, subject["claims"])
    session = issue.Session(more={"provider": arn, "sign_in": row.sign_in_id, "origin": origin})
    wanted = {"RoleSessionName": row.name, "DurationSeconds": max(1, int(lifetime.total_seconds()))}
    made = roles.begun(call, wanted, role, session)
    return made["AssumedRoleUser"]["Arn"], made["Credentials"]
