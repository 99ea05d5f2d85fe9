"""Accounts of Linux and macOS: look one up, and make the one that sessions use by default."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetward.agent.platforms.account import Account, AccountFault

log = logging.getLogger("fleetward.accounts")

DEFAULT_NAME = "ssm-user"
SUDOERS = Path("/etc/sudoers.d")
_PROGRAM_SECONDS = 60


def is_root() -> bool:
    """Whether this process may take every account."""
    return sys.platform != "win32" and os.geteuid() == 0


def find(name: str) -> Account | None:
    """The account of a name, None when there is none."""
    if sys.platform == "win32":
        return None
    else:
        import pwd

        try:
            entry = pwd.getpwnam(name)
        except (KeyError, ValueError, UnicodeEncodeError):
            return None
        return _account(entry, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def own() -> Account:
    """The account of this process; one without an entry gets a name made of its id."""
    if sys.platform != "win32":
        import pwd

        uid = os.geteuid()
        try:
            return _account(pwd.getpwuid(uid), tuple(os.getgroups()))
        except KeyError:
            return Account(str(uid), uid, os.getegid(), tuple(os.getgroups()), "/", "/bin/sh")
    else:
        raise AccountFault("accounts are another thing on Windows")


def _account(entry: Any, groups: tuple[int, ...]) -> Account:
    """From an entry of `pwd`."""
    home, shell = entry.pw_dir or "/", entry.pw_shell or "/bin/sh"
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, home, shell)


def default(add: Callable[[str], list[str]], sudoers: Path = SUDOERS, name: str = DEFAULT_NAME) -> Account:
    """The account of sessions that ask for none: ssm-user, made by the command of `add` when it is missing.

    When it is made, it may use sudo for everything, as with the official agent; who takes that away later is heeded.
    """
    found = find(name)
    if found is not None:
        return found
    reason = _failure(add(name))
    found = find(name)  # another session may have made it at the same time
    if found is None:
        raise AccountFault(f"the account {name} could not be made: {reason or 'nothing says why'}")
    log.info("made the account %s", name)
    if sudoers.is_dir():
        path = sudoers / "ssm-agent-users"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o440)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"# Sessions without an account of their own use {name}.\n{name} ALL=(ALL) NOPASSWD:ALL\n")
    return found


def _failure(command: list[str]) -> str:
    """Run a command: why it failed, or empty."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return done.stderr.strip()[:300] if done.returncode != 0 else ""
