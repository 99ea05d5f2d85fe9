"""Outside: performs what entries ask to have done outside of a transaction (`effects.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from fleetward.server.edge.apart import computed_apart
from fleetward.server.edge.fetch import Fetcher
from fleetward.server.edge.passwords import Passwords
from fleetward.server.effects import AskedEffect, Compute, ComputeApart, FetchUrl, HashPassword, VerifyPassword
from fleetward.server.errors import AwsError


class Performer:
    """Performs effects, one after another."""

    def __init__(self, fetcher: Fetcher, passwords: Passwords) -> None:
        self._fetcher = fetcher
        self._passwords = passwords

    async def perform(self, effect: AskedEffect) -> Any:
        """What an effect comes to."""
        match effect:
            case HashPassword(password):
                return await self._passwords.hashed(password)
            case VerifyPassword(password, hashes):
                for each in hashes:
                    if await self._passwords.matches(each, password):
                        return each
                return ""
            case FetchUrl():
                return await self._fetcher.fetch(effect.url, effect.most_bytes, effect.seconds)
            case Compute(function, arguments):
                return await asyncio.to_thread(computed, function, arguments)
            case ComputeApart(function, arguments, seconds):
                return await asyncio.to_thread(computed_apart, function, arguments, seconds)


def computed(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """What `Compute` comes to."""
    try:
        return function(*arguments)
    except AwsError as fault:
        return fault
