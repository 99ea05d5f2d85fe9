"""Gathered: what requests leave behind, audit records and log lines, kept for a moment and written together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from fleetward.server import logging_setup

AUDIT_SECONDS = 0.25
"""Reads are audited at most so much later; what a killed server had gathered in that time is not recorded."""
AUDIT_AT_ONCE = 1000
LOG_SECONDS = 0.1
LOG_AT_ONCE = 500


class Gathered:
    """Items that come one by one and leave together: after `seconds`, or `most` at a time."""

    def __init__(self, leave: Callable[[Sequence[Any]], None], seconds: float, most: int) -> None:
        self._leave = leave
        self._seconds = seconds
        self._most = most
        self._items: list[Any] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Any) -> None:
        """Keep one more; on the event loop's thread."""
        self._items.append(item)
        if len(self._items) >= self._most:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.flush)

    def flush(self) -> None:
        """Let everything leave now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._items:
            items, self._items = self._items, []
            self._leave(items)


class RequestLog(Gathered):
    """One line of JSON for each request. A logging record for each would cost as much as the whole signature."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logging_setup.write_lines, LOG_SECONDS, LOG_AT_ONCE)
        self._logger = logger

    def line(self, level: int, fields: dict[str, Any]) -> None:
        """Add the line of one request; lines of failures leave at once."""
        if not self._logger.isEnabledFor(level):
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        name = logging.getLevelName(level).lower()
        line = {"time": now, "level": name, "logger": self._logger.name, "message": "request", **fields}
        self.add(orjson.dumps(line, default=str) + b"\n")
        if level >= logging.ERROR:
            self.flush()
