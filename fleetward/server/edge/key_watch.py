"""Key watch: keeps one server's key ring what its source has, seals with the key in use, and reports both."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from fleetward.server import key_rotation, keys
from fleetward.server.call import Context, service_context
from fleetward.server.keys import KeyFault, KeyRing
from fleetward.server.service import Entry
from fleetward.server.settings import Settings

log = logging.getLogger("fleetward.keys")

STATE_OF = Entry("keys.state", key_rotation.state_of, reads=True)
REPORT = Entry("keys.report", key_rotation.report, audit=False)
PROGRAM_EVERY = timedelta(seconds=10)
REPORT_EVERY = timedelta(minutes=10)

Run = Callable[[Entry, Context, Any], Awaitable[Any]]


class KeyWatch:
    """Looks every second, and when woken, whether the ring's file or the key in use changed."""

    def __init__(self, *, run: Run, ring: KeyRing, settings: Settings, server_id: str) -> None:
        self._run = run
        self._ring = ring
        self._settings = settings
        self._server_id = server_id
        self._home = service_context(settings.account, settings.default_region)
        self._file = keys.ring_file(settings.data, settings.keys)
        self._stamp = self._stamp_now()
        self._asked_at: datetime | None = None
        self._told: tuple[Any, ...] = ()
        self._told_at: datetime | None = None
        self._busy = asyncio.Lock()

    async def look(self, now: datetime) -> None:
        """Load what changed, use what is to be used, report what is new."""
        async with self._busy:
            state = await self._run(STATE_OF, self._home, None)
            stamp = await asyncio.to_thread(self._stamp_now)
            if stamp != self._stamp or self._wants_program(state, now):
                await self._load(state.sealing)
                self._stamp = stamp
            if self._ring.sealing != state.sealing and state.sealing in self._ring.checks:
                self._ring.use(state.sealing)
            await self._report(now)

    async def _load(self, sealing: int) -> None:
        try:
            self._ring.load(await asyncio.to_thread(keys.read_keys, self._settings.data, self._settings.keys), sealing)
        except (KeyFault, OSError, subprocess.SubprocessError) as fault:
            log.error("the key ring was not loaded anew", extra={"fields": {"reason": str(fault)}})

    async def _report(self, now: datetime) -> None:
        told = (self._ring.sealing, *sorted(self._ring.checks.items()))
        if told == self._told and self._told_at is not None and now - self._told_at < REPORT_EVERY:
            return
        await self._run(REPORT, self._home, self._server_id)
        self._told, self._told_at = told, now

    def _wants_program(self, state: Any, now: datetime) -> bool:
        """Whether the program that gives the ring is to be asked again: for a key that is missing here."""
        if self._file is not None or {state.sealing, state.wanted} - {0} <= set(self._ring.checks):
            return False
        if self._asked_at is not None and now - self._asked_at < PROGRAM_EVERY:
            return False
        self._asked_at = now
        return True

    def _stamp_now(self) -> tuple[int, ...]:
        """What changes when the ring's file is replaced."""
        if self._file is None:
            return ()
        try:
            found = self._file.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size
