"""`fleetward login` at a terminal: prompts, the profile it writes, keys for the plain `aws` command, and `logout`."""

from __future__ import annotations

import html
import json
import os
import re
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pytest

from fleetward.cli.login import profile
from tests.identity_provider import authority
from tests.oidc_provider import CLIENT, SignInProvider
from tests.one_time_codes import codes_of, enable_device
from tests.server.edge.test_oidc import providers_file, trusting
from tests.serving import FLEETWARD, REGION, ServerProcess, StartServer, eventually
from tests.signing_in import PASSWORD, Browser, person

AWS = Path(sys.executable).with_name("aws")


@dataclass
class Desk:
    """One person's terminal: a home folder of its own."""

    home: Path
    server: ServerProcess

    @property
    def environment(self) -> dict[str, str]:
        """What programs see."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FLEETWARD_", "XDG"))}
        return {**kept, "HOME": str(self.home), "NO_COLOR": "1", "TERM": "dumb"}

    @property
    def kept(self) -> Path:
        """What the login keeps."""
        return self.home / ".config" / "fleetward" / "logins" / "fleetward.json"

    @property
    def config(self) -> Path:
        """The AWS configuration."""
        return self.home / ".aws" / "config"

    def start(self, *arguments: str) -> pexpect.spawn:
        """`fleetward login` at a terminal."""
        where = ["--endpoint", self.server.url, "--ca", str(self.server.ca)]
        return pexpect.spawn(
            str(FLEETWARD), ["login", *where, *arguments], env=self.environment, timeout=30, encoding="utf-8"
        )

    def browse(self, provider: SignInProvider) -> tuple[pexpect.spawn, str]:
        """`fleetward login --oidc`, with a browser in between: the terminal, and the link that the page shows."""
        terminal = pexpect.spawn(
            str(FLEETWARD),
            ["login", "--oidc", "--endpoint", self.server.url, "--ca", str(self.server.ca)],
            env={**self.environment, "BROWSER": "true"},
            timeout=30,
            encoding="utf-8",
            dimensions=(24, 2000),
        )
        terminal.expect(r"(https://\S+/console/oidc/start\S+)")
        url = str(terminal.match.group(1))
        terminal.expect(r"It will show (\S{6})\.")
        check = str(terminal.match.group(1))
        browser = Browser(self.server)
        there = browser.send("GET", url.removeprefix(self.server.url))
        back = provider.authorize(there.headers["location"])
        page = browser.send("GET", back.removeprefix(self.server.url)).body.decode()
        assert f"<b>{check}</b>" in page
        (link,) = re.findall(r'href="([^"]+)"', page)
        return terminal, html.unescape(link)

    def sign_in(self, name: str, password: str = PASSWORD) -> str:
        """Sign in with a password; what was on the screen."""
        terminal = self.start()
        terminal.expect("User: ")
        terminal.sendline(name)
        terminal.expect("Password: ")
        terminal.sendline(password)
        return ended(terminal)

    def run(self, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A program, without a terminal."""
        return subprocess.run(
            [str(program), *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def aws(self, *arguments: str) -> Any:
        """What `aws` answers with the profile."""
        done = self.run(AWS, "--profile", "fleetward", "--output", "json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def keys(self) -> subprocess.CompletedProcess[str]:
        """What `aws` runs for keys."""
        return self.run(FLEETWARD, "login", "--credentials", "fleetward")

    def cookies(self) -> Mapping[str, str]:
        """The tokens that are kept."""
        found: Mapping[str, str] = json.loads(self.kept.read_text())["cookies"]
        return found

    def change(self, **members: Any) -> None:
        """Put something else into what is kept."""
        self.kept.write_text(json.dumps({**json.loads(self.kept.read_text()), **members}))


def ended(terminal: pexpect.spawn, code: int = 0) -> str:
    """Wait for the end; what was on the screen since."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    screen = str(terminal.before)
    assert terminal.exitstatus == code, screen
    return screen


@pytest.fixture
def desk(tmp_path: Path, serving: ServerProcess) -> Desk:
    """A new person's desk."""
    return Desk(tmp_path, serving)


def test_a_login_makes_the_plain_aws_command_work(desk: Desk) -> None:
    name, _ = person(desk.server)
    screen = desk.sign_in(name)
    assert f":user/{name}" in screen
    assert PASSWORD not in screen
    assert desk.aws("sts", "get-caller-identity")["Arn"].endswith(f":user/{name}")
    assert "Nodes" in desk.aws("ssm", "list-nodes")
    written = desk.config.read_text()
    assert f"endpoint_url = {desk.server.url}" in written
    assert f"ca_bundle = {desk.server.ca}" in written
    assert f"region = {REGION}" in written


def test_what_is_kept_is_for_its_user_alone(desk: Desk) -> None:
    desk.sign_in(person(desk.server)[0])
    assert stat.S_IMODE(desk.kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.kept.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(desk.config.stat().st_mode) == 0o600
    assert PASSWORD not in desk.kept.read_text()
    token = desk.cookies()["__Host-fleetward-refresh"]
    assert token not in desk.config.read_text()
    desk.kept.chmod(0o644)
    refused = desk.keys()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "chmod 600" in refused.stderr


def test_a_second_factor_and_a_new_password_are_asked_for(desk: Desk) -> None:
    name, _ = person(desk.server, reset=True)
    _, seed = enable_device(desk.server.client("iam"), name, name)
    terminal = desk.start("--user", name)
    terminal.expect("Password: ")
    terminal.sendline(PASSWORD)
    terminal.expect("New password: ")
    terminal.sendline("Another-Horse-8")
    terminal.expect("New password again: ")
    terminal.sendline("Mistyped-Horse-8")
    for prompt in ("New password: ", "New password again: "):
        terminal.expect(prompt)
        terminal.sendline("Another-Horse-8")
    terminal.expect("Code of your device: ")
    terminal.sendline(codes_of(seed)[1])
    screen = ended(terminal)
    assert "Another-Horse-8" not in screen
    assert desk.aws("sts", "get-caller-identity")["Arn"].endswith(f":user/{name}")


def test_a_wrong_password_says_so_and_writes_nothing(desk: Desk) -> None:
    terminal = desk.start("--user", person(desk.server)[0])
    terminal.expect("Password: ")
    terminal.sendline("wrong")
    assert "is not right" in ended(terminal, 1)
    assert not desk.config.exists()
    assert not desk.kept.exists()


def test_keys_are_those_of_last_time_while_they_are_fresh_and_new_ones_after(desk: Desk) -> None:
    desk.sign_in(person(desk.server)[0])
    first, again = json.loads(desk.keys().stdout), json.loads(desk.keys().stdout)
    assert first == again
    assert set(first) == {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert first["Version"] == 1
    token = desk.cookies()
    desk.change(credentials={**first, "Expiration": "2020-01-01T00:00:00Z"})
    assert json.loads(desk.keys().stdout)["AccessKeyId"] != first["AccessKeyId"]
    assert desk.cookies() != token


def test_processes_that_renew_at_once_do_not_end_the_sign_in(desk: Desk) -> None:
    desk.sign_in(person(desk.server)[0])
    desk.change(credentials={})
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: desk.keys(), range(4)))
    assert {each.returncode for each in made} == {0}
    assert len({json.loads(each.stdout)["AccessKeyId"] for each in made}) == 1


def test_a_revoked_sign_in_tells_to_sign_in_again(desk: Desk) -> None:
    name, _ = person(desk.server)
    desk.sign_in(name)
    server = desk.server
    (found,) = server.call("ListSignIns", {"UserName": name}, server.root, service="fleetward").json["SignIns"]
    assert found["UserAgent"].startswith("fleetward/")
    server.call("RevokeSignIn", {"SignInId": found["SignInId"]}, server.root, service="fleetward")
    eventually(lambda: desk.run(AWS, "--profile", "fleetward", "ssm", "list-nodes").returncode != 0, within=20)
    desk.change(credentials={})
    refused = desk.keys()
    assert refused.returncode == 1
    assert "fleetward login --profile fleetward" in refused.stderr


def test_a_second_login_needs_no_endpoint_and_is_of_a_known_device(desk: Desk) -> None:
    name, _ = person(desk.server)
    desk.sign_in(name)
    device = desk.cookies()["__Host-fleetward-device"]
    terminal = pexpect.spawn(
        str(FLEETWARD), ["login", "--user", name], env=desk.environment, timeout=30, encoding="utf-8"
    )
    terminal.expect("Password: ")
    terminal.sendline(PASSWORD)
    ended(terminal)
    assert desk.cookies()["__Host-fleetward-device"] == device


def test_logout_ends_the_sign_in_and_takes_the_profile_away(desk: Desk) -> None:
    name, _ = person(desk.server)
    desk.config.parent.mkdir()
    other = "# mine\n[profile other]\nregion = eu-west-1\n"
    desk.config.write_text(other)
    desk.sign_in(name)
    held = json.loads(desk.keys().stdout)
    assert desk.run(FLEETWARD, "logout").returncode == 0
    assert desk.config.read_text().rstrip("\n") == other.rstrip("\n")
    assert not desk.kept.exists()
    from fleetward.protocol.sigv4 import Credentials

    keys = Credentials(held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"])
    eventually(lambda: desk.server.call("ListNodes", {}, keys).code == "ExpiredTokenException", within=1.0)
    assert desk.run(FLEETWARD, "logout").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "http://127.0.0.1:1"], "https"),
        (["--endpoint", "https://127.0.0.1:1", "--ca", "/nowhere.pem"], "no CA file"),
        ([], "--endpoint"),
        (["--endpoint", "https://127.0.0.1:1", "--profile", "../x"], "cannot be the name"),
    ],
)
def test_wrong_usage_is_said_before_a_password_is_asked_for(desk: Desk, arguments: list[str], said: str) -> None:
    done = desk.run(FLEETWARD, "login", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Password" not in done.stderr + done.stdout


def test_a_profile_with_keys_of_its_own_is_left_alone(desk: Desk) -> None:
    credentials = desk.home / ".aws" / "credentials"
    credentials.parent.mkdir()
    credentials.write_text("[fleetward]\naws_access_key_id = AKIA\naws_secret_access_key = x\n")
    terminal = desk.start("--user", "somebody")
    assert "keys of its own" in ended(terminal, 1)


SETTINGS = {"region": "r", "endpoint_url": "e", "credential_process": "p"}
LINES = ["region = r", "endpoint_url = e", "credential_process = p"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ["[profile x]", *LINES]),
        ("[default]\na = 1\n", ["[default]", "a = 1", "", "[profile x]", *LINES]),
        ("[profile x]\nregion=old\nca_bundle = old\noutput = json\n", ["[profile x]", *LINES, "output = json"]),
        ("[ profile  x ]\n# mine\n[profile y]\na = z\n", ["[ profile  x ]", *LINES, "# mine", "[profile y]", "a = z"]),
        ("[profile xx]\nregion = z", ["[profile xx]", "region = z", "", "[profile x]", *LINES]),
    ],
)  # fmt: skip
def test_only_our_settings_of_a_profile_change(before: str, after: list[str]) -> None:
    written = profile.changed(before, "profile x", SETTINGS)
    assert written.splitlines() == after
    assert profile.changed(written, "profile x", SETTINGS) == written
    left = profile.changed(written, "profile x", {})
    assert not [line for line in left.splitlines() if line in LINES]


