"""Roles for whom an identity provider vouches: AssumeRoleWithWebIdentity, for any OIDC provider of the account.

token -> its issuer is a provider of the role's account -> the provider's keys, remembered for a day
                                                              | unknown key: discovery, then key set, by FetchUrl
signature, audience, expiry -> the role's trust policy, on what the token says -> credentials
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import Row

from fleetward.server.call import Call
from fleetward.server.effects import Failed, FetchUrl, Outside
from fleetward.server.errors import AccessDeniedException
from fleetward.server.iam import evaluate, oidc_providers, principals, web_tokens
from fleetward.server.iam.context import of_request
from fleetward.server.iam.web_tokens import BadToken, WebToken
from fleetward.server.service import nobody_is_denied
from fleetward.server.sts import issue, roles
from fleetward.server.sts.errors import (
    ExpiredTokenException,
    IDPCommunicationErrorException,
    InvalidIdentityTokenException,
)
from fleetward.server.sts.service import sts

ACTION = "sts:AssumeRoleWithWebIdentity"
KEYS_GOOD_FOR = timedelta(days=1)
ASK_AGAIN_AFTER = timedelta(minutes=1)
"""A key that is not known has the provider asked again, so often at most."""
CLAIMS = ("sub", "email", "azp", "oaud", "amr", "groups")
"""What trust policies may ask of a token, besides its audience."""
_ANYONE = evaluate.PolicySet(
    identity=(
        evaluate.compile_policy(
            {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ACTION, "Resource": "*"}}, name="token"
        ),
    )
)


@sts.operation("AssumeRoleWithWebIdentity", resources=nobody_is_denied, audience="anyone")
def assume_role_with_web_identity(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | Outside:
    """Temporary credentials of a role, when its trust policy allows it to the token's bearer, who signs nothing."""
    role = roles.find_role(call, request["RoleArn"])
    checked = verified(call, role, request["WebIdentityToken"])
    if isinstance(checked, Outside):
        return checked
    token, provider = checked
    audience = audience_of(token, provider)
    authorize(call, request["RoleArn"], role, provider, token.claims, audience, request["RoleSessionName"])
    assert role is not None
    return _begun(call, request, role, provider, token, audience)


def verified(call: Call, role: principals.Role | None, text: str) -> tuple[WebToken, Row[Any]] | Outside:
    """A token that is good at present, and the provider that has signed it; its keys may have to be fetched first."""
    try:
        token = web_tokens.parse(text)
        provider = _provider(call, role, token)
        keys = _keys(call, provider, token)
        if isinstance(keys, Outside):
            return keys
        web_tokens.verify(token, keys)
        expired = web_tokens.check_times(token, call.now)
    except BadToken as fault:
        raise InvalidIdentityTokenException(str(fault)) from fault
    if expired:
        raise ExpiredTokenException("The web identity token is past its time")
    return token, provider


def _provider(call: Call, role: principals.Role | None, token: WebToken) -> Row[Any]:
    """The provider of the role's account that the token names; roles that are not there look like those without."""
    account = role.account if role is not None else call.account
    url = token.issuer.removeprefix("https://").rstrip("/")
    row = oidc_providers.look_up(call, account, url) if token.issuer.startswith("https://") else None
    if row is None:
        raise InvalidIdentityTokenException("No OpenIDConnect provider found in your account for the token's issuer")
    return row


def _keys(call: Call, provider: Row[Any], token: WebToken) -> Sequence[Mapping[str, Any]] | Outside:
    """The provider's keys: those remembered, or what discovery and the key set say."""
    if not call.context.outcomes:
        known, age = provider.keys or [], call.now - provider.keys_at if provider.keys_at is not None else None
        if age is not None and age < KEYS_GOOD_FOR and (web_tokens.knows(known, token) or age < ASK_AGAIN_AFTER):
            return list(known)
        return Outside((FetchUrl(f"https://{provider.url}/.well-known/openid-configuration"),))
    latest = call.context.outcomes[-1]
    if isinstance(latest, Failed):
        raise IDPCommunicationErrorException(f"The identity provider could not be asked: {latest.reason}")
    if len(call.context.outcomes) == 1:
        return Outside((FetchUrl(_key_set_url(latest, provider)),))
    found = web_tokens.usable_keys(latest)
    oidc_providers.keep_keys(call, provider, found)
    return found


def _key_set_url(document: bytes, provider: Row[Any]) -> str:
    try:
        told = orjson.loads(document)
        issuer, url = str(told["issuer"]), str(told["jwks_uri"])
    except (ValueError, KeyError, TypeError) as fault:
        raise BadToken("The provider's discovery document cannot be read") from fault
    if issuer.removeprefix("https://").rstrip("/") != provider.url:
        raise BadToken("The provider's discovery document is of another issuer")
    return url


def origin(provider_arn: str, claims: Mapping[str, Any]) -> str:
    """Who a token's bearer is, whichever role he takes."""
    return f"{provider_arn}:{claims.get('sub', '')}"


def audience_of(token: WebToken, provider: Row[Any]) -> str:
    """The audience that counts: the authorized party where there is one, as AWS has it, else the token's own."""
    for audience in [token.text("azp"), *token.audiences]:
        if audience in provider.client_ids:
            return audience
    raise InvalidIdentityTokenException("Incorrect token audience")


def authorize(
    call: Call,
    arn: str,
    role: principals.Role | None,
    provider: Row[Any],
    claims: Mapping[str, Any],
    audience: str,
    session_name: str,
) -> None:
    """The trust policy, for the provider as principal and with what the token says as conditions."""
    asked = call.context
    context: dict[str, str | Sequence[str]] = {
        **of_request(
            now=call.now,
            region=call.region,
            source_ip=asked.source_ip,
            secure=asked.secure,
            user_agent=asked.user_agent,
            referer=asked.referer,
        ),
        "sts:RoleSessionName": session_name,
        f"{provider.url}:aud": audience,
    }
    for name in CLAIMS:
        value = claims.get(name)
        if isinstance(value, str):
            context[f"{provider.url}:{name}"] = value
        elif isinstance(value, list):
            context[f"{provider.url}:{name}"] = [each for each in value if isinstance(each, str)]
    names = (f"Federated:{oidc_providers.arn_of(provider.account_id, provider.url)}",)
    own = () if role is None else (principals.trust_policy(role),)
    policies = _ANYONE.with_resource(own, evaluate.ResourceRule.MUST_ALLOW)
    if not evaluate.decide(policies, evaluate.Request(ACTION, arn, context, names)).allowed:
        raise AccessDeniedException("Not authorized to perform sts:AssumeRoleWithWebIdentity")


def _begun(
    call: Call, request: Mapping[str, Any], role: principals.Role, provider: Row[Any], token: WebToken, audience: str
) -> dict[str, Any]:
    session = issue.requested(call, request)
    arn = oidc_providers.arn_of(provider.account_id, provider.url)
    more = {"provider": arn, "origin": origin(arn, token.claims)}
    made = roles.begun(call, request, role, replace(session, more=more))
    return {**made, "SubjectFromWebIdentityToken": token.text("sub"), "Provider": arn, "Audience": audience}
