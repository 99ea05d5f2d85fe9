"""Signing in by an OIDC provider on a real server: there and back, and all that must not get anybody in."""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.identities import ROOT_TRUST, allow, keys_of, new_role, trust
from tests.identity_provider import authority, text_of
from tests.oidc_provider import CLIENT, SECRET, SignInProvider
from tests.server.edge.test_console import ended, everything
from tests.serving import ACCOUNT, ServerProcess, StartServer, eventually
from tests.signing_in import REFRESH, Browser, keys
from tests.trail import trail

FLOW = "__Host-fleetward-oidc"
ACTION = "sts:AssumeRoleWithWebIdentity"
VERIFIER = "v" * 64
CHALLENGE = text_of(hashlib.sha256(VERIFIER.encode()).digest())
LOOPBACK = {"redirect_uri": "http://127.0.0.1:65001/", "code_challenge": CHALLENGE, "state": "s" * 32}


@pytest.fixture(scope="module")
def corp() -> Iterator[SignInProvider]:
    """The provider."""
    made = SignInProvider()
    yield made
    made.close()


@pytest.fixture
def honest(corp: SignInProvider) -> SignInProvider:
    """The provider, telling the truth."""
    corp.reset()
    return corp


def providers_file(folder: Path, provider: SignInProvider) -> Path:
    """The operator's file about the provider, one that is down, and one that answers nonsense."""
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    file = folder / "providers.toml"
    rules = "\n".join(
        f'[[provider.role]]\nclaim = "groups"\nvalue = "{group}"\nrole = "arn:aws:iam::{ACCOUNT}:role/{role}"'
        for group, role in (("operators", "Operators"), ("guests", "Guests"), ("ghosts", "Ghosts"))
    )
    file.write_text(
        f'[[provider]]\nname = "corp"\ntitle = "Corporate <account>"\nissuer = "{provider.issuer}"\n'
        f'client_id = "{CLIENT}"\nclient_secret_file = "{secret}"\nscopes = ["openid", "email", "groups"]\n{rules}\n'
        f'[[provider]]\nname = "down"\nissuer = "https://127.0.0.1:1"\nclient_id = "x"\n{rules}\n'
    )
    return file


@pytest.fixture(scope="module")
def server(
    start_server_of_module: StartServer, corp: SignInProvider, tmp_path_factory: pytest.TempPathFactory
) -> ServerProcess:
    """A server whose people sign in with the provider."""
    file = providers_file(tmp_path_factory.mktemp("oidc"), corp)
    started = start_server_of_module(oidc=file, allow_fetch="127.0.0.0/8", fetch_ca=authority().ca)
    iam = started.client("iam")
    iam.create_open_id_connect_provider(Url=corp.issuer, ClientIDList=[CLIENT, "another-of-ours"])
    for role, who in (("Operators", "alice"), ("Guests", "nobody-at-all")):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trusting(corp, who))
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow("ssm:ListNodes", "sts:AssumeRole")]})
        iam.put_role_policy(RoleName=role, PolicyName="own", PolicyDocument=policy)
    return started


def trusting(provider: SignInProvider, subject: str) -> str:
    """A trust policy for one of the provider's people."""
    arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider.host}"
    tests = {"StringEquals": {f"{provider.host}:sub": subject, f"{provider.host}:aud": CLIENT}}
    return trust({"Federated": arn}, ACTION, Condition=tests)


def path_of(url: str) -> str:
    """Path and query."""
    return url.partition("://")[2].partition("/")[2].join(["/", ""])


def there(browser: Browser, provider: SignInProvider, **asked: str) -> str:
    """Begin, and be sent back by the provider: the path of the callback."""
    answer = browser.send("GET", f"/console/oidc/start?{urlencode({'provider': 'corp', **asked})}")
    assert answer.status == 303, answer.body
    return path_of(provider.authorize(answer.headers["location"]))


def sign_in(server: ServerProcess, provider: SignInProvider) -> Browser:
    """A browser that has been there and back."""
    browser = Browser(server)
    answer = browser.send("GET", there(browser, provider))
    assert (answer.status, answer.headers.get("location")) == (303, "/console/"), answer.body
    return browser


def refused(browser: Browser, path: str) -> str:
    """The sentence of a callback that lets nobody in."""
    answer = browser.send("GET", path)
    assert 400 <= answer.status < 500, answer.body
    assert answer.headers["content-type"].startswith("text/plain")
    assert REFRESH not in browser.cookies
    return answer.body.decode()


# -- there and back ---------------------------------------------------------------------------------------------------


