"""Throttle: token buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.edge.throttle import IDLE_SECONDS, Throttle


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    """Ten at once, then two a second."""
    throttle = Throttle(rate=2.0, burst=10.0)
    assert [throttle.allows("a", 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert not throttle.allows("a", 0.4)
    assert throttle.allows("a", 0.5)
    assert not throttle.allows("a", 0.6)


def test_principals_do_not_share() -> None:
    """One who sends too much leaves others alone."""
    throttle = Throttle(rate=1.0, burst=1.0)
    assert throttle.allows("a", 0.0)
    assert not throttle.allows("a", 0.0)
    assert throttle.allows("b", 0.0)


def test_buckets_of_the_idle_are_forgotten() -> None:
    """Memory is for those who send."""
    throttle = Throttle(rate=1.0, burst=1.0)
    for number in range(1000):
        throttle.allows(str(number), 0.0)
    throttle.allows("late", IDLE_SECONDS * 2)
    assert len(throttle._buckets) == 1


@given(
    rate=st.floats(0.1, 100),
    burst=st.floats(1, 100),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_never_more_than_burst_and_rate_allow(rate: float, burst: float, gaps: list[float]) -> None:
    """Whatever the times: what was let through is at most the burst and what has filled since."""
    throttle = Throttle(rate, burst)
    now, allowed = 0.0, 0
    for gap in gaps:
        now += gap
        allowed += throttle.allows("a", now)
    assert allowed <= burst + now * rate + 1e-6
