"""Runs what the client does with a fleet to its end: the fleet of the AWS profile, the fastest loop there is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fleetward.cli.api import failures
from fleetward.client import Fleet, connect

T = TypeVar("T")


def run(work: Callable[[Fleet], Awaitable[T]]) -> T:
    """What `work` makes of the fleet; what it cannot do is a Failure."""
    with failures():
        fleet = connect()

        async def all_of_it() -> T:
            async with fleet:
                return await work(fleet)

        return _run(all_of_it())


def _run(work: Coroutine[Any, Any, T]) -> T:
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries log is not for somebody's screen
    return asyncio.run(work)  # not uvloop: picows is fastest over asyncio's own loop, with the aiofastnet it brings
