"""OIDC: `/console/oidc/start` sends a browser to its provider, `/console/oidc/callback` takes it back signed in.

The authorization code flow with PKCE (RFC 7636), nonce, and the issuer's name in the answer where there is one (RFC
9207). A command line signs in through the browser by RFC 8252: it waits on loopback, and gets a code of ours there once
somebody has pressed a link on a page of ours; the provider's answer itself never leaves the server.
"""

from __future__ import annotations

import asyncio
import base64
import html
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

import orjson

from fleetward.server.call import Context
from fleetward.server.edge.console import JSON, Console, Run, cookie, cookie_of
from fleetward.server.edge.fetch import Fetcher
from fleetward.server.edge.http import TEXT
from fleetward.server.edge.outside import Performer
from fleetward.server.edge.pipeline import Exchange, Response
from fleetward.server.effects import Failed, Outside
from fleetward.server.errors import AwsError, ServiceUnavailableException, ValidationException
from fleetward.server.keys import token_hash
from fleetward.server.service import Entry
from fleetward.server.sign_ins import federation
from fleetward.server.sign_ins.errors import CrossSiteRequest, SignInRefused
from fleetward.server.sign_ins.providers import Provider

START = Entry("signin:StartOidc", federation.start, reads=True)
ARRIVE = Entry("signin:ArriveOidc", federation.arrive, audit=False)
CONCLUDE = Entry("signin:ConcludeOidc", federation.conclude, audit=False)
REFUSE = Entry("signin:RefuseOidc", federation.refuse, audit=False)

FLOW_COOKIE = "__Host-fleetward-oidc"
FLOW_SECONDS = int(federation.FLOW_LASTS.total_seconds())
CALLBACK = "/console/oidc/callback"
CONSOLE = "/console/"
DISCOVERY_GOOD_FOR = timedelta(hours=1)
FAILURE_GOOD_FOR = timedelta(seconds=10)
MOST_BYTES = 256 * 1024
SECONDS = 10.0
MOST_EFFECTS = 8
LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]):\d{1,5}/", re.ASCII)
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
SHOWN = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
CHECK_LETTERS = 6

