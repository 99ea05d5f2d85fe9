"""Patterns: whether a value fits a document's own allowedPattern, within a bound of time."""

from __future__ import annotations

import regex

MATCH_SECONDS = 0.05


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text fits; a pattern that takes too long does not."""
    try:
        return regex.fullmatch(pattern, text, timeout=MATCH_SECONDS) is not None
    except (TimeoutError, regex.error):
        return False
