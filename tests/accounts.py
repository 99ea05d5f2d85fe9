"""What sessions make of a machine whose agent is root, `ssm-user` and its right to sudo, is gone after the tests.

Only if it was not there before: on a machine with an agent of its own it belongs to that.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

NAME = "ssm-user"
SUDO_RULES = Path("/etc/sudoers.d/ssm-agent-users")

_was_there = pytest.StashKey[bool]()


def _exists() -> bool:
    try:
        pwd.getpwnam(NAME)
    except KeyError:
        return False
    return True


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Remember whether it is there."""
    config.stash[_was_there] = _exists()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what came since, once: when all workers have ended."""
    if _is_worker(config) or config.stash.get(_was_there, True) or os.geteuid() != 0 or not _exists():
        return
    SUDO_RULES.unlink(missing_ok=True)
    subprocess.run(["userdel", "--remove", NAME], check=False, capture_output=True, timeout=30)
