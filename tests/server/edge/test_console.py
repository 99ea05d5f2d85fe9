"""The console's door on a real server: signing in, refreshing, signing out, and what people try to get past it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from tests.identities import allow
from tests.one_time_codes import code, codes_of, enable_device
from tests.serving import ServerProcess, StartServer, eventually
from tests.signing_in import (
    DEVICE,
    PASSWORD,
    REFRESH,
    Browser,
    fresh_address,
    keys,
    person,
    take_password,
)
from tests.trail import trail

CORRECT_CODE = {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}


def listed(server: ServerProcess, by: object) -> int:
    """The status of a call with some keys."""
    return server.call("ListNodes", {}, by).status  # type: ignore[arg-type]


def ended(server: ServerProcess, by: object) -> bool:
    """Whether keys are refused as expired."""
    return server.call("ListNodes", {}, by).code == "ExpiredTokenException"  # type: ignore[arg-type]


# -- the way in -------------------------------------------------------------------------------------------------------


def test_a_password_gives_keys_of_the_user_for_a_quarter_of_an_hour(serving: ServerProcess) -> None:
    name, _ = person(serving)
    browser = Browser(serving)
    answer = browser.sign_in(name)
    assert listed(serving, keys(answer)) == 200
    assert serving.call("ListDocuments", {}, keys(answer)).code == "AccessDeniedException"
    assert answer.json["Arn"].endswith(f":user/{name}")
    expires = datetime.fromisoformat(answer.json["Credentials"]["Expiration"]) - datetime.now(UTC)
    assert 880 < expires.total_seconds() <= 900
    assert answer.headers["cache-control"] == "no-store"
    who = serving.client("sts", keys(answer)).get_caller_identity()
    assert who["Arn"] == answer.json["Arn"]
    assert serving.client("iam").get_user(UserName=name)["User"]["PasswordLastUsed"]


def test_cookies_are_for_this_host_over_tls_and_no_script(serving: ServerProcess) -> None:
    name, _ = person(serving)
    browser = Browser(serving)
    browser.sign_in(name)
    assert {text.partition("=")[0] for text in browser.set} == {REFRESH, DEVICE}
    for text in browser.set:
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(text.split("; "))
        assert "Domain" not in text


def test_a_wrong_password_and_an_unknown_user_are_told_alike(serving: ServerProcess) -> None:
    name, _ = person(serving)
    wrong, unknown = Browser(serving).sign_in(name, "wrong"), Browser(serving).sign_in("nobody-of-here", "wrong")
    assert (wrong.status, wrong.code, wrong.message) == (unknown.status, unknown.code, unknown.message)
    assert (wrong.status, wrong.code) == (401, "SignInRefused")
    assert "set-cookie" not in wrong.headers


def test_a_user_without_a_password_does_not_get_in(serving: ServerProcess) -> None:
    name, _ = person(serving)
    take_password(serving, name)
    assert Browser(serving).sign_in(name).code == "SignInRefused"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"UserName": "a"}', 400),
        (b'{"UserName": 1, "Password": "b"}', 400),
        (b'{"UserName": "a\\u0000", "Password": "b"}', 400),
        (b'{"UserName": "a", "Password": "b", "More": "c"}', 400),
        (b'{"UserName": "a", "Password": "' + b"x" * 129 + b'"}', 400),
        (b'{"UserName": "a", "Password": "b", "TokenCode": "1234567"}', 400),
        (b'{"UserName": "\xff", "Password": "b"}', 400),
        (b'{"DurationSeconds": 899}', 400),
        (b'{"DurationSeconds": 3601}', 400),
        (b'{"DurationSeconds": "900"}', 400),
        (b'{"DurationSeconds": 1e999}', 400),
        (b'{"DurationSeconds": true}', 400),
        (b'{"x": "' + b"x" * 9000 + b'"}', 413),
    ],
)
def test_what_is_no_sign_in_is_refused_clearly(serving: ServerProcess, body: bytes, status: int) -> None:
    browser = Browser(serving)
    answer = browser.send("POST", body=body, headers={"Content-Type": "application/json"})
    assert answer.status == status
    assert answer.code
    assert browser.cookies == {}


# -- a second factor and a new password -------------------------------------------------------------------------------


def test_a_second_factor_is_wanted_used_once_and_seen_by_policies(serving: ServerProcess) -> None:
    name, _ = person(serving, {**allow("ssm:ListNodes"), **CORRECT_CODE})
    _, seed = enable_device(serving.client("iam"), name, name)
    browser = Browser(serving)
    asked = browser.sign_in(name)
    assert (asked.status, asked.code, asked.json["Needs"]) == (401, "MultiFactorAuthRequired", ["TokenCode"])
    assert browser.cookies == {}
    shown = codes_of(seed)[1]  # the next one: the present one may have been used up by enabling the device
    signed_in = browser.sign_in(name, TokenCode=shown)
    assert listed(serving, keys(signed_in)) == 200
    assert listed(serving, keys(browser.refresh())) == 200
    again = Browser(serving).sign_in(name, TokenCode=shown)
    assert (again.status, again.code) == (401, "SignInRefused")


def test_without_a_second_factor_policies_see_none(serving: ServerProcess) -> None:
    name, _ = person(serving, {**allow("ssm:ListNodes"), **CORRECT_CODE})
    assert listed(serving, keys(Browser(serving).sign_in(name))) == 400


def test_codes_are_not_guessed_one_after_the_other(serving: ServerProcess) -> None:
    name, _ = person(serving)
    _, seed = enable_device(serving.client("iam"), name, name)
    now = int(time.time()) // 30
    right = {code(seed, now + step) for step in range(-2, 4)}
    wrong = [f"{number:06}" for number in range(20) if f"{number:06}" not in right]
    browser = Browser(serving)
    answers = [browser.sign_in(name, TokenCode=each).status for each in wrong[:8]]
    assert answers[:4] == [401] * 4
    assert 429 in answers[4:]


def test_a_password_that_has_to_be_changed_is_changed_on_the_way_in(serving: ServerProcess) -> None:
    with contextlib.suppress(ClientError):  # the policy that counts where none is set
        serving.client("iam").delete_account_password_policy()
    name, _ = person(serving, reset=True)
    browser = Browser(serving)
    asked = browser.sign_in(name)
    assert (asked.status, asked.code, asked.json["Needs"]) == (401, "PasswordChangeRequired", ["NewPassword"])
    for weak in ("short", "alllowercaseletters", PASSWORD) * 3:  # no wrong try, however often
        refused = browser.sign_in(name, NewPassword=weak)
        assert (refused.status, refused.code) == (400, "PasswordPolicyViolation")
    assert listed(serving, keys(browser.sign_in(name, NewPassword="Another-Horse-8"))) == 200
    assert Browser(serving).sign_in(name).code == "SignInRefused"
    assert Browser(serving).sign_in(name, "Another-Horse-8").status == 200


def test_a_password_that_may_stay_is_not_changed_at_the_door(serving: ServerProcess) -> None:
    name, _ = person(serving)
    assert Browser(serving).sign_in(name, NewPassword="Another-Horse-8").code == "ValidationException"
    assert Browser(serving).sign_in(name).status == 200


# -- refreshing and ending --------------------------------------------------------------------------------------------


def test_each_refresh_gives_new_keys_and_another_token(serving: ServerProcess) -> None:
    name, _ = person(serving)
    browser = Browser(serving)
    first = browser.sign_in(name)
    tokens = [browser.cookies[REFRESH]]
    for _ in range(3):
        answer = browser.refresh()
        assert listed(serving, keys(answer)) == 200
        assert answer.json["SignInExpiration"] == first.json["SignInExpiration"]
        tokens.append(browser.cookies[REFRESH])
    assert len(set(tokens)) == 4


def test_a_stolen_old_token_ends_the_sign_in(serving: ServerProcess) -> None:
    name, _ = person(serving)
    browser = Browser(serving)
    browser.sign_in(name)
    old = browser.cookies[REFRESH]
    browser.refresh()
    present = keys(browser.refresh())
    thief = Browser(serving, cookies={REFRESH: old})
    assert (thief.refresh().code, thief.cookies) == ("SignInEnded", {})
    eventually(lambda: ended(serving, present), within=1.0)
    assert browser.refresh().code == "SignInEnded"


def test_a_token_stolen_and_used_first_is_noticed_when_its_owner_comes(serving: ServerProcess) -> None:
    name, _ = person(serving)
    browser = Browser(serving)
    browser.sign_in(name)
    thief = Browser(serving, cookies={REFRESH: browser.cookies[REFRESH]})
    stolen = keys(thief.refresh())
    assert browser.refresh().code == "SignInEnded"
    eventually(lambda: ended(serving, stolen), within=1.0)
    assert thief.refresh().code == "SignInEnded"


def test_a_reload_that_lost_the_answer_goes_on_and_two_who_go_on_end_it(serving: ServerProcess) -> None:
    name, _ = person(serving)
    browser = Browser(serving)
    browser.sign_in(name)
    before = browser.cookies[REFRESH]
    browser.refresh()
    lost = browser.cookies[REFRESH]
    browser.cookies[REFRESH] = before
    assert browser.refresh().status == 200
    assert browser.refresh().status == 200
    assert Browser(serving, browser.address, cookies={REFRESH: lost}).refresh().code == "SignInEnded"
    assert browser.refresh().code == "SignInEnded"


def test_signing_out_ends_keys_and_cookie(serving: ServerProcess) -> None:
    name, _ = person(serving)
    browser = Browser(serving)
    held = keys(browser.sign_in(name))
    token = browser.cookies[REFRESH]
    assert browser.send("DELETE").status == 200
    assert REFRESH not in browser.cookies
    eventually(lambda: ended(serving, held), within=1.0)
    assert Browser(serving, cookies={REFRESH: token}).refresh().status == 401
    assert browser.send("DELETE").status == 200  # nobody is signed in: nothing to do


def test_a_token_of_nobody_gives_nothing(serving: ServerProcess) -> None:
    assert Browser(serving).refresh().code == "SignInEnded"
    for odd in ("x", "x" * 4000, "%00", '"a b"'):
        assert Browser(serving, cookies={REFRESH: odd}).refresh().code == "SignInEnded"


def test_a_token_planted_before_is_not_the_one_signed_in_with(serving: ServerProcess) -> None:
    """Fixation: the attacker's own token, put into somebody's browser, does not become theirs."""
    mallory, victim = person(serving)[0], person(serving)[0]
    attacker = Browser(serving)
    attacker.sign_in(mallory)
    planted = attacker.cookies[REFRESH]
    browser = Browser(serving, cookies={REFRESH: planted})
    answer = browser.sign_in(victim)
    assert answer.json["Arn"].endswith(victim)
    assert browser.cookies[REFRESH] != planted
    assert attacker.refresh().json["Arn"].endswith(mallory)


@pytest.mark.parametrize("change", ["password", "own password", "profile", "user"])
def test_keys_end_with_the_password_the_profile_or_the_user(serving: ServerProcess, change: str) -> None:
    name, _ = person(serving, allow("ssm:ListNodes", "iam:ChangePassword"))
    browser, iam = Browser(serving), serving.client("iam")
    held = keys(browser.sign_in(name))
    assert listed(serving, held) == 200
    if change == "password":
        iam.update_login_profile(UserName=name, Password="Another-Horse-8")
    elif change == "own password":
        serving.client("iam", held).change_password(OldPassword=PASSWORD, NewPassword="Another-Horse-8")
    else:
        take_password(serving, name)
    if change == "user":
        iam.delete_user_policy(UserName=name, PolicyName="own")
        iam.delete_user(UserName=name)
    eventually(lambda: ended(serving, held), within=1.2)
    assert browser.refresh().code == "SignInEnded"


def test_a_sign_in_and_its_keys_end_at_their_time(start_server: StartServer) -> None:
    server = start_server(sign_in_lifetime=2)
    name, _ = person(server)
    browser = Browser(server)
    answer = browser.sign_in(name)
    expires = datetime.fromisoformat(answer.json["Credentials"]["Expiration"])
    assert expires <= datetime.fromisoformat(answer.json["SignInExpiration"])
    eventually(lambda: ended(server, keys(answer)), within=4.0)
    eventually(lambda: browser.refresh().code == "SignInEnded", within=4.0)


def test_sign_ins_outlive_the_server(start_server: StartServer) -> None:
    server = start_server()
    name, _ = person(server)
    browser = Browser(server)
    held = keys(browser.sign_in(name))
    server.kill()
    server.start()
    assert listed(server, held) == 200
    assert browser.refresh().status == 200


# -- who asks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
    ],
)
def test_pages_of_other_sites_are_refused(serving: ServerProcess, headers: dict[str, str]) -> None:
    name, _ = person(serving)
    browser = Browser(serving)
    browser.sign_in(name)
    token = browser.cookies[REFRESH]
    answer = browser.post({}, **headers)
    assert (answer.status, answer.code) == (403, "CrossSiteRequest")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    if "Content-Type" not in headers:
        assert browser.send("DELETE", headers=headers).status == 403
    assert browser.cookies[REFRESH] == token
    assert browser.refresh().status == 200


def test_an_object_may_be_called_like_a_page_of_the_console(serving: ServerProcess) -> None:
    assert Browser(serving).send("GET", "/console/providers").json == {"Providers": []}
    storage = serving.client("s3")
    storage.create_bucket(Bucket="console")
    storage.put_object(Bucket="console", Key="providers", Body=b"an object")
    assert storage.get_object(Bucket="console", Key="providers")["Body"].read() == b"an object"
    storage.delete_object(Bucket="console", Key="providers")
    storage.delete_bucket(Bucket="console")
    assert Browser(serving).send("GET", "/console/providers", headers={"Host": "b.s3.localhost"}).status >= 400


def test_our_own_page_is_heard(serving: ServerProcess) -> None:
    name, _ = person(serving)
    own = {"Origin": serving.url, "Sec-Fetch-Site": "same-origin"}
    answer = Browser(serving).post({"UserName": name, "Password": PASSWORD}, **own)
    assert answer.status == 200


def test_nobody_signs_in_without_tls(start_server: StartServer) -> None:
    import http.client

    server = start_server(http="127.0.0.1:0")
    name, _ = person(server)
    ports = eventually(lambda: plain_ports(server))
    connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=20)
    body = f'{{"UserName":"{name}","Password":"{PASSWORD}"}}'
    connection.request("POST", "/console/session", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 403
    connection.close()


def plain_ports(server: ServerProcess) -> list[int]:
    """The ports that the server listens on without TLS."""
    import psutil

    assert server.process is not None
    listening = psutil.Process(server.process.pid).net_connections("tcp")
    return [each.laddr.port for each in listening if each.status == "LISTEN" and each.laddr.port != server.port]


# -- tries ------------------------------------------------------------------------------------------------------------


def test_wrong_tries_make_the_next_wait_and_a_known_device_goes_on(serving: ServerProcess) -> None:
    name, _ = person(serving)
    known = Browser(serving)
    assert known.sign_in(name).status == 200
    device = known.cookies[DEVICE]
    stranger = Browser(serving)
    statuses = [stranger.sign_in(name, "wrong").status for _ in range(6)]
    assert statuses[:4] == [401] * 4
    assert 429 in statuses
    last = eventually(lambda: paused(stranger, name))
    assert int(last.headers["retry-after"]) == last.json["RetryAfterSeconds"] >= 1
    elsewhere = Browser(serving)
    assert elsewhere.sign_in(name).status == 200
    with_device = Browser(serving, stranger.address, cookies={DEVICE: device})
    assert with_device.sign_in(name).status == 200


def paused(browser: Browser, name: str) -> object:
    """The answer, with the right password, of a door that is closed for a while."""
    answer = browser.sign_in(name, "wrong")
    if answer.status != 429:
        return None
    right = browser.sign_in(name)
    return right if right.status == 429 else None


def test_many_names_from_one_address_wait_too(serving: ServerProcess) -> None:
    address = fresh_address()
    statuses = [Browser(serving, address).sign_in(f"nobody-{number}", "wrong").status for number in range(23)]
    assert statuses[:20] == [401] * 20
    assert 429 in statuses[20:]


def test_who_knocks_all_the_time_is_slowed_down(start_server: StartServer) -> None:
    server = start_server(requests_per_node=0.1)
    browser = Browser(server)
    codes = [browser.refresh().code for _ in range(4)]
    assert codes[0] == "SignInEnded"
    assert codes[-1] == "ThrottlingException"
    assert Browser(server).refresh().code == "SignInEnded"


def test_any_of_several_devices_will_do_and_the_others_are_not_blamed(serving: ServerProcess) -> None:
    name, _ = person(serving)
    client = serving.client("iam")
    first, seed = enable_device(client, name, f"{name}-1")
    _, other_seed = enable_device(client, name, f"{name}-2")
    assert first
    browser = Browser(serving)
    assert browser.sign_in(name, TokenCode=codes_of(other_seed)[1]).status == 200
    assert browser.sign_in(name, TokenCode=codes_of(seed)[1]).status == 200
    assert browser.sign_in(name, TokenCode=codes_of(other_seed)[1]).status == 401


# -- the trail, and what must be nowhere ------------------------------------------------------------------------------


def test_every_sign_in_is_in_the_trail_and_no_secret_anywhere(start_server: StartServer) -> None:
    server = start_server()
    name, _ = person(server)
    browser = Browser(server)
    assert browser.sign_in(name, "A-Wrong-Secret-1").status == 401
    assert browser.sign_in("My-Typed-Secret-2", "x-Wrong-Secret-3").status == 401
    answer = browser.sign_in(name)
    assert answer.status == 200
    first = dict(browser.cookies)
    refreshed = browser.refresh()
    thief = Browser(server, cookies={REFRESH: first[REFRESH]})
    assert thief.refresh().status == 401
    assert browser.sign_in(name).status == 200
    assert browser.send("DELETE").status == 200
    (reuse,) = [each for each in trail(server, "used twice", 1) if each["eventName"] == "Refresh"]
    assert (reuse["errorCode"], reuse["sourceIPAddress"]) == ("SignInEnded", thief.address)
    assert reuse["userIdentity"]["arn"] == answer.json["Arn"]
    assert [each["eventName"] for each in trail(server, "Logout", 1)] == ["Logout"]
    records = [each for each in trail(server, "ConsoleLogin", 4) if each["eventName"] == "ConsoleLogin"]
    told = [(each["requestParameters"]["UserName"], each["requestParameters"]["ConsoleLogin"]) for each in records]
    assert sorted(told) == sorted(
        [(name, "Failure"), ("HIDDEN_DUE_TO_SECURITY_REASONS", "Failure"), (name, "Success"), (name, "Success")]
    )
    assert {each["eventSource"] for each in records} == {"signin.amazonaws.com"}
    assert {each["sourceIPAddress"] for each in records} == {browser.address}
    server.stop()
    secrets = [PASSWORD, "A-Wrong-Secret-1", "My-Typed-Secret-2", "x-Wrong-Secret-3"]
    secrets += [*first.values(), *browser.cookies.values()]
    for each in (answer, refreshed):
        secrets += [keys(each).secret_access_key, str(keys(each).session_token)]
    found = {secret for secret in secrets if secret.encode() in everything(server)}
    assert found == set()
    assert name.encode() in everything(server)  # it is read at all


def everything(server: ServerProcess) -> bytes:
    """What the server has written: database and log."""
    with contextlib.closing(sqlite3.connect(server.data / "fleetward.db")) as database:
        dump = "\n".join(database.iterdump())
    files = [file.read_bytes() for file in server.data.glob("fleetward.db*")]
    return b"\n".join([dump.encode(), server.log.read_bytes(), *files])
