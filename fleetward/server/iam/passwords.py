"""Passwords: what an account's password policy asks of them, and their argon2id hashes."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import argon2

LONGEST = 128
SYMBOLS = frozenset("!@#$%^&*()_+-=[]{}|'")
"""What counts as a symbol (IAM user guide, "Setting an account password policy for IAM users")."""
DEFAULT_LENGTH = 8
DEFAULT_KINDS = 3
"""Without a policy of its own an account asks for 8 characters of three kinds (the same page)."""
LEAST_LENGTH = 6

HASHER = argon2.PasswordHasher()
"""RFC 9106, the second recommended choice: 64 MiB, three passes."""


def hashed(password: str) -> str:
    """The argon2id hash of a password. Takes 64 MiB and some 50 ms: never in an entry, never on the event loop."""
    return HASHER.hash(password)


def matches(stored: str, password: str) -> bool:
    """Whether `stored` is the hash of `password`; without a stored one it costs the same and is never so.

    As costly as `hashed`.
    """
    try:
        return HASHER.verify(stored or _nobodys(), password) and bool(stored)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    """A hash of no known password, made without computing one."""
    salt, digest = (base64.b64encode(secrets.token_bytes(n)).decode().rstrip("=") for n in (16, HASHER.hash_len))
    return f"$argon2id$v=19$m={HASHER.memory_cost},t={HASHER.time_cost},p={HASHER.parallelism}${salt}${digest}"


def faults(policy: Mapping[str, Any] | None, password: str, user_name: str) -> list[str]:
    """What the account's policy (members of UpdateAccountPasswordPolicy; None: the default) misses in a password."""
    kinds = {
        "an uppercase letter": any("A" <= each <= "Z" for each in password),
        "a lowercase letter": any("a" <= each <= "z" for each in password),
        "a number": any("0" <= each <= "9" for each in password),
        "a symbol": any(each in SYMBOLS for each in password),
    }
    length = DEFAULT_LENGTH if policy is None else policy.get("MinimumPasswordLength", LEAST_LENGTH)
    found = [f"at least {length} characters"] if len(password) < length else []
    if len(password) > LONGEST:
        found.append(f"at most {LONGEST} characters")
    if policy is None and sum(kinds.values()) < DEFAULT_KINDS:
        found.append("three of uppercase letters, lowercase letters, numbers and symbols")
    if password.lower() == user_name.lower():
        found.append("something else than the user's name")
    asked = {
        "an uppercase letter": "RequireUppercaseCharacters",
        "a lowercase letter": "RequireLowercaseCharacters",
        "a number": "RequireNumbers",
        "a symbol": "RequireSymbols",
    }
    return found + [kind for kind, member in asked.items() if (policy or {}).get(member) and not kinds[kind]]


def has_expired(policy: Mapping[str, Any] | None, changed_at: datetime, now: datetime) -> bool:
    """Whether the policy's MaxPasswordAge has passed since a password was set."""
    days = (policy or {}).get("MaxPasswordAge") or 0
    return bool(days) and now - changed_at > timedelta(days=days)


def remembered(policy: Mapping[str, Any] | None) -> int:
    """How many of a user's last passwords cannot be taken again."""
    return int((policy or {}).get("PasswordReusePrevention") or 0)
