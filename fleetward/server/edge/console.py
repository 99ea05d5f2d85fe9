"""Console: `/console/session`, where people sign in, refresh and sign out; the keys they get live in their memory.

    POST    {"UserName", "Password", "TokenCode"?, "NewPassword"?}   sign in
    POST    {"Code", "CodeVerifier"}                                 sign a command line in that used a browser
    POST    {} with the refresh cookie                               new keys, and the cookie's next value
    DELETE  with the refresh cookie                                  sign out

Programs may have keys last up to an hour: "DurationSeconds" in either body.

Cookies are `__Host-`, HttpOnly, Secure and SameSite=Strict. What a page of another site could make a browser send is
refused: bodies are JSON and say so, and Origin and Sec-Fetch-Site name no one else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson

from fleetward.server.call import Context, anonymous
from fleetward.server.edge.passwords import Passwords
from fleetward.server.edge.pipeline import Exchange, Response
from fleetward.server.errors import AwsError, SerializationException, ValidationException
from fleetward.server.iam import passwords as rules
from fleetward.server.iam import sign_in
from fleetward.server.service import Entry
from fleetward.server.settings import Settings
from fleetward.server.sign_ins import federation, password, sessions, tries
from fleetward.server.sign_ins.errors import (
    CrossSiteRequest,
    PasswordPolicyViolation,
    SignInEnded,
    TooManyTries,
)

BEGIN = Entry("signin:begin", password.begin, audit=False)
CONCLUDE = Entry("signin:ConsoleLogin", password.conclude, audit=False)  # writes its own record
GIVE_BACK = Entry("signin:give-back", tries.give_back, audit=False)
REDEEM = Entry("signin:Redeem", federation.redeem, audit=False)
REFRESH = Entry("signin:Refresh", sessions.refresh, audit=False)
SIGN_OUT = Entry("signin:Logout", sessions.sign_out, audit=False)

REFRESH_COOKIE = "__Host-fleetward-refresh"
DEVICE_COOKIE = "__Host-fleetward-device"
DEVICE_SECONDS = 90 * 24 * 3600
BODY_LIMIT = 8192
COOKIE_LIMIT = 128
LENGTHS = {"UserName": 64, "Password": rules.LONGEST, "TokenCode": 6, "NewPassword": rules.LONGEST}
CODE_LENGTHS = {"Code": 128, "CodeVerifier": 128}
JSON = (
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)

Run = Callable[[Entry, Context, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a request to sign in, empty where not given; without a name: to refresh."""

    last: timedelta
    user_name: str = ""
    password: str = field(default="", repr=False)
    code: str = field(default="", repr=False)
    new_password: str = field(default="", repr=False)
    login_code: str = field(default="", repr=False)
    """A command line's, from its browser, with the verifier of its challenge."""
    verifier: str = field(default="", repr=False)


class Console:
    """The pages, with what they need."""

    def __init__(
        self,
        *,
        run: Run,
        settings: Settings,
        passwords: Passwords,
        now: Callable[[], datetime],
        throttle: Callable[[Exchange], Awaitable[None]],
    ) -> None:
        self._run = run
        self.throttle = throttle
        self._settings = settings
        self._passwords = passwords
        self._now = now

    async def session(self, exchange: Exchange) -> Response:
        """POST: sign in, or refresh when the body is empty braces."""
        return await self._answer(exchange, self._post)

    async def sign_out(self, exchange: Exchange) -> Response:
        """DELETE: end the sign-in of the cookie, and the cookie."""
        return await self._answer(exchange, self._delete)

    def context(self, exchange: Exchange) -> Context:
        """The request as entries see it: of nobody in particular."""
        return Context(
            account=self._settings.account,
            region=self._settings.default_region,
            caller=anonymous(self._settings.account),
            request_id=exchange.request_id,
            source_ip=exchange.source_ip,
            user_agent=exchange.headers.get("user-agent", ""),
            secure=exchange.secure,
        )

    def granted(self, granted: sessions.Granted) -> Response:
        """Keys as JSON, tokens as cookies."""
        keys = granted.credentials
        body = {
            "Credentials": {**keys, "Expiration": told(keys["Expiration"])},
            "Arn": granted.arn,
            "Account": self._settings.account,
            "Region": self._settings.default_region,
            "SignInId": granted.sign_in_id,
            "SignInExpiration": told(granted.expires_at),
        }
        return Response(200, (*JSON, *self.cookies(granted)), orjson.dumps(body))

    def cookies(self, granted: sessions.Granted) -> tuple[tuple[str, str], ...]:
        """The headers that set what the browser is to keep."""
        left = max(0, int((granted.expires_at - self._now()).total_seconds()))
        kept = ((REFRESH_COOKIE, granted.refresh_token, left), (DEVICE_COOKIE, granted.device, DEVICE_SECONDS))
        return tuple(("set-cookie", cookie(*each)) for each in kept if each[1])

    async def _answer(self, exchange: Exchange, work: Callable[[Exchange], Awaitable[Response]]) -> Response:
        exchange.context = self.context(exchange)
        try:
            await self.throttle(exchange)
            check_origin(exchange, self._settings)
            return await work(exchange)
        except AwsError as fault:
            return refusal(exchange, fault)

    async def _post(self, exchange: Exchange) -> Response:
        members = read(await exchange.receive(BODY_LIMIT), exchange.headers.get("content-type", ""))
        if members.login_code:
            exchange.entry = REDEEM
            asked = federation.Redemption(members.login_code, members.verifier, members.last)
            return self.granted(await self._run(REDEEM, self.context(exchange), asked))
        if not members.user_name:
            exchange.entry = REFRESH
            token = cookie_of(exchange, REFRESH_COOKIE)
            if not token:
                raise SignInEnded("Nobody is signed in here.")
            return self.granted(await self._run(REFRESH, self.context(exchange), sessions.Refresh(token, members.last)))
        exchange.entry = CONCLUDE
        return self.granted(await self._sign_in(exchange, members))

    async def _sign_in(self, exchange: Exchange, members: Members) -> sessions.Granted:
        context = self.context(exchange)
        attempt = password.Attempt(
            members.user_name,
            members.code,
            bool(members.new_password),
            members.last,
            cookie_of(exchange, DEVICE_COOKIE),
        )
        begun: password.Begun = await self._run(BEGIN, context, attempt)
        stored = "" if begun.login is None else begun.login.hash
        matches = await self._passwords.matches(stored, members.password)
        new_hash = ""
        if matches and members.new_password and begun.login is not None:
            try:
                new_hash = await self._new_hash(begun.login, members)
            except PasswordPolicyViolation:
                await self._run(GIVE_BACK, context, begun.subjects)
                raise
        granted: sessions.Granted = await self._run(
            CONCLUDE, context, password.Compared(attempt, begun, matches, new_hash)
        )
        return granted

    async def _new_hash(self, login: sign_in.Login, members: Members) -> str:
        faults = rules.faults(login.policy, members.new_password, login.name)
        if faults:
            raise PasswordPolicyViolation(f"A new password needs {'; '.join(faults)}.")
        former = [login.hash, *login.former[: max(0, rules.remembered(login.policy) - 1)]]
        if await self._passwords.among(former, members.new_password):
            raise PasswordPolicyViolation("A new password has to be another one than those before.")
        return await self._passwords.hashed(members.new_password)

    async def _delete(self, exchange: Exchange) -> Response:
        exchange.entry = SIGN_OUT
        token = cookie_of(exchange, REFRESH_COOKIE)
        if token:
            await self._run(SIGN_OUT, self.context(exchange), token)
        return Response(200, (*JSON, ("set-cookie", cookie(REFRESH_COOKIE, "", 0))), b"{}")


