"""Limits: as many open files as this machine allows, for this process and its children."""

from __future__ import annotations

import contextlib
import resource

WANTED = 65_536


def raise_limits() -> int:
    """Raise the number of files that may be open; returns what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (WANTED, max(hard, WANTED)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < min(hard, WANTED):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, WANTED), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
