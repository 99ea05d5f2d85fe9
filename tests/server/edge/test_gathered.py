"""What requests leave behind is written together, soon, and in full."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fleetward.server import logging_setup
from fleetward.server.edge.gathered import Gathered, RequestLog


def test_items_leave_together_after_a_moment() -> None:
    async def run() -> None:
        left: list[Sequence[Any]] = []
        gathered = Gathered(left.append, 0.01, 100)
        gathered.add(1)
        gathered.add(2)
        assert left == []
        await asyncio.sleep(0.05)
        assert left == [[1, 2]]

    asyncio.run(run())


def test_no_more_than_the_limit_are_kept() -> None:
    async def run() -> None:
        left: list[Sequence[Any]] = []
        gathered = Gathered(left.append, 60, 3)
        for number in range(7):
            gathered.add(number)
        assert left == [[0, 1, 2], [3, 4, 5]]
        gathered.flush()
        assert left[2:] == [[6]]
        gathered.flush()
        assert len(left) == 3

    asyncio.run(run())


@pytest.fixture
def log_stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logging_setup.configure("info", stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_request_lines_are_json_like_every_other_line(log_stream: io.StringIO) -> None:
    async def run() -> None:
        lines = RequestLog(logging.getLogger("fleetward.edge"))
        lines.line(logging.INFO, {"request_id": "one"})
        lines.line(logging.DEBUG, {"request_id": "not at this level"})
        lines.flush()
        logging.getLogger("fleetward.edge").info("other")
        first, other = (json.loads(line) for line in log_stream.getvalue().splitlines())
        assert first["request_id"] == "one"
        assert first.keys() - {"request_id"} == other.keys()

    asyncio.run(run())


def test_lines_of_failures_leave_at_once(log_stream: io.StringIO) -> None:
    async def run() -> None:
        lines = RequestLog(logging.getLogger("fleetward.edge"))
        lines.line(logging.INFO, {"request_id": "one"})
        lines.line(logging.ERROR, {"request_id": "two"})
        assert [json.loads(line)["request_id"] for line in log_stream.getvalue().splitlines()] == ["one", "two"]

    asyncio.run(run())
