"""Reset: `POST /_fleetward/reset` of an ephemeral server, for loopback alone, leaves all as after the first start."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable

from fleetward.server.call import Context
from fleetward.server.edge.channels import Channels
from fleetward.server.edge.http import TEXT
from fleetward.server.edge.pipeline import Exchange, Response
from fleetward.server.edge.waits import Waits
from fleetward.server.ports import Objects
from fleetward.server.service import Entry

log = logging.getLogger("fleetward.server")

PATH = "/_fleetward/reset"


class Reset:
    """The page, with what it empties."""

    def __init__(
        self,
        *,
        run: Callable[[Entry, Context, object], Awaitable[object]],
        empty: Entry,
        home: Context,
        channels: Channels,
        waits: Waits,
        objects: Objects,
        forget: Callable[[], Awaitable[None]],
    ) -> None:
        self._run = run
        self._empty = empty
        self._home = home
        self._channels = channels
        self._waits = waits
        self._objects = objects
        self._forget = forget
        self._busy = asyncio.Lock()

    async def page(self, exchange: Exchange) -> Response:
        """Empty all, then answer; a web page that makes a browser ask is refused."""
        if not ipaddress.ip_address(exchange.source_ip or "0.0.0.0").is_loopback:  # noqa: S104 - nobody's address
            return Response(403, TEXT, b"A reset is asked for on the server's own machine only.\n")
        if "origin" in exchange.headers or "sec-fetch-site" in exchange.headers:
            return Response(403, TEXT, b"A reset is not asked for by web pages.\n")
        async with self._busy:
            await self._run(self._empty, self._home, {})
            await self._forget()
            self._channels.close_all()
            self._waits.wake_all()
            await asyncio.to_thread(self._delete_objects)
        log.info("reset")
        return Response(200, TEXT, b"reset\n")

    def _delete_objects(self) -> None:
        for info in list(self._objects.list("")):
            self._objects.delete(info.key)
