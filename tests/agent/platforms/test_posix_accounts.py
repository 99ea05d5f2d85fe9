"""Accounts of sessions: looked up, and the default one, which is made only where it is missing."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from fleetward.agent.platforms import posix_accounts
from fleetward.agent.platforms.account import AccountFault
from fleetward.agent.platforms.linux import Linux


def test_an_account_has_all_its_groups_and_what_a_login_needs() -> None:
    entry = pwd.getpwuid(os.geteuid())
    found = posix_accounts.find(entry.pw_name)
    assert found is not None
    assert (found.uid, found.gid, found.home, found.shell) == (entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)
    assert entry.pw_gid in found.groups
    assert posix_accounts.find("no-such-user") is None
    assert posix_accounts.find("a\0b") is None
    assert posix_accounts.own().uid == os.geteuid()


def test_the_environment_is_that_of_a_login_and_not_the_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETWARD_SECRET", "x")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy.example")
    environment = Linux().session_environment(posix_accounts.own())
    assert set(environment) <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME", "LOGNAME", "SHELL", "TERM", "USER"}
    assert (environment["TERM"], environment["USER"]) == ("xterm-256color", posix_accounts.own().name)


def test_a_default_account_that_cannot_be_made_is_a_fault_without_sudo_rules(tmp_path: Path) -> None:
    asked: list[str] = []

    def refuse(name: str) -> list[str]:
        asked.append(name)
        return ["sh", "-c", "echo no room >&2; exit 1"]

    for add, reason in ((refuse, "no room"), (lambda _: ["true"], "nothing says"), (lambda _: ["/no/such"], "/no")):
        with pytest.raises(AccountFault, match=reason):
            posix_accounts.default(add, tmp_path, "no-such-user")
    assert asked == ["no-such-user"]
    assert list(tmp_path.iterdir()) == []


def test_an_account_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    name = posix_accounts.own().name
    assert posix_accounts.default(lambda _: ["false"], tmp_path, name).name == name
    assert list(tmp_path.iterdir()) == []
