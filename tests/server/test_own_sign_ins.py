"""Sign-ins as operators see and end them, by the API and by `fleetward signin`."""

from __future__ import annotations

import os
import subprocess

from fleetward.protocol.sigv4 import Credentials
from tests.identities import allow, new_user
from tests.serving import ACCOUNT, FLEETWARD, REGION, ServerProcess, eventually
from tests.signing_in import Browser, keys, person


def of_user(server: ServerProcess, name: str) -> list[dict[str, object]]:
    """ListSignIns of one user."""
    found: list[dict[str, object]] = []
    token: dict[str, str] = {}
    while True:
        asked = {"UserName": name, "MaxResults": 2, **token}
        answer = server.call("ListSignIns", asked, server.root, service="fleetward").json
        assert len(answer["SignIns"]) <= 2
        found += answer["SignIns"]
        if "NextToken" not in answer:
            return found
        token = {"NextToken": answer["NextToken"]}


def test_sign_ins_are_listed_page_by_page(serving: ServerProcess) -> None:
    name, _ = person(serving)
    browsers = [Browser(serving, agent=f"Browser/{number}") for number in range(3)]
    ids = [browser.sign_in(name).json["SignInId"] for browser in browsers]
    listed = {each["SignInId"]: each for each in of_user(serving, name)}
    assert set(listed) == set(ids)
    assert [listed[each]["SourceIp"] for each in ids] == [browser.address for browser in browsers]
    assert [listed[each]["UserAgent"] for each in ids] == [browser.agent for browser in browsers]
    assert {str(each["Arn"]) for each in listed.values()} == {f"arn:aws:iam::{ACCOUNT}:user/{name}"}
    assert "Token" not in str(listed)


def test_a_revoked_sign_ins_keys_end_within_a_second(serving: ServerProcess) -> None:
    name, _ = person(serving)
    one, other = Browser(serving), Browser(serving)
    ended, kept = one.sign_in(name), other.sign_in(name)
    assert serving.call("ListNodes", {}, keys(ended)).status == 200
    asked = {"SignInId": ended.json["SignInId"]}
    assert serving.call("RevokeSignIn", asked, serving.root, service="fleetward").status == 200
    eventually(lambda: serving.call("ListNodes", {}, keys(ended)).code == "ExpiredTokenException", within=1.0)
    assert one.refresh().code == "SignInEnded"
    assert serving.call("ListNodes", {}, keys(kept)).status == 200
    again = serving.call("RevokeSignIn", asked, serving.root, service="fleetward")
    assert (again.status, again.code) == (400, "SignInDoesNotExist")


def test_one_may_be_allowed_to_end_ones_own_sign_ins_alone(serving: ServerProcess) -> None:
    own = f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}"
    name, _ = person(serving, allow("iam:ListSignIns", "iam:RevokeSignIn", on=own))
    other = Browser(serving).sign_in(person(serving)[0]).json["SignInId"]
    held = keys(Browser(serving).sign_in(name))
    mine = serving.call("ListSignIns", {"UserName": name}, held, service="fleetward").json["SignIns"]
    refused = serving.call("RevokeSignIn", {"SignInId": other}, held, service="fleetward")
    assert refused.code == "AccessDeniedException"
    assert serving.call("ListSignIns", {}, held, service="fleetward").code == "AccessDeniedException"
    ended = serving.call("RevokeSignIn", {"SignInId": mine[0]["SignInId"]}, held, service="fleetward")
    assert ended.status == 200


def test_the_command_line_lists_and_ends_sign_ins(serving: ServerProcess) -> None:
    name, _ = person(serving)
    browsers = [Browser(serving) for _ in range(2)]
    ids = [browser.sign_in(name).json["SignInId"] for browser in browsers]
    shown = run(serving, "list", "--user", name)
    assert all(each in shown for each in [*ids, name, browsers[0].address])
    assert run(serving, "revoke", ids[0]).strip() == f"{ids[0]} ended"
    assert ids[0] not in run(serving, "list", "--user", name)
    run(serving, "revoke", "--user", name)
    assert run(serving, "list", "--user", name) == ""
    assert browsers[1].refresh().code == "SignInEnded"


def run(server: ServerProcess, *arguments: str, by: Credentials | None = None) -> str:
    """What `fleetward signin …` prints."""
    signer = by or server.root
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FLEETWARD_"))}
    environment |= {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_CA_BUNDLE": str(server.ca),
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": signer.access_key_id,
        "AWS_SECRET_ACCESS_KEY": signer.secret_access_key,
    }
    done = subprocess.run(
        [str(FLEETWARD), "signin", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nobody_lists_without_permission(serving: ServerProcess) -> None:
    _, signer = new_user(serving, allow("ssm:ListNodes"))
    assert serving.call("ListSignIns", {}, signer, service="fleetward").code == "AccessDeniedException"
