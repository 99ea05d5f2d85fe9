"""Passwords at the edge: argon2id on threads of its own, two at a time, between the entries of a sign-in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fleetward.server.errors import ServiceUnavailableException
from fleetward.server.iam import passwords

AT_ONCE = 2
WAITING = 64
"""Hashes that may wait for a thread; 64 take some five seconds."""


class Passwords:
    """Compares and hashes passwords beside the event loop; argon2 lets go of the interpreter meanwhile."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "passwords")
        self._waiting = 0

    async def matches(self, stored: str, password: str) -> bool:
        """Whether `stored` is the password's hash; without a stored one the same work, in vain."""
        found: bool = await self._run(passwords.matches, stored, password)
        return found

    async def hashed(self, password: str) -> str:
        """The hash of a password."""
        found: str = await self._run(passwords.hashed, password)
        return found

    async def among(self, stored: Iterable[str], password: str) -> bool:
        """Whether the password is that of any of some hashes."""
        for each in stored:
            if await self.matches(each, password):
                return True
        return False

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., Any], *arguments: str) -> Any:
        if self._waiting >= WAITING:
            raise ServiceUnavailableException("Too many people are signing in at this moment; try again.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1
