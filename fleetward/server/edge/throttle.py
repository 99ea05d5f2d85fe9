"""Throttle: a token bucket for each principal and node."""

from __future__ import annotations

IDLE_SECONDS = 300.0


class Throttle:
    """Buckets that fill with `rate` tokens a second up to `burst`; each request takes one."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}
        self._swept_at = 0.0

    def allows(self, name: str, now: float) -> bool:
        """Whether `name` may send one more request at `now` (seconds of a monotonic clock)."""
        tokens, at = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        if now - self._swept_at > IDLE_SECONDS:
            self._sweep(now)
        if tokens < 1.0:
            self._buckets[name] = (tokens, now)
            return False
        self._buckets[name] = (tokens - 1.0, now)
        return True

    def _sweep(self, now: float) -> None:
        self._swept_at = now
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket[1] < IDLE_SECONDS}
