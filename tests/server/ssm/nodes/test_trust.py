"""The rule about fingerprints: who is accepted, who waits, and when two machines share one key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.ssm.nodes.trust import Known, State, Verdict, judge

START = datetime(2030, 1, 1, tzinfo=UTC)
WINDOW = timedelta(hours=1)


def play(policy: str, shown: str, minutes: int = 10) -> list[str]:
    known, now, verdicts = Known("A"), START, []
    for fingerprint in shown:
        verdict, known = judge(known, fingerprint, policy, now, WINDOW)
        verdicts.append(verdict.value)
        now += timedelta(minutes=minutes)
    return verdicts


@pytest.mark.parametrize(
    ("policy", "shown", "verdicts"),
    [
        ("alert", "AAA", ["accept", "accept", "accept"]),
        ("alert", "ABBC", ["accept"] * 4),
        ("alert", "ABA", ["accept"] * 3),
        ("alert", "ABAB", ["accept", "accept", "accept", "conflict"]),
        ("alert", "AABBAABB", [*["accept"] * 6, "conflict", "accept"]),
        ("refuse", "ABAB", ["accept", "refuse", "accept", "refuse"]),
        ("approve", "ABBA", ["accept", "wait", "wait", "accept"]),
    ],
)
def test_verdicts(policy: str, shown: str, verdicts: list[str]) -> None:
    assert play(policy, shown) == verdicts


def test_slow_changes_are_no_conflict() -> None:
    assert set(play("alert", "ABABAB", minutes=90)) == {"accept"}


@given(shown=st.lists(st.sampled_from("ABC"), max_size=12), policy=st.sampled_from(["approve", "refuse"]))
def test_only_the_registered_fingerprint_is_accepted_without_an_operator(shown: list[str], policy: str) -> None:
    known, now = Known("A"), START
    for fingerprint in shown:
        verdict, known = judge(known, fingerprint, policy, now, WINDOW)
        assert (verdict == Verdict.ACCEPT) == (fingerprint == "A")
        assert known.fingerprint == "A"
        assert (known.state == State.KNOWN) == (fingerprint == "A")


@given(first=st.lists(st.sampled_from("AB"), min_size=1, max_size=12))
def test_fingerprints_that_take_turns_come_to_a_conflict(first: list[str]) -> None:
    changes = sum(left != right for left, right in zip(["A", *first], first, strict=False))
    assert ("conflict" in play("alert", "".join(first), minutes=5)) == (changes >= 3)
