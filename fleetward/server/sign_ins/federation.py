"""Signing in by an OIDC provider's word: the way there and back, and the role that it ends in.

    start      state for the way, sealed: which provider, which browser, whom the answer is for, until when
    arrive     the state comes back: once, in the same browser, in time
    conclude   the ID token is checked as for AssumeRoleWithWebIdentity, and its nonce; the role's trust policy decides
    redeem     a command line's code becomes its sign-in, by who made the challenge

What proves the browser lies in its cookie alone; nonce and PKCE verifier are made of it, so that no row holds them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

import orjson
from sqlalchemy import bindparam, delete, insert, select

from fleetward.server.call import Call, Caller
from fleetward.server.effects import Outside
from fleetward.server.errors import AccessDeniedException, AwsError
from fleetward.server.iam.web_tokens import WebToken
from fleetward.server.keys import KeyFault, token_hash
from fleetward.server.schema import EPOCH, microseconds
from fleetward.server.sign_ins import password, sessions, tries
from fleetward.server.sign_ins.errors import SignInRefused
from fleetward.server.sign_ins.providers import Provider
from fleetward.server.sign_ins.tables import codes
from fleetward.server.sts import roles, web_identity

FLOW_LASTS = timedelta(minutes=10)
CODE_LASTS = timedelta(minutes=2)
STATE = "sign-in-state"
STATE_LIMIT = 2048
ODD = re.compile(r"[^\w+=,.@-]", re.ASCII)
SHOWN_LIMIT = 64

ADD_CODE = insert(codes)
CODE = select(codes).where(codes.c.code_hash == bindparam("of_hash"))
REMOVE_CODE = delete(codes).where(codes.c.code_hash == bindparam("of_hash"))
FORGET_CODES = delete(codes).where(codes.c.expires_at < bindparam("before"))


@dataclass(frozen=True, slots=True)
class Flow:
    """One way to the provider and back. `target`: where a command line waits (empty: the browser itself signs in),
    with its `challenge` and the `shown` state it asked to get back."""

    provider: str
    browser: str
    """SHA-256 of the browser's cookie."""
    expires_at: int
    """Microseconds since 1970."""
    target: str = ""
    challenge: str = ""
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came back to the browser that keeps `cookie`."""

    state: str
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vouched:
    """What the provider gave for its code."""

    flow: Flow
    provider: Provider
    id_token: str = field(repr=False)
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CodeFor:
    """A code that the command line at `target` may use, once."""

    target: str
    code: str = field(repr=False)
    shown: str
    challenge: str


@dataclass(frozen=True, slots=True)
class Redemption:
    """A command line's code, and the verifier of its challenge."""

    code: str = field(repr=False)
    verifier: str = field(repr=False)
    last: timedelta = sessions.KEYS_LAST


def derived(cookie: str, what: str) -> str:
    """The flow's `nonce` or `verifier`, from what only the browser keeps."""
    return _text(hmac.digest(cookie.encode(), f"fleetward {what}".encode(), "sha256"))


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636)."""
    return _text(hashlib.sha256(verifier.encode()).digest())


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def start(call: Call, flow: Mapping[str, str]) -> str:
    """Entry: the state of a new flow; `flow` has the members of Flow but the time."""
    until = microseconds(call.now + FLOW_LASTS)
    sealed = call.keys.seal(orjson.dumps(asdict(Flow(expires_at=until, **flow))), STATE)
    return _text(secrets.token_bytes(8)) + _text(sealed)


def arrive(call: Call, arrival: Arrival) -> Flow | AwsError:
    """Entry: the flow of a state that comes back, which is used up; counted as a try of the address until it ends."""
    flow = _opened(call, arrival.state)
    same = flow is not None and bool(arrival.cookie)
    if flow is None or not same or not hmac.compare_digest(flow.browser, token_hash(arrival.cookie)):
        raise SignInRefused("This sign-in was not begun in this browser. Begin again.")
    if flow.expires_at <= microseconds(call.now):
        raise SignInRefused("This sign-in took longer than ten minutes. Begin again.")
    tries.take(call, _address(call))
    digest = token_hash(arrival.state)
    if call.db.first(CODE, of_hash=digest) is not None:
        return SignInRefused("This answer of the provider was used before. Begin again.")
    _add_code(call, digest, "", "", EPOCH + timedelta(microseconds=flow.expires_at))
    return flow


def _opened(call: Call, state: str) -> Flow | None:
    try:
        raw = base64.urlsafe_b64decode(state[11:] + "=" * (-len(state[11:]) % 4))
        return Flow(**orjson.loads(call.keys.open(raw, STATE))) if len(state) <= STATE_LIMIT else None
    except (ValueError, KeyFault):
        return None


def refuse(call: Call, provider: str) -> None:
    """Entry: write down that a provider's answer did not let anybody in."""
    who = Caller(kind="user", arn="", account=call.account)
    password.record(call, who, second_factor=False, provider=provider, fault=SignInRefused("refused"))


