"""Fingerprints: whether a machine that holds a node's key is still the machine that registered. The rule alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MOST_RETURNS = 2
"""A machine that is reverted to a snapshot may return to its former fingerprint once; two clones keep returning."""


class State(StrEnum):
    """How a node's fingerprint stands."""

    KNOWN = "Known"
    CHANGED = "Changed"
    WAITING = "Waiting"
    REFUSED = "Refused"


class Verdict(StrEnum):
    """What to do with a machine that asks for keys."""

    ACCEPT = "accept"
    WAIT = "wait"
    REFUSE = "refuse"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one node. `other` is the fingerprint before (Changed) or the one not accepted."""

    fingerprint: str
    state: State = State.KNOWN
    other: str | None = None
    changed_at: datetime | None = None
    returns: int = 0


def judge(known: Known, shown: str, policy: str, now: datetime, window: timedelta) -> tuple[Verdict, Known]:
    """What to do with a machine that shows the fingerprint `shown`, and what is known afterwards.

    `policy` is alert, approve or refuse. Ours: within `window` (the keys' lifetime: each holder asks twice in it) two
    returns to the former fingerprint mean two machines with one key.
    """
    if shown == known.fingerprint:
        waiting = known.state in (State.WAITING, State.REFUSED)
        return Verdict.ACCEPT, Known(shown) if waiting else known
    if policy == "refuse":
        return Verdict.REFUSE, Known(known.fingerprint, State.REFUSED, shown, now)
    if policy == "approve":
        return Verdict.WAIT, Known(known.fingerprint, State.WAITING, shown, now)
    returned = known.state == State.CHANGED and shown == known.other
    recent = known.changed_at is not None and now - known.changed_at <= window
    returns = known.returns + 1 if returned and recent else 0
    verdict = Verdict.CONFLICT if returns >= MOST_RETURNS else Verdict.ACCEPT
    return verdict, Known(shown, State.CHANGED, known.fingerprint, now, returns)
