"""Sign-ins without an edge, on both databases and a clock that is moved: pauses, idle ends, bounds, listing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from fleetward.server.call import Call, Context, anonymous
from fleetward.server.iam import sign_in, users
from fleetward.server.iam.tables import accounts, login_profiles
from fleetward.server.service import Entry
from fleetward.server.sign_ins import password, sessions, tries
from fleetward.server.sign_ins.errors import (
    PasswordChangeRequired,
    SignInDoesNotExist,
    SignInEnded,
    SignInRefused,
    TooManyTries,
)
from fleetward.server.sign_ins.tables import devices, sign_ins, tokens
from fleetward.server.sign_ins.tables import tries as tries_table
from tests.server.conftest import World

pytest_plugins = ["tests.services"]
both = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
HASH = "the hash of a password"
ROWS = {table.name: select(func.count()).select_from(table) for table in (sign_ins, tokens, tries_table, devices)}


def at(world: World, address: str = "192.0.2.1", agent: str = "Browser") -> Context:
    """Somebody at an address."""
    return Context(
        account=world.account,
        region=world.region,
        caller=anonymous(world.account),
        source_ip=address,
        user_agent=agent,
    )


def add_user(world: World, name: str = "ann", **profile: Any) -> str:
    """A user with a password; the id."""
    user_id = f"AIDA{name}"

    def add(call: Call) -> None:
        shared = {"account_id": call.account, "created_at": call.now}
        user = {"name": name, "folded": name, "path": "/", "user_id": user_id, "tags": {}}
        call.db.run(users.ADD, {**shared, **user})
        held = {"hash": HASH, "former": [], "reset_required": False, "changed_at": call.now, **profile}
        call.db.run(insert(login_profiles), {**shared, "user_id": user_id, **held})

    world.do(add)
    return user_id


def attempt(
    world: World, matches: bool, *, name: str = "ann", address: str = "192.0.2.1", device: str = "", new: str = ""
) -> sessions.Granted:
    """One try, whose password fits or not."""
    context = at(world, address)
    asked = password.Attempt(name, device=device, changes_password=bool(new))
    begun = world.submit(Entry("begin", password.begin), context, asked)
    compared = password.Compared(asked, begun, matches, new)
    granted: sessions.Granted = world.submit(Entry("conclude", password.conclude), context, compared)
    return granted


def refresh(world: World, token: str, *, address: str = "192.0.2.1", agent: str = "Browser") -> sessions.Granted:
    """Use a refresh token."""
    granted: sessions.Granted = world.submit(
        Entry("refresh", sessions.refresh), at(world, address, agent), sessions.Refresh(token)
    )
    return granted


def fail(world: World, times: int, **where: str) -> None:
    """Wrong tries, each waiting for its pause."""
    for _ in range(times):
        while True:
            try:
                with pytest.raises(SignInRefused):
                    attempt(world, False, **where)  # type: ignore[arg-type]
                break
            except TooManyTries as wait:
                world.clock.advance(timedelta(seconds=wait.members["RetryAfterSeconds"]))


def count(world: World, table: str) -> int:
    """How many rows a table has."""
    return int(world.do(lambda call: call.db.value(ROWS[table])))


# -- tries ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", tries.RULES.values(), ids=tries.RULES)
def test_pauses_grow_and_end(rule: tries.Rule) -> None:
    pauses = [tries.pause(rule, failures) for failures in range(2000)]
    assert pauses == sorted(pauses)
    assert pauses[rule.free] == timedelta()
    assert pauses[rule.free + 1] == rule.first
    assert pauses[-1] == rule.longest <= timedelta(minutes=15)


@both
def test_a_paused_user_waits_and_then_gets_in(world: World) -> None:
    add_user(world)
    fail(world, 8)
    with pytest.raises(TooManyTries) as closed:
        attempt(world, True)
    world.clock.advance(timedelta(seconds=closed.value.members["RetryAfterSeconds"]))
    assert attempt(world, True).sign_in_id
    fail(world, 4)
    assert attempt(world, True).sign_in_id  # what was before the success is forgotten


def test_many_addresses_do_not_lock_a_user_out_of_a_known_device(world: World) -> None:
    add_user(world)
    device = attempt(world, True).device
    for number in range(60):
        fail(world, 1, address=f"198.51.100.{number}")
    with pytest.raises(TooManyTries):
        attempt(world, True, address="203.0.113.5")
    assert attempt(world, True, address="203.0.113.5", device=device).device == device
    with pytest.raises(TooManyTries):
        attempt(world, True, address="203.0.113.5", device="made-up")
    world.clock.advance(tries.RULES["user"].longest)
    assert attempt(world, True, address="203.0.113.5")  # strangers' tries never close the door for good


def test_a_device_of_one_user_is_nothing_to_another(world: World) -> None:
    add_user(world, "ann")
    add_user(world, "bob")
    device = attempt(world, True, name="ann").device
    fail(world, 8, name="bob")
    with pytest.raises(TooManyTries):
        attempt(world, True, name="bob", device=device)


def test_wrong_tries_by_a_stolen_device_wait_too(world: World) -> None:
    add_user(world)
    device = attempt(world, True).device
    fail(world, 5, device=device)
    with pytest.raises(TooManyTries):
        attempt(world, True, device=device)


def test_tries_at_once_gain_nothing(world: World) -> None:
    """All begin before one ends: they are counted when they begin."""
    add_user(world)
    begun = 0
    for _ in range(50):
        try:
            world.submit(Entry("begin", password.begin), at(world), password.Attempt("ann"))
            begun += 1
        except TooManyTries:
            pass
    assert begun == tries.RULES["pair"].free + 1


def test_unknown_users_wait_like_known_ones(world: World) -> None:
    add_user(world)

    def outcomes(name: str, address: str) -> list[str]:
        found = []
        for _ in range(8):
            try:
                attempt(world, False, name=name, address=address)
            except (SignInRefused, TooManyTries) as fault:
                found.append(f"{fault.code} {fault.message}")
        return found

    assert outcomes("ann", "192.0.2.7") == outcomes("nobody", "192.0.2.8")


def test_a_household_counts_as_one_address() -> None:
    assert tries.network_of("2001:db8:1:2::3") == tries.network_of("2001:db8:1:2:ffff::1")
    assert tries.network_of("2001:db8:1:2::3") != tries.network_of("2001:db8:1:3::3")
    assert tries.network_of("::ffff:192.0.2.1") == tries.network_of("192.0.2.1")


def test_tries_and_devices_are_forgotten_in_time_and_bounded(world: World) -> None:
    add_user(world)
    for _ in range(tries.MOST_DEVICES + 5):
        attempt(world, True)
        world.clock.advance(timedelta(minutes=1))
    assert count(world, "sign_ins_devices") == tries.MOST_DEVICES
    fail(world, 3, name="nobody")
    world.clock.advance(timedelta(hours=1, seconds=1))
    world.do(tries.forget)
    assert count(world, "sign_ins_tries") == 0
    world.clock.advance(tries.DEVICE_KEPT)
    world.do(tries.forget)
    assert count(world, "sign_ins_devices") == 0


# -- sign-ins ---------------------------------------------------------------------------------------------------------


@both
def test_an_unused_sign_in_ends_and_a_used_one_at_its_time(world: World) -> None:
    add_user(world)
    token = attempt(world, True).refresh_token
    idle = attempt(world, True).refresh_token
    for _ in range(11):
        world.clock.advance(timedelta(hours=1))
        token = refresh(world, token).refresh_token
    with pytest.raises(SignInEnded):
        refresh(world, idle)
    last = refresh(world, token)
    world.clock.advance(timedelta(minutes=55))
    last = refresh(world, last.refresh_token)
    assert last.credentials["Expiration"] <= last.expires_at
    world.clock.advance(timedelta(minutes=5, seconds=1))
    with pytest.raises(SignInEnded):
        refresh(world, last.refresh_token)
    assert not world.submit(Entry("lives", sessions.lives, reads=True), at(world), (world.account, last.sign_in_id))


@both
def test_what_is_over_is_removed(world: World) -> None:
    add_user(world)
    for _ in range(3):
        refresh(world, attempt(world, True).refresh_token)
    assert (count(world, "sign_ins"), count(world, "sign_ins_tokens")) == (3, 6)
    world.clock.advance(timedelta(hours=2, seconds=1))
    world.do(sessions.forget)
    assert (count(world, "sign_ins"), count(world, "sign_ins_tokens")) == (0, 0)


def test_a_token_shown_again_after_the_grace_ends_the_sign_in(world: World) -> None:
    add_user(world)
    token = attempt(world, True).refresh_token
    successor = refresh(world, token).refresh_token
    world.clock.advance(sessions.GRACE)
    assert refresh(world, token)
    world.clock.advance(timedelta(microseconds=1))
    with pytest.raises(SignInEnded):
        refresh(world, token)
    with pytest.raises(SignInEnded):
        refresh(world, successor)


@pytest.mark.parametrize("other", [{"address": "192.0.2.2"}, {"agent": "Another"}])
def test_the_grace_is_for_who_used_the_token(world: World, other: dict[str, str]) -> None:
    add_user(world)
    token = attempt(world, True).refresh_token
    refresh(world, token)
    with pytest.raises(SignInEnded):
        refresh(world, token, **other)


def test_a_token_shown_over_and_over_within_the_grace_ends_the_sign_in(world: World) -> None:
    add_user(world)
    token = attempt(world, True).refresh_token
    for _ in range(sessions.MOST_SUCCESSORS):
        refresh(world, token)
    with pytest.raises(SignInEnded):
        refresh(world, token)


def test_tokens_and_sign_ins_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_user(world)
    monkeypatch.setattr(sessions, "MOST_TOKENS", 10)
    token = attempt(world, True).refresh_token
    for _ in range(15):
        world.clock.advance(timedelta(seconds=1))
        token = refresh(world, token).refresh_token
    assert count(world, "sign_ins_tokens") == 11
    for _ in range(sessions.MOST_SIGN_INS + 3):
        world.clock.advance(timedelta(seconds=1))
        newest = attempt(world, True)
    assert count(world, "sign_ins") == sessions.MOST_SIGN_INS
    assert refresh(world, newest.refresh_token)
    with pytest.raises(SignInEnded):
        refresh(world, token)


def test_an_expired_password_is_changed_at_the_door_unless_the_policy_is_hard(world: World) -> None:
    add_user(world)
    policy = {"MaxPasswordAge": 30}
    row = {"account_id": world.account, "password_policy": policy}
    world.do(lambda call: call.db.run(insert(accounts), row))
    assert attempt(world, True)
    world.clock.advance(timedelta(days=31))
    with pytest.raises(PasswordChangeRequired):
        attempt(world, True)
    assert attempt(world, True, new="another hash")
    login = world.do(lambda call: sign_in.find(call, "ann"))
    assert (login.hash, login.former) == ("another hash", (HASH,))
    world.clock.advance(timedelta(days=31))
    hard = accounts.update().values(password_policy={**policy, "HardExpiry": True})
    world.do(lambda call: call.db.run(hard))
    with pytest.raises(SignInRefused, match="administrator"):
        attempt(world, True, new="a third hash")


def test_a_password_changed_while_it_was_compared_does_not_let_in(world: World) -> None:
    user_id = add_user(world)
    asked = password.Attempt("ann")
    begun = world.submit(Entry("begin", password.begin), at(world), asked)
    other = login_profiles.update().where(login_profiles.c.user_id == user_id).values(hash="another hash")
    world.do(lambda call: call.db.run(other))
    with pytest.raises(SignInRefused):
        world.submit(Entry("conclude", password.conclude), at(world), password.Compared(asked, begun, True))


def test_what_is_shown_of_a_program_cannot_steer_a_terminal() -> None:
    assert sessions.shown_agent("Mozilla\x1b[31m\r\n" + "x" * 500) == "Mozilla[31m" + "x" * 242


def test_hashes_and_tokens_do_not_show_in_what_is_printed(world: World) -> None:
    add_user(world)
    granted = attempt(world, True)
    asked = password.Attempt("ann", code="868686", device=granted.device)
    begun = world.submit(Entry("begin", password.begin), at(world), asked)
    printed = repr([asked, begun, granted, password.Compared(asked, begun, True, "another hash")])
    secret = (
        granted.device,
        granted.refresh_token,
        granted.credentials["SecretAccessKey"],
        HASH,
        "another hash",
        "868686",
    )
    assert [each for each in secret if each in printed] == []


def test_a_sign_in_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(SignInDoesNotExist):
        world.submit(Entry("end", lambda call, _: _end(call)), world.as_root(), {})


def _end(call: Call) -> None:
    from fleetward.server.sign_ins import listing

    listing.revoke(call, {"SignInId": "si-" + "0" * 20})