def read(body: bytes, content_type: str) -> Members:
    """The members of a body; CrossSiteRequest, SerializationException or ValidationException for any other."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise CrossSiteRequest("The body has to be of the type application/json.")
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise SerializationException("The body is not JSON.") from fault
    if not isinstance(given, dict):
        raise SerializationException("The body is not a JSON object.")
    last = _lifetime(given.pop("DurationSeconds", sessions.KEYS_LAST.total_seconds()))
    if not given:
        return Members(last)
    by_code = set(given) == set(CODE_LENGTHS)
    if not by_code and (set(given) - set(LENGTHS) or not {"UserName", "Password"} <= set(given)):
        raise ValidationException(f"The body has UserName and Password, and may have others of {sorted(LENGTHS)}.")
    for name, longest in (CODE_LENGTHS if by_code else LENGTHS).items():
        value = given.get(name, "-")
        if not isinstance(value, str) or not 0 < len(value) <= longest or "\0" in value:
            raise ValidationException(f"{name} has to be a text of 1 to {longest} characters.")
    if by_code:
        return Members(last, login_code=given["Code"], verifier=given["CodeVerifier"])
    named = {"user_name": "UserName", "password": "Password", "code": "TokenCode", "new_password": "NewPassword"}
    return Members(last, **{name: given.get(member, "") for name, member in named.items()})


def _lifetime(seconds: object) -> timedelta:
    shortest, longest = sessions.KEYS_LAST.total_seconds(), sessions.LONGEST_KEYS.total_seconds()
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not shortest <= seconds <= longest:
        raise ValidationException(f"DurationSeconds has to be a number from {shortest:.0f} to {longest:.0f}.")
    return timedelta(seconds=int(seconds))


def check_origin(exchange: Exchange, settings: Settings) -> None:
    """CrossSiteRequest unless the request comes from a page of our own, or from a program that is no browser."""
    headers = exchange.headers
    if not exchange.secure:
        raise CrossSiteRequest("People sign in over TLS only.")
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise CrossSiteRequest("The request comes from another site.")
    origin = headers.get("origin")
    ours = {f"https://{headers.get('host', '')}".lower(), _origin_of(settings.public_url)} - {""}
    if origin is not None and origin.lower() not in ours:
        raise CrossSiteRequest("The request comes from another site.")


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""


def cookie(name: str, value: str, seconds: int, *, same_site: str = "Strict") -> str:
    """A cookie that scripts do not see and other hosts and paths cannot set; no seconds left: it is removed."""
    return f"{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite={same_site}"


def cookie_of(exchange: Exchange, name: str) -> str:
    """A cookie's value; empty when there is none, more than one, or none of ours."""
    pairs = [each.strip().partition("=") for each in exchange.headers.get("cookie", "").split(";")]
    found = [value for key, _, value in pairs if key == name]
    return found[0] if len(found) == 1 and len(found[0]) <= COOKIE_LIMIT and found[0].isascii() else ""


def refusal(exchange: Exchange, fault: AwsError) -> Response:
    """An error as JSON; one that says that the sign-in has ended takes the cookie back."""
    body: Mapping[str, Any] = {"__type": fault.code, "message": fault.message, **fault.members}
    headers = [*JSON, ("x-amzn-requestid", exchange.request_id)]
    if isinstance(fault, SignInEnded):
        headers.append(("set-cookie", cookie(REFRESH_COOKIE, "", 0)))
    if isinstance(fault, TooManyTries):
        headers.append(("retry-after", str(fault.members["RetryAfterSeconds"])))
    if fault.status == 413:
        headers.append(("connection", "close"))
    return Response(fault.status, tuple(headers), orjson.dumps(body))


def told(moment: datetime) -> str:
    """A time as browsers and botocore read it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
