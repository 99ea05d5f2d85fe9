"""The wish to read the associations anew: steps utter it, the associations meet it."""

from __future__ import annotations

import asyncio


class Refresh:
    """Between those who want the associations read now and the one who reads them."""

    def __init__(self) -> None:
        self._uttered = asyncio.Event()
        self._wishes: list[asyncio.Future[str]] = []

    async def ask(self) -> str:
        """Have the associations read; once they are, why they could not be, or an empty text."""
        wish: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._wishes.append(wish)
        self._uttered.set()
        return await wish

    async def wait(self, seconds: float) -> None:
        """Wait for a wish, at most this long."""
        try:
            async with asyncio.timeout(seconds):
                await self._uttered.wait()
        except TimeoutError:
            pass

    def take(self) -> list[asyncio.Future[str]]:
        """The wishes uttered so far; a reading that begins now meets them."""
        taken, self._wishes = self._wishes, []
        self._uttered.clear()
        return taken
