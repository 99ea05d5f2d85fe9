"""What a password policy asks of passwords."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetward.server.iam import passwords


@pytest.mark.parametrize(
    ("policy", "password", "number"),
    [
        (None, "Abcdefg1", 0),
        (None, "Abcdef1", 1),
        (None, "abcdefgh", 1),
        (None, "x" * 129 + "A1", 1),
        ({}, "abcdef", 0),
        ({}, "abcde", 1),
        ({"MinimumPasswordLength": 12}, "abcdefghijk", 1),
        ({"RequireSymbols": True, "RequireNumbers": True}, "abcdefgh", 2),
        ({"RequireSymbols": True, "RequireNumbers": True}, "abcdefg1!", 0),
        ({"RequireUppercaseCharacters": True, "RequireLowercaseCharacters": True}, "12345678", 2),
        ({"RequireUppercaseCharacters": True}, "ÄÖÜabcdef", 1),
        ({}, "SOMEBODY", 1),
    ],
)
def test_every_missing_thing_is_named(policy: dict[str, Any] | None, password: str, number: int) -> None:
    assert len(passwords.faults(policy, password, "somebody")) == number


def test_a_password_expires_when_the_policy_says_so() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    policy = {"MaxPasswordAge": 90}
    assert not passwords.has_expired(policy, now - timedelta(days=90), now)
    assert passwords.has_expired(policy, now - timedelta(days=91), now)
    assert not passwords.has_expired(None, now - timedelta(days=9999), now)