QUIET = (*TEXT, ("cache-control", "no-store"), ("referrer-policy", "no-referrer"))
PAGE = (
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider authorizes and gives tokens, as its discovery document says."""

    authorization: str
    token: str
    secret_in_body: bool


@dataclass(slots=True)
class _Known:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    until: datetime | None = None
    endpoints: Endpoints | None = None


class Oidc:
    """The pages, with what they need."""

    def __init__(
        self,
        *,
        run: Run,
        providers: Mapping[str, Provider],
        fetcher: Fetcher,
        performer: Performer,
        console: Console,
        public_url: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._run = run
        self._providers = providers
        self._fetcher = fetcher
        self._performer = performer
        self._console = console
        self._public_url = public_url
        self._now = now
        self._known = {name: _Known() for name in providers}

    async def providers(self, exchange: Exchange) -> Response:
        """GET: what a page for signing in offers besides a password."""
        listed = [{"Name": each.name, "Title": each.title} for each in self._providers.values()]
        return Response(200, JSON, orjson.dumps({"Providers": listed}))

    async def start(self, exchange: Exchange) -> Response:
        """GET: send the browser to its provider."""
        return await self._answer(exchange, self._start)

    async def callback(self, exchange: Exchange) -> Response:
        """GET: the browser comes back from its provider."""
        return await self._answer(exchange, self._callback)

    async def _answer(self, exchange: Exchange, work: Callable[[Exchange], Any]) -> Response:
        exchange.context = self._console.context(exchange)
        try:
            await self._console.throttle(exchange)
            if not exchange.secure:
                raise CrossSiteRequest("People sign in over TLS only.")
            response: Response = await work(exchange)
            return response
        except AwsError as fault:
            gone = ("set-cookie", cookie(FLOW_COOKIE, "", 0, same_site="Lax"))
            return Response(max(fault.status, 400), (*QUIET, gone), f"{fault.message}\n".encode())

    async def _start(self, exchange: Exchange) -> Response:
        asked = _query(exchange)
        provider = self._provider(asked.get("provider", ""))
        endpoints = await self._endpoints(provider)
        kept = secrets.token_urlsafe(32)
        flow = {"provider": provider.name, "browser": token_hash(kept), **_loopback(asked)}
        state = await self._run(START, self._console.context(exchange), flow)
        members = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": self._public_url() + CALLBACK,
            "scope": " ".join(provider.scopes),
            "state": state,
            "nonce": federation.derived(kept, "nonce"),
            "code_challenge": federation.challenge_of(federation.derived(kept, "verifier")),
            "code_challenge_method": "S256",
        }
        join = "&" if "?" in endpoints.authorization else "?"
        where = ("location", f"{endpoints.authorization}{join}{urlencode(members)}")
        keep = ("set-cookie", cookie(FLOW_COOKIE, kept, FLOW_SECONDS, same_site="Lax"))
        return Response(303, (*QUIET, where, keep), b"")

    async def _callback(self, exchange: Exchange) -> Response:
        exchange.entry = CONCLUDE
        asked, context = _query(exchange), self._console.context(exchange)
        kept = cookie_of(exchange, FLOW_COOKIE)
        flow: federation.Flow = await self._run(ARRIVE, context, federation.Arrival(asked.get("state", ""), kept))
        provider = self._provider(flow.provider)
        try:
            id_token = await self._id_token(provider, asked, kept)
        except AwsError:
            await self._run(REFUSE, context, provider.name)
            raise
        outcome = await self._conclude(context, federation.Vouched(flow, provider, id_token, kept))
        gone = ("set-cookie", cookie(FLOW_COOKIE, "", 0, same_site="Lax"))
        if isinstance(outcome, federation.CodeFor):
            return Response(200, (*PAGE, gone), _page(outcome))
        return Response(303, (*QUIET, ("location", CONSOLE), gone, *self._console.cookies(outcome)), b"")

    async def _conclude(self, context: Context, vouched: federation.Vouched) -> Any:
        """The entry's outcome, with what it asks for on the way."""
        while True:
            outcome = await self._run(CONCLUDE, context, vouched)
            if not isinstance(outcome, Outside):
                return outcome
            if len(context.outcomes) >= MOST_EFFECTS:
                raise ServiceUnavailableException("The provider's keys could not be had.")
            made = [await self._performer.perform(effect) for effect in outcome.effects]
            context = replace(context, outcomes=(*context.outcomes, *made))

    async def _id_token(self, provider: Provider, asked: Mapping[str, str], kept: str) -> str:
        """The ID token for the code that the browser brought."""
        if asked.get("iss", provider.issuer).rstrip("/") != provider.issuer.rstrip("/"):
            raise SignInRefused("The answer is another provider's.")
        if "error" in asked:
            said = re.sub(r"[^\w .-]", "", asked["error"], flags=re.ASCII)[:64]
            raise SignInRefused(f"The provider did not sign you in: {said}")
        if not asked.get("code"):
            raise SignInRefused("The provider's answer has no code.")
        endpoints = await self._endpoints(provider)
        form = {
            "grant_type": "authorization_code",
            "code": asked["code"],
            "redirect_uri": self._public_url() + CALLBACK,
            "code_verifier": federation.derived(kept, "verifier"),
        }
        authorization = ""
        if provider.secret and not endpoints.secret_in_body:
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.secret)}"
            authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = provider.client_id
            if provider.secret:
                form["client_secret"] = provider.secret
        answer = await self._fetcher.post(endpoints.token, urlencode(form), authorization, MOST_BYTES, SECONDS)
        if isinstance(answer, Failed):
            raise SignInRefused(f"The provider did not take the code: {answer.reason}")
        told = _object(answer)
        if not isinstance(told.get("id_token"), str):
            raise SignInRefused("The provider gave no ID token.")
        return str(told["id_token"])

    def _provider(self, name: str) -> Provider:
        if not name and len(self._providers) == 1:
            return next(iter(self._providers.values()))
        if name not in self._providers:
            names = ", ".join(self._providers) or "none"
            raise ValidationException(f"Say which provider with ?provider=NAME; known are: {names}.")
        return self._providers[name]

    async def _endpoints(self, provider: Provider) -> Endpoints:
        """By discovery, remembered for an hour; a failure for some seconds, so that nobody has us ask all the time."""
        known = self._known[provider.name]
        async with known.lock:
            if known.until is None or self._now() >= known.until:
                known.endpoints = await self._discovered(provider)
                good_for = FAILURE_GOOD_FOR if known.endpoints is None else DISCOVERY_GOOD_FOR
                known.until = self._now() + good_for
        if known.endpoints is None:
            raise ServiceUnavailableException(f"{provider.title} cannot be asked at this moment; try again later.")
        return known.endpoints

    async def _discovered(self, provider: Provider) -> Endpoints | None:
        url = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
        answer = await self._fetcher.fetch(url, MOST_BYTES, SECONDS)
        told = {} if isinstance(answer, Failed) else _object(answer)
        where = [told.get(f"{name}_endpoint") for name in ("authorization", "token")]
        if told.get("issuer") != provider.issuer or not all(_is_https(each) for each in where):
            return None
        methods = told.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        in_body = isinstance(methods, list) and "client_secret_basic" not in methods
        return Endpoints(str(where[0]), str(where[1]), in_body)


def _is_https(url: object) -> bool:
    return isinstance(url, str) and url.startswith("https://") and url.isascii() and url.isprintable()


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _query(exchange: Exchange) -> dict[str, str]:
    """The query's fields; ValidationException when one is there twice, or there are many."""
    try:
        pairs = parse_qsl(exchange.query, keep_blank_values=True, max_num_fields=32)
    except ValueError as fault:
        raise ValidationException("The query has too many fields.") from fault
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValidationException("The query has a field twice.")
    return dict(pairs)


def _loopback(asked: Mapping[str, str]) -> dict[str, str]:
    """Where a command line waits, with its challenge and state; nothing when the browser signs in for itself."""
    if "redirect_uri" not in asked:
        return {}
    target, challenge, shown = (asked.get(name, "") for name in ("redirect_uri", "code_challenge", "state"))
    if not LOOPBACK.fullmatch(target) or not CHALLENGE.fullmatch(challenge) or not SHOWN.fullmatch(shown):
        raise ValidationException("redirect_uri has to be http://127.0.0.1:PORT/, with code_challenge and state.")
    return {"target": target, "challenge": challenge, "shown": shown}


def _page(waiting: federation.CodeFor) -> bytes:
    """A link to press: no page of another site can have a browser sign a program in by itself."""
    link = f"{waiting.target}?{urlencode({'code': waiting.code, 'state': waiting.shown})}"
    check = html.escape(waiting.challenge[:CHECK_LETTERS])
    return (
        "<!doctype html><meta charset=utf-8><title>Fleetward</title>"
        "<h1>Sign in on the command line?</h1>"
        f"<p>A program on this computer wants to act as you. Go on only if it shows <b>{check}</b>.</p>"
        f'<p><a href="{html.escape(link)}">Sign in on the command line</a></p>\n'
    ).encode()
