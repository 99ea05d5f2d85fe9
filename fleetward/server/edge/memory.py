"""Memory: gives back to the operating system what a burst of connections has left behind.

Connections that come and go between those that stay leave free pieces all over the C library's heap: measured with
TLS, some 20 KiB for each idle node after every node had sent one heartbeat. glibc keeps them until it is told
otherwise; other C libraries have nothing to be told, and are left alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable

PAUSE_SECONDS = 10.0
ENDED_BEFORE = 500
"""So many connections must have ended since the last time."""
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 128 * 1024
"""Pieces from this size on (uvloop's TLS buffers) are mapped by themselves and vanish when freed."""


class Memory:
    """Counts the connections that end and has the heap trimmed after many."""

    def __init__(self, trim: Callable[[], None] | None = None) -> None:
        self._trim = trim or _trim_of_glibc()
        self._ended = 0
        self._looked_at = 0.0
        self._trimming: asyncio.Future[None] | None = None

    def connection_ended(self) -> None:
        """One connection is gone."""
        self._ended += 1

    def look(self, now: float) -> None:
        """Trim, beside the event loop, when it is worth it; `now` in seconds of a monotonic clock."""
        if self._trim is None or self._ended < ENDED_BEFORE or now - self._looked_at < PAUSE_SECONDS:
            return
        if self._trimming is None or self._trimming.done():
            self._ended, self._looked_at = 0, now
            self._trimming = asyncio.get_running_loop().run_in_executor(None, self._trim)


def _trim_of_glibc() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim") or not hasattr(library, "mallopt"):
        return None
    library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)  # glibc would raise it to the largest piece ever freed

    def trim() -> None:
        library.malloc_trim(0)

    return trim