def test_a_browser_signs_the_command_line_in(start_server: StartServer, tmp_path: Path) -> None:
    provider = SignInProvider()
    provider.reset()
    file = providers_file(tmp_path, provider)
    file.write_text(file.read_text().partition('[[provider]]\nname = "down"')[0])
    server = start_server(oidc=file, allow_fetch="127.0.0.0/8", fetch_ca=authority().ca)
    iam = server.client("iam")
    iam.create_open_id_connect_provider(Url=provider.issuer, ClientIDList=[CLIENT])
    iam.create_role(RoleName="Operators", AssumeRolePolicyDocument=trusting(provider, "alice"))
    desk = Desk(tmp_path, server)
    terminal, link = desk.browse(provider)
    with pytest.raises(urllib.error.HTTPError):  # somebody else on this computer, who does not know the state
        urllib.request.urlopen(f"{link.partition('?')[0]}?code=x&state=y", timeout=10)
    with urllib.request.urlopen(link, timeout=10) as answer:
        assert b"signed in" in answer.read()
    assert "assumed-role/Operators/alice@example.com" in ended(terminal)
    assert desk.aws("sts", "get-caller-identity")["Arn"].endswith("assumed-role/Operators/alice@example.com")
    assert desk.run(FLEETWARD, "logout").returncode == 0
    provider.close()
