"""The way to an OIDC provider and back, on a clock that is moved; and the operator's file about providers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from fleetward.server.keys import token_hash
from fleetward.server.service import Entry
from fleetward.server.settings import SettingsFault
from fleetward.server.sign_ins import federation, providers
from fleetward.server.sign_ins.errors import SignInRefused
from fleetward.server.sign_ins.tables import codes
from tests.server.conftest import World
from tests.server.test_sign_ins import at, both

pytest_plugins = ["tests.services"]
COUNT = select(func.count()).select_from(codes)
GOOD = """
[[provider]]
name = "corp"
issuer = "https://login.example.com"
client_id = "fleetward"
[[provider.role]]
role = "arn:aws:iam::123456789012:role/ReadOnly"
"""


def begun(world: World) -> federation.Arrival:
    """What the browser would bring back."""
    cookie = "c" * 43
    flow = {"provider": "corp", "browser": token_hash(cookie)}
    state = world.submit(Entry("start", federation.start, reads=True), at(world), flow)
    return federation.Arrival(state, cookie)


def arrive(world: World, arrival: federation.Arrival) -> Any:
    """It comes back."""
    return world.submit(Entry("arrive", federation.arrive), at(world), arrival)


@both
def test_the_way_takes_ten_minutes_at_most_and_leaves_nothing(world: World) -> None:
    late, once = begun(world), begun(world)
    world.clock.advance(timedelta(minutes=9, seconds=59))
    assert arrive(world, once).provider == "corp"
    with pytest.raises(SignInRefused, match="used before"):
        arrive(world, once)
    world.clock.advance(timedelta(seconds=1))
    with pytest.raises(SignInRefused, match="ten minutes"):
        arrive(world, late)
    with pytest.raises(SignInRefused, match="ten minutes"):
        arrive(world, once)
    assert world.do(lambda call: call.db.value(COUNT)) == 1
    world.clock.advance(timedelta(seconds=1))
    world.do(federation.forget)
    assert world.do(lambda call: call.db.value(COUNT)) == 0


@both
def test_a_code_is_good_for_two_minutes_and_a_state_is_no_code(world: World) -> None:
    used = begun(world)
    arrive(world, used)
    with pytest.raises(SignInRefused):
        redeem(world, used.state, "")
    challenge = federation.challenge_of("verifier")
    until = world.clock.now() + federation.CODE_LASTS
    world.do(lambda call: federation._add_code(call, token_hash("code"), challenge, "{}", until))
    world.clock.advance(federation.CODE_LASTS)
    with pytest.raises(SignInRefused):
        redeem(world, "code", "verifier")


def redeem(world: World, code: str, verifier: str) -> Any:
    """A command line shows a code."""
    return world.submit(Entry("redeem", federation.redeem), at(world), federation.Redemption(code, verifier))


def test_nonce_verifier_and_challenge_are_different_and_need_the_cookie() -> None:
    made = {federation.derived(cookie, what) for cookie in ("a", "b") for what in ("nonce", "verifier")}
    assert len(made) == 4
    assert all(len(each) == 43 for each in made)
    # RFC 7636, appendix B
    assert federation.challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == (
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_the_first_role_that_fits_counts() -> None:
    rules = (
        providers.RoleRule("groups", "a", "first"),
        providers.RoleRule("team", "b", "second"),
        providers.RoleRule("", "", "rest"),
    )
    provider = providers.Provider("p", "p", "https://p", "c", "", ("openid",), "email", rules)
    assert provider.role_of({"groups": ["a"], "team": "b"}) == "first"
    assert provider.role_of({"groups": "abc", "team": "b"}) == "second"
    assert provider.role_of({"groups": {"a": 1}, "team": ["c"]}) == "rest"
    assert "secret" not in repr(providers.Provider("p", "p", "", "c", "secret", (), "", rules)).replace("secret=", "")


def test_a_file_of_providers_is_read_with_its_secrets(tmp_path: Path) -> None:
    file, secret = tmp_path / "providers.toml", tmp_path / "secret"
    secret.write_text("from a file\n")
    secret.chmod(0o600)
    other = GOOD.replace('"corp"', '"other"').replace("client_id", 'client_secret_env = "OF_OTHER"\nclient_id')
    given = GOOD.replace("client_id", f'client_secret_file = "{secret}"\nclient_id')
    file.write_text(given + other)
    found = providers.load(str(file), {"OF_OTHER": "from the environment"})
    assert {name: each.secret for name, each in found.items()} == {
        "corp": "from a file",
        "other": "from the environment",
    }
    assert found["corp"].scopes == ("openid", "email")
    assert providers.load("") == {}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('name = "corp"', 'name = "Corp"', "lower-case"),
        ("https://login", "http://login", "https"),
        ('client_id = "fleetward"', "", "client_id"),
        ('client_id = "fleetward"', "client_id = 1", "wrong type"),
        ('client_id = "fleetward"', 'client_id = "x"\nclient_secret = "x"', "client_secret is not a member"),
        ('client_id = "fleetward"', 'client_id = "x"\nscopes = ["email"]', "openid"),
        ('client_id = "fleetward"', 'client_id = "x"\nclient_secret_env = "NOT_SET"', "NOT_SET"),
        ('client_id = "fleetward"', 'client_id = "x"\nclient_secret_file = "/nowhere"', "cannot read"),
        ("[[provider.role]]", "[provider.more]", "more"),
        ("role/ReadOnly", "user/x", "role table"),
        ('role = "arn', 'claim = "x"\nrole = "arn', "role table"),
        ("[[provider]]", "[[providers]]", "nothing else"),
        ("[[provider]]", "[[provider", "TOML"),
        (GOOD, GOOD + GOOD, "same name"),
    ],
)
def test_what_is_wrong_with_a_file_of_providers_is_named(tmp_path: Path, before: str, after: str, words: str) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(GOOD.replace(before, after))
    with pytest.raises(SettingsFault, match=words):
        providers.load(str(file), {})


def test_a_secret_that_others_read_is_refused(tmp_path: Path) -> None:
    file, secret = tmp_path / "providers.toml", tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    file.write_text(GOOD.replace("client_id", f'client_secret_file = "{secret}"\nclient_id'))
    with pytest.raises(SettingsFault, match="chmod 600"):
        providers.load(str(file), {})
    with pytest.raises(SettingsFault, match="cannot read the providers' file"):
        providers.load(str(tmp_path / "none"))
