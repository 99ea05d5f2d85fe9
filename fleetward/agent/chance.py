"""Chance for spreading load: the random module would cost more memory than it is worth here."""

from __future__ import annotations

import os


def between(least: float, most: float) -> float:
    """A number from `least` to `most`, all alike."""
    return least + (most - least) * int.from_bytes(os.urandom(4), "big") / 0xFFFF_FFFF
