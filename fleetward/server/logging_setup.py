"""Logs of the server itself: one JSON object a line, with request ids and without secrets."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO

import orjson


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; `extra={"fields": {...}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))[-8000:]
        return orjson.dumps(line, default=str).decode()


def configure(level: str, stream: IO[str] = sys.stderr) -> None:
    """Send everything to `stream` as JSON lines."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "asyncio", "picows", "alembic", "nats"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def write_lines(lines: Sequence[bytes]) -> None:
    """Write finished lines of JSON where `configure` sends records; nowhere when it was not called."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and isinstance(handler.formatter, JsonFormatter):
            with handler.lock or contextlib.nullcontext():
                handler.stream.write(b"".join(lines).decode())
                handler.flush()
