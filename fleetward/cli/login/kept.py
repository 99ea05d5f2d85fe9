"""What a login keeps: one file for each AWS profile in the user's configuration folder, which only its user reads."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fleetward.cli.failure import Failure

PROFILE = re.compile(r"[\w.@+-]{1,64}", re.ASCII)


@dataclass
class Login:
    """Where and as whom; the cookies; the keys of last time."""

    endpoint: str
    ca_file: str
    user: str = ""
    provider: str = ""
    cookies: dict[str, str] = field(default_factory=dict, repr=False)
    credentials: dict[str, str] = field(default_factory=dict, repr=False)


def folder() -> Path:
    """`fleetward/logins` under $XDG_CONFIG_HOME, by default ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "fleetward" / "logins"


def file_of(profile: str) -> Path:
    """The file of a profile; Failure for names that files cannot have."""
    if PROFILE.fullmatch(profile) is None or profile.startswith("."):
        raise Failure(f"{profile!r} cannot be the name of a profile: letters, digits and . @ + - _ make one", 2)
    return folder() / f"{profile}.json"


def load(profile: str) -> Login | None:
    """What is kept of a profile's login; None when there is none. Failure when others could read it."""
    file = file_of(profile)
    try:
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise Failure(f"{file} can be read by others; run: chmod 600 {file}")
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Login(**{each.name: told[each.name] for each in fields(Login)})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as fault:
        raise Failure(f"{file} cannot be read; remove it and sign in again") from fault


def store(profile: str, login: Login) -> None:
    """Keep a login, in place of what was kept, at once and whole."""
    file = file_of(profile)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(login), stream)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)


def remove(profile: str) -> None:
    """Forget a login."""
    file_of(profile).unlink(missing_ok=True)


@contextlib.contextmanager
def alone(profile: str) -> Iterator[None]:
    """One process at a time: a refresh token is good once."""
    file = file_of(profile).with_suffix(".lock")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+") as stream:
        if os.name == "posix":
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
