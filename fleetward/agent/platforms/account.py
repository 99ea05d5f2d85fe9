"""An account of this machine, as a session that runs under it needs to know it."""

from __future__ import annotations

from dataclasses import dataclass


class AccountFault(Exception):
    """No session can run under such an account; one sentence for whoever asked."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine; `groups` are all of its groups. On Windows the ids say nothing."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str