def conclude(call: Call, vouched: Vouched) -> sessions.Granted | CodeFor | Outside | AwsError:
    """Entry: a sign-in of the role that the person's claims give, or a code for the command line that waits."""
    provider, flow = vouched.provider, vouched.flow
    first = provider.roles[0].role  # all roles are of one account, whose provider is asked for
    try:
        checked = web_identity.verified(call, roles.find_role(call, first), vouched.id_token)
        if isinstance(checked, Outside):
            return checked
        token, trusted = checked
        _check(token, provider, derived(vouched.cookie, "nonce"))
        audience = web_identity.audience_of(token, trusted)
        beginning = _beginning(call, token, provider, audience)
    except AwsError as fault:
        refuse(call, provider.name)
        return fault
    tries.give_back(call, _address(call))
    if not flow.target:
        return _begun(call, beginning)
    code = secrets.token_urlsafe(32)
    text = orjson.dumps(asdict(beginning)).decode()
    _add_code(call, token_hash(code), flow.challenge, text, call.now + CODE_LASTS)
    return CodeFor(flow.target, code, flow.shown, flow.challenge)


def redeem(call: Call, asked: Redemption) -> sessions.Granted | AwsError:
    """Entry: the sign-in of a code, which is used up whoever shows it."""
    digest = token_hash(asked.code)
    tries.take(call, _address(call))
    row = call.db.first(CODE, of_hash=digest)
    call.db.run(REMOVE_CODE, {"of_hash": digest})
    good = row is not None and bool(row.challenge) and row.expires_at > call.now and row.account_id == call.account
    if row is None or not good or not hmac.compare_digest(row.challenge, challenge_of(asked.verifier)):
        return SignInRefused("The code is not good, or was used before. Begin again.")
    tries.give_back(call, _address(call))
    return _begun(call, sessions.Beginning(**orjson.loads(row.beginning)), asked.last)


def forget(call: Call) -> None:
    """Remove codes and states that are past their time."""
    call.db.run(FORGET_CODES, {"before": call.now})


def _begun(call: Call, beginning: sessions.Beginning, last: timedelta = sessions.KEYS_LAST) -> sessions.Granted:
    who = Caller(kind="role", arn=beginning.arn, account=call.account, user_id=beginning.principal_id)
    password.record(call, who, second_factor=False, provider=beginning.provider)
    return sessions.begin(call, beginning, last=last)


def _check(token: WebToken, provider: Provider, nonce: str) -> None:
    """What OpenID Connect Core 3.1.3.7 asks besides signature, times and known audience."""
    if token.issuer.rstrip("/") != provider.issuer.rstrip("/"):
        raise SignInRefused("The ID token is of another issuer.")
    if provider.client_id not in token.audiences or token.text("azp") not in ("", provider.client_id):
        raise SignInRefused("The ID token is for another client.")
    if not hmac.compare_digest(token.text("nonce").encode(), nonce.encode()):
        raise SignInRefused("The ID token belongs to another sign-in.")
    if not token.text("sub"):
        raise SignInRefused("The ID token does not say whom it is about.")


def _beginning(call: Call, token: WebToken, provider: Provider, audience: str) -> sessions.Beginning:
    arn = provider.role_of(token.claims)
    if not arn:
        raise AccessDeniedException("The provider knows you, and none of your claims gives you a role here.")
    named = token.text(provider.session_name) or token.text("sub")
    name = ODD.sub("-", named)[:SHOWN_LIMIT].ljust(2, "-")
    claims = {each: token.claims[each] for each in web_identity.CLAIMS if each in token.claims}
    url = token.issuer.removeprefix("https://").rstrip("/")
    subject = {"role": arn, "url": url, "audience": audience, "claims": claims}
    found = sessions.role_of(call, subject, name)
    session = f"arn:aws:sts::{found.account}:assumed-role/{found.name}/{name}"
    person = token_hash(f"{url}\n{token.text('sub')}")[:32]
    return sessions.Beginning(
        "role", name, session, person, provider=provider.name, subject=orjson.dumps(subject).decode()
    )


def _address(call: Call) -> tuple[tries.Subject, ...]:
    return (tries.of_address(call.context.source_ip),)


def _add_code(call: Call, digest: str, challenge: str, beginning: str, until: datetime) -> None:
    row = {"code_hash": digest, "account_id": call.account, "challenge": challenge}
    call.db.run(ADD_CODE, {**row, "beginning": beginning, "expires_at": until})