def test_a_claim_gives_short_lived_keys_of_a_role(server: ServerProcess, honest: SignInProvider) -> None:
    browser = sign_in(server, honest)
    assert FLOW not in browser.cookies
    answer = browser.refresh()
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/Operators/alice@example.com"
    assert server.client("sts", keys(answer)).get_caller_identity()["Arn"] == answer.json["Arn"] == session
    assert server.call("ListNodes", {}, keys(answer)).status == 200
    assert server.call("ListDocuments", {}, keys(answer)).code == "AccessDeniedException"
    listed = server.call("ListSignIns", {}, server.root, service="fleetward").json["SignIns"]
    (found,) = [each for each in listed if each["SignInId"] == answer.json["SignInId"]]
    assert (found["Provider"], found["UserName"], found["Arn"]) == ("corp", "alice@example.com", session)
    records = [each for each in trail(server, session, 1) if each["eventName"] == "ConsoleLogin"]
    assert records[0]["requestParameters"] == {
        "UserName": "alice@example.com",
        "ConsoleLogin": "Success",
        "MFAUsed": "No",
        "Provider": "corp",
    }


def test_the_cookie_of_the_way_comes_back_from_another_site_and_lasts_ten_minutes(
    server: ServerProcess, honest: SignInProvider
) -> None:
    browser = Browser(server)
    there(browser, honest)
    (text,) = browser.set
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age=600"} <= set(text.split("; "))


def test_providers_are_listed_without_their_secrets(server: ServerProcess) -> None:
    answer = Browser(server).send("GET", "/console/providers")
    assert answer.json == {
        "Providers": [{"Name": "corp", "Title": "Corporate <account>"}, {"Name": "down", "Title": "down"}]
    }


def test_a_role_that_trusts_no_more_ends_the_sign_in_at_the_next_refresh(
    server: ServerProcess, honest: SignInProvider
) -> None:
    browser = sign_in(server, honest)
    iam = server.client("iam")
    iam.update_assume_role_policy(RoleName="Operators", PolicyDocument=trusting(honest, "bob"))
    try:
        assert browser.refresh().code == "SignInEnded"
        other = Browser(server)
        assert "Not authorized" in refused(other, there(other, honest))
    finally:
        iam.update_assume_role_policy(RoleName="Operators", PolicyDocument=trusting(honest, "alice"))
    assert browser.refresh().code == "SignInEnded"


def test_keys_of_roles_assumed_by_a_sign_in_end_with_it(server: ServerProcess, honest: SignInProvider) -> None:
    browser = sign_in(server, honest)
    arn = new_role(server, ROOT_TRUST, allow("ssm:ListNodes"))
    made = server.client("sts", keys(browser.refresh())).assume_role(RoleArn=arn, RoleSessionName="next")
    assert server.call("ListNodes", {}, keys_of(made)).status == 200
    browser.send("DELETE")
    eventually(lambda: ended(server, keys_of(made)), within=1.0)


# -- who must not get in ----------------------------------------------------------------------------------------------


def test_an_answer_is_good_once(server: ServerProcess, honest: SignInProvider) -> None:
    browser = Browser(server)
    path = there(browser, honest)
    kept = dict(browser.cookies)
    assert browser.send("GET", path).status == 303
    assert "used before" in refused(Browser(server, cookies=kept), path)
    code = parse_qs(urlsplit(path).query)["code"][0]
    again = Browser(server)
    state = parse_qs(urlsplit(there(again, honest)).query)["state"][0]
    replayed = f"/console/oidc/callback?{urlencode({'code': code, 'state': state})}"
    assert "HTTP 400" in refused(again, replayed)


def test_an_answer_is_good_in_the_browser_that_asked_alone(server: ServerProcess, honest: SignInProvider) -> None:
    """Fixation: an attacker's own answer in somebody's browser signs nobody in."""
    attacker, victim = Browser(server), Browser(server)
    path = there(attacker, honest)
    assert "not begun in this browser" in refused(victim, path)
    there(victim, honest)
    assert "not begun in this browser" in refused(victim, path)
    assert attacker.send("GET", path).status == 303


@pytest.mark.parametrize("state", ["", "x", "A" * 300, "A" * 5000, "%FF%00"])
def test_a_state_that_is_not_ours_is_refused(server: ServerProcess, honest: SignInProvider, state: str) -> None:
    browser = Browser(server)
    there(browser, honest)
    assert "not begun in this browser" in refused(browser, f"/console/oidc/callback?code=x&state={state}")


