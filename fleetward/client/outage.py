"""Whether the operator is told that the connection is lost: not before it has lasted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

NOTICE_SECONDS = 3.0
"""An outage that is shorter is not worth a line in the middle of somebody's screen."""


class Outage:
    """Calls `lost` when an outage has lasted for three seconds, and `found` at the end of one that was told."""

    def __init__(self, lost: Callable[[], None], found: Callable[[], None]) -> None:
        self._lost = lost
        self._found = found
        self._timer: asyncio.TimerHandle | None = None
        self.is_told = False

    def begin(self) -> None:
        """The connection broke; more of it while it lasts changes nothing."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(NOTICE_SECONDS, self._tell)

    def end(self) -> None:
        """There is one again."""
        self.forget()
        if self.is_told:
            self.is_told = False
            self._found()

    def forget(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self.is_told = True
        self._lost()
