"""Web tokens: only what the provider's keys have signed, by an algorithm that fits the key, in time."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.iam import web_tokens
from tests.identity_provider import IdentityProvider, text_of


@pytest.fixture(scope="module")
def signer() -> Iterator[IdentityProvider]:
    """A provider with its keys."""
    made = IdentityProvider()
    yield made
    made.close()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_signed_token_is_verified_and_a_changed_one_is_not(signer: IdentityProvider, algorithm: str) -> None:
    keys = web_tokens.usable_keys(json.dumps({"keys": signer.keys()}).encode())
    text = signer.token(algorithm)
    token = web_tokens.parse(text)
    web_tokens.verify(token, keys)
    assert (token.issuer, token.audiences, token.text("sub")) == (signer.issuer, ["app"], "alice")
    head, _, signature = text.split(".")
    forged = text_of(json.dumps({**token.claims, "sub": "mallory"}).encode())
    with pytest.raises(web_tokens.BadToken):
        web_tokens.verify(web_tokens.parse(f"{head}.{forged}.{signature}"), keys)
    with pytest.raises(web_tokens.BadToken):
        web_tokens.verify(web_tokens.parse(text), [key for key in keys if key["kid"] != token.key_id])


def test_no_public_key_is_taken_for_a_shared_secret(signer: IdentityProvider) -> None:
    secret = json.dumps(signer.keys()[0]).encode()
    for algorithm in ("none", "HS256", "None", "RS1", ""):
        head = text_of(json.dumps({"alg": algorithm, "kid": "one"}).encode())
        body = f"{head}.{text_of(b'{}')}"
        signature = text_of(hmac.new(secret, body.encode(), hashlib.sha256).digest())
        with pytest.raises(web_tokens.BadToken, match="algorithm"):
            web_tokens.parse(f"{body}.{signature}")


def test_an_algorithm_must_fit_its_key(signer: IdentityProvider) -> None:
    keys = web_tokens.usable_keys(json.dumps({"keys": signer.keys()}).encode())
    crossed = web_tokens.parse(signer.token("RS256", key_id="two"))
    assert not web_tokens.knows(keys, crossed)
    small = {**keys[0], "n": text_of(2**1023 + 1)}
    with pytest.raises(web_tokens.BadToken):
        web_tokens.verify(web_tokens.parse(signer.token()), [small])


@pytest.mark.parametrize(
    ("claim", "value", "outcome"),
    [
        ("aud", "audience", False),
        ("exp", timedelta(hours=-1), True),
        ("exp", timedelta(seconds=-30), False),
        ("exp", None, None),
        ("exp", "soon", None),
        ("exp", True, None),
        ("nbf", timedelta(hours=1), None),
        ("iat", timedelta(hours=1), None),
    ],
)
def test_tokens_have_their_time(signer: IdentityProvider, claim: str, value: object, outcome: bool | None) -> None:
    now = datetime.now(UTC)
    stated = int((now + value).timestamp()) if isinstance(value, timedelta) else value
    token = web_tokens.parse(signer.token(**{claim: stated}))
    if outcome is None:
        with pytest.raises(web_tokens.BadToken):
            web_tokens.check_times(token, now)
    else:
        assert web_tokens.check_times(token, now) is outcome


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda part: f"{text_of(part)}.{text_of(part)}.x"))
def test_anything_else_is_a_bad_token_and_no_failure(text: str) -> None:
    with pytest.raises(web_tokens.BadToken):
        web_tokens.parse(text)


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 5}', b'{"keys"'])
def test_key_sets_that_are_none_are_refused(document: bytes) -> None:
    with pytest.raises(web_tokens.BadToken):
        web_tokens.usable_keys(document)
    assert web_tokens.usable_keys(b'{"keys": [5, {"kty": "oct", "k": "x"}, {"kty": "RSA", "use": "enc"}]}') == []