def test_a_changed_state_is_refused(server: ServerProcess, honest: SignInProvider) -> None:
    browser = Browser(server)
    path = there(browser, honest)
    state = parse_qs(urlsplit(path).query)["state"][0]
    changed = state[:40] + ("A" if state[40] != "A" else "B") + state[41:]
    assert "not begun" in refused(browser, path.replace(state, changed))


def without_signature(provider: SignInProvider, claims: dict[str, Any]) -> str:
    """`alg: none`."""
    body = provider.token(**claims).split(".")[1]
    return f"{text_of(json.dumps({'alg': 'none'}).encode())}.{body}."


def with_the_public_key_as_secret(provider: SignInProvider, claims: dict[str, Any]) -> str:
    """HS256 over the key that everybody knows."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    known = provider.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = provider.token(**claims).split(".")[1]
    signed = f"{text_of(json.dumps({'alg': 'HS256', 'kid': 'one'}).encode())}.{body}"
    return f"{signed}.{text_of(hmac.digest(known, signed.encode(), 'sha256'))}"


def with_other_claims(provider: SignInProvider, claims: dict[str, Any]) -> str:
    """One token's signature under another's claims."""
    head, _, signature = provider.token(**claims).split(".")
    return f"{head}.{provider.token(**{**claims, 'sub': 'mallory'}).split('.')[1]}.{signature}"


FORGED: dict[str, Callable[[SignInProvider, dict[str, Any]], str]] = {
    "another sign-in's nonce": lambda provider, claims: provider.token(**{**claims, "nonce": "other"}),
    "no nonce": lambda provider, claims: provider.token(**{**claims, "nonce": ""}),
    "another audience": lambda provider, claims: provider.token(**{**claims, "aud": "somebody-else"}),
    "another audience of ours": lambda provider, claims: provider.token(**{**claims, "aud": "another-of-ours"}),
    "authorized for another": lambda provider, claims: provider.token(**{**claims, "azp": "another-of-ours"}),
    "another issuer": lambda provider, claims: provider.token(**{**claims, "iss": "https://evil.example"}),
    "expired": lambda provider, claims: provider.token(**{**claims, "exp": int(time.time()) - 120}),
    "never expires": lambda provider, claims: provider.token(**{**claims, "exp": None}),
    "not good yet": lambda provider, claims: provider.token(**{**claims, "iat": int(time.time()) + 600}),
    "about nobody": lambda provider, claims: provider.token(**{**claims, "sub": ""}),
    "alg none": without_signature,
    "HS256 with the public key": with_the_public_key_as_secret,
    "other claims": with_other_claims,
    "an unknown key": lambda provider, claims: provider.token(key_id="three", **claims),
    "the wrong kind of key": lambda provider, claims: provider.token(key_id="two", **claims),
    "no token": lambda provider, claims: "not a token",
    "a huge token": lambda provider, claims: provider.token(**{**claims, "more": "x" * 30_000}),
    "no role": lambda provider, claims: provider.token(**{**claims, "groups": ["staff"]}),
    "groups that are no list": lambda provider, claims: provider.token(**{**claims, "groups": {"operators": 1}}),
    "a role that does not trust": lambda provider, claims: provider.token(**{**claims, "groups": ["guests"]}),
    "a role that is not there": lambda provider, claims: provider.token(**{**claims, "groups": ["ghosts"]}),
}


@pytest.mark.parametrize("what", FORGED)
def test_an_id_token_that_is_not_for_this_sign_in_lets_nobody_in(
    server: ServerProcess, honest: SignInProvider, what: str
) -> None:
    honest.forge = lambda claims: FORGED[what](honest, claims)
    browser = Browser(server)
    refused(browser, there(browser, honest))
    assert browser.cookies == {}
    honest.reset()
    assert sign_in(server, honest).refresh().status == 200


def test_another_providers_answer_is_refused(server: ServerProcess, honest: SignInProvider) -> None:
    """Mix-up (RFC 9207)."""
    honest.back = {"iss": "https://evil.example"}
    browser = Browser(server)
    assert "another provider" in refused(browser, there(browser, honest))
    honest.back = {"iss": honest.issuer}
    assert sign_in(server, honest).refresh().status == 200


def test_what_a_provider_says_is_shown_as_text(server: ServerProcess, honest: SignInProvider) -> None:
    honest.back = {"error": "access_denied<script>"}
    browser = Browser(server)
    said = refused(browser, there(browser, honest))
    assert said.strip().endswith("access_deniedscript")


def test_a_provider_that_is_down_stops_nobody_else(server: ServerProcess, honest: SignInProvider) -> None:
    assert Browser(server).send("GET", "/console/oidc/start?provider=down").status == 503
    assert sign_in(server, honest).refresh().status == 200


@pytest.mark.parametrize("query", ["", "?provider=other", "?provider=corp&provider=corp", "?" + "&".join("a" * 40)])
def test_a_start_without_a_known_provider_is_refused(server: ServerProcess, query: str) -> None:
    assert Browser(server).send("GET", f"/console/oidc/start{query}").status == 400


def test_who_brings_wrong_answers_over_and_over_has_to_wait(server: ServerProcess, honest: SignInProvider) -> None:
    browser = Browser(server)
    honest.forge = lambda claims: "not a token"
    statuses = [browser.send("GET", there(browser, honest)).status for _ in range(23)]
    assert statuses[:20] == [400] * 20
    assert 429 in statuses[20:]


# -- a command line that waits ----------------------------------------------------------------------------------------


def code_of(browser: Browser, provider: SignInProvider) -> str:
    """The code behind the link that somebody would press."""
    answer = browser.send("GET", there(browser, provider, **LOOPBACK))
    assert answer.status == 200, answer.body
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    text = answer.body.decode()
    assert CHALLENGE[:6] in text
    (link,) = re.findall(r'href="([^"]+)"', text)
    url, _, query = html.unescape(link).partition("?")
    asked = parse_qs(query)
    assert (url, asked["state"]) == (LOOPBACK["redirect_uri"], [LOOPBACK["state"]])
    assert REFRESH not in browser.cookies
    return asked["code"][0]


def test_a_code_signs_in_once_who_made_the_challenge(server: ServerProcess, honest: SignInProvider) -> None:
    program = Browser(server, agent="program")
    code = code_of(Browser(server), honest)
    answer = program.post({"Code": code, "CodeVerifier": VERIFIER})
    assert server.call("ListNodes", {}, keys(answer)).status == 200
    assert program.refresh().status == 200
    assert Browser(server).post({"Code": code, "CodeVerifier": VERIFIER}).code == "SignInRefused"


def test_a_code_shown_with_a_wrong_verifier_is_used_up(server: ServerProcess, honest: SignInProvider) -> None:
    code = code_of(Browser(server), honest)
    assert Browser(server).post({"Code": code, "CodeVerifier": "w" * 64}).code == "SignInRefused"
    assert Browser(server).post({"Code": code, "CodeVerifier": VERIFIER}).code == "SignInRefused"


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://127.0.0.1.evil.example:1/"},
        {"redirect_uri": "http://127.0.0.1:1@evil.example/"},
        {"redirect_uri": "http://localhost:1/"},
        {"redirect_uri": "http://127.0.0.1:1/other"},
        {"redirect_uri": "http://127.0.0.1:1/\n"},
        {"redirect_uri": ""},
        {"code_challenge": ""},
        {"code_challenge": "plain"},
        {"state": ""},
        {"state": '"><script>alert(1)</script>'},
    ],
)
def test_codes_go_to_loopback_with_a_challenge_and_nowhere_else(server: ServerProcess, change: dict[str, str]) -> None:
    query = urlencode({"provider": "corp", **LOOPBACK, **change})
    assert Browser(server).send("GET", f"/console/oidc/start?{query}").status == 400


# -- what must be nowhere ---------------------------------------------------------------------------------------------


def test_no_secret_of_the_way_is_written_anywhere(
    start_server: StartServer, honest: SignInProvider, tmp_path: Path
) -> None:
    file = providers_file(tmp_path, honest)
    server = start_server(oidc=file, allow_fetch="127.0.0.0/8", fetch_ca=authority().ca)
    iam = server.client("iam")
    iam.create_open_id_connect_provider(Url=honest.issuer, ClientIDList=[CLIENT])
    iam.create_role(RoleName="Operators", AssumeRolePolicyDocument=trusting(honest, "alice"))
    browser = Browser(server)
    path = there(browser, honest)
    secret = [browser.cookies[FLOW], *parse_qs(urlsplit(path).query)["code"], *parse_qs(urlsplit(path).query)["state"]]
    assert browser.send("GET", path).status == 303
    secret += [SECRET, honest.tokens[-1], browser.cookies[REFRESH], str(keys(browser.refresh()).session_token)]
    secret += [browser.cookies[REFRESH], code_of(Browser(server), honest)]
    server.stop()
    assert [each for each in secret if each.encode() in everything(server)] == []
    assert b"alice@example.com" in everything(server)
