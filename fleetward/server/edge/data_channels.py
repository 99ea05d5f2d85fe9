"""Data channels: every session that has an end on this server: found by its id, looked at when it changed.

```
   client ==> SessionEnd --+                +-- SessionEnd <== agent
                           |    Session     |
                           +---- forward ---+      recorder, traffic, what waits for an end that is away
```
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from picows import WSCloseCode

from fleetward.server.call import Caller, Context, service_context
from fleetward.server.edge.recorder import Recorders
from fleetward.server.edge.session import Session
from fleetward.server.edge.session_end import SessionEnd
from fleetward.server.keys import KeyFault, KeyRing
from fleetward.server.ports import Clock
from fleetward.server.service import Entry, Runner
from fleetward.server.ssm.session_manager import ends, grants
from fleetward.server.ssm.session_manager.ends import End
from fleetward.server.ssm.session_manager.table import Key, key_of, token_identity

if TYPE_CHECKING:
    from fleetward.server.edge.peers import Peers

log = logging.getLogger("fleetward.sessions")

LOOK = Entry("sessions.look", ends.look, reads=True)
DENIED = Entry("sessions.denied", grants.denied, reads=True)
END_DENIED = Entry("sessions.end-denied", grants.end_denied, audit=False)

AT_ONCE = 500
"""Sessions that are looked at in one read."""

Holder = Callable[[str, str, str, datetime], Awaitable[Caller | None]]
Run = Callable[[Entry, Context, Any], Awaitable[Any]]


class DataChannels:
    """Every session that has an end on this server."""

    def __init__(
        self,
        *,
        runner: Runner,
        run: Run,
        server_id: str,
        keys: KeyRing,
        clock: Clock,
        holder: Holder,
        recorders: Recorders,
    ) -> None:
        self.runner = runner
        self.server_id = server_id
        self.keys = keys
        self.clock = clock
        self.recorders = recorders
        self.peers: Peers | None = None
        self.plain = runner.settings.websockets != "picows"
        self._run = run
        self._holder = holder
        self._sessions: dict[str, Session] = {}
        self._opening: set[SessionEnd] = set()
        self._looks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def node_end(self, context: Context, session_id: str) -> SessionEnd:
        """A listener for a node that has proven to be one, and that the session is its own."""
        return SessionEnd(self, End.NODE, session_id, context)

    def client_end(self, session_id: str, context: Context, proven: Callable[[], None]) -> SessionEnd:
        """A listener for a stranger, whose first message has to carry the token that opens the session."""
        return SessionEnd(self, End.CLIENT, session_id, context, proven)

    def session(self, key: Key) -> Session:
        """The session as this server has it, new if it has not."""
        found = self._sessions.get(key.topic)
        if found is None:
            found = self._sessions[key.topic] = Session(self, key)
        return found

    def forget(self, session: Session) -> None:
        """Neither end is here any more."""
        self._sessions.pop(session.key.topic, None)

    def begins(self, end: SessionEnd) -> None:
        """A connection whose first message is still to come."""
        self._opening.add(end)

    def begun(self, end: SessionEnd) -> None:
        """It has come, or the connection is gone."""
        self._opening.discard(end)

    def wake(self, topics: Sequence[str]) -> None:
        """Something about these sessions changed: look at those that have an end here."""
        self.recorders.wake(topics)
        woken = [session for topic in topics if (session := self._sessions.get(topic)) is not None]
        if woken:
            self.look_soon(woken)

    def look_soon(self, sessions: Sequence[Session]) -> None:
        """Ask the store how sessions stand."""
        task = asyncio.ensure_future(self._look_at(sessions))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def every_second(self) -> None:
        """Look at every session here: whether it is over, and whether its owner's grant still stands."""
        await self._look(list(self._sessions.values()), check=True)
        now = self.clock.now()
        for session in tuple(self._sessions.values()):
            session.second(now)

    async def _look_at(self, sessions: Sequence[Session]) -> None:
        try:
            await self._look(sessions, check=False)
        except Exception:  # every_second looks again
            log.exception("sessions that changed were not looked at")

    async def _look(self, sessions: Sequence[Session], *, check: bool) -> None:
        tenants: dict[tuple[str, str], list[Session]] = {}
        for session in sessions:
            tenants.setdefault((session.key.account, session.key.region), []).append(session)
        for (account, region), of_tenant in tenants.items():
            context = service_context(account, region)
            for first in range(0, len(of_tenant), AT_ONCE):
                some = of_tenant[first : first + AT_ONCE]
                rows = await self._run(LOOK, context, [session.key.session_id for session in some])
                for session in some:
                    session.stands(rows.get(session.key.session_id))
                if check:
                    owned = {session.key.session_id for session in some if not session.is_linked}
                    await self._check(context, [rows[id_] for id_ in owned & rows.keys() if rows[id_].ended_at is None])

    async def _check(self, context: Context, rows: Sequence[Any]) -> None:
        held = [grants.Held(row, await self._owner(row)) for row in rows]
        if held and (denied := await self._run(DENIED, context, held)):
            await self._run(END_DENIED, context, denied)

    async def _owner(self, row: Any) -> Caller | None:
        try:
            sealed, identity = row.session_token, token_identity(key_of(row))
            token = "" if sealed is None else self.keys.open(sealed, identity).decode()
        except KeyFault:
            return None
        return await self._holder(row.access_key_id, token, row.region, self.clock.now())

    def close_all(self) -> None:
        """The server stops: every end is told to come again."""
        for end in tuple(self._opening):
            end.close(WSCloseCode.GOING_AWAY)
        for session in tuple(self._sessions.values()):
            session.count()
            session.close(WSCloseCode.GOING_AWAY)
