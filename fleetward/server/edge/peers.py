"""Peers: how a client's end that came to this server reaches the server that holds the node's end.

`Session` says when: a client is here, and by the store its node is at another living server. A link that breaks is made
again in the same way, to whoever holds the node's end by then; the client's socket stays, and waits.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import picows
from picows import WSCloseCode, WSTransport

from fleetward.server import presence
from fleetward.server.call import Context, service_context
from fleetward.server.edge.connection import WEBSOCKET_FRAME_LIMIT
from fleetward.server.edge.link import Link
from fleetward.server.edge.memory import Memory
from fleetward.server.edge.peer_port import PeerPort, path_of
from fleetward.server.keys import KeyRing
from fleetward.server.peer_trust import PeerTrust, peer_name
from fleetward.server.service import Entry
from fleetward.server.settings import Settings
from fleetward.server.ssm.session_manager.ends import End

if TYPE_CHECKING:
    from fleetward.server.edge.data_channels import DataChannels
    from fleetward.server.edge.session import Session

log = logging.getLogger("fleetward.peers")

ADDRESS = Entry("presence.peer-address", presence.peer_address, reads=True)
DIAL_SECONDS = 5.0
AGAIN_AFTER = 2.0
"""Seconds until a server that could not be reached, or refused, is asked again for the same session."""

Run = Callable[[Entry, Context, Any], Awaitable[Any]]


class NodeLink(Link):
    """A node's end as the server has it that its client came to."""

    masks = True

    def __init__(self, channels: DataChannels, session: Session, row: Any) -> None:
        super().__init__(channels, End.NODE, session.key, row.node_server, row.node_epoch)
        self._awaited_by = session
        self._client_epoch = row.client_epoch

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The other server takes what the client sends; unless the client has gone or found its node meanwhile."""
        self._transport = transport
        if self._awaited_by.awaits_node(self._client_epoch):
            self._session = self._awaited_by
            self._session.link(self)
        else:
            self.close(WSCloseCode.OK)

    def finish(self, text: str) -> None:
        """The session is over, as the other server has found itself."""
        self.close(WSCloseCode.OK)

    def is_outdated(self, row: Any) -> bool:
        """Whether the node's end is at another server now; a new connection to the same one changes nothing."""
        return bool(row.node_epoch >= self.node_epoch and row.node_server != self.server_id)


class Peers:
    """The other servers, for sessions between them and this one."""

    def __init__(
        self,
        *,
        channels: DataChannels,
        run: Run,
        ring: KeyRing,
        settings: Settings,
        server_id: str,
        memory: Memory,
    ) -> None:
        self._channels = channels
        self._run = run
        self._ring = ring
        self._settings = settings
        self._server_id = server_id
        self._port: PeerPort | None = None
        if settings.peer_listen:
            self._port = PeerPort(channels=channels, run=run, settings=settings, memory=memory)
        self._trusts = asyncio.Lock()
        self._known: tuple[Any, ...] = ()
        self._client: ssl.SSLContext | None = None
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[str, int, float]] = {}
        self._told: dict[str, set[str]] = {}

    @property
    def address(self) -> str:
        """Where other servers reach this one; empty: not at all."""
        return "" if self._port is None else self._port.address

    async def look(self) -> None:
        """Have the port follow the key ring; called at the start and every second."""
        if self._port is not None:
            await self._trusted()
        now = time.monotonic()
        self._failed = {topic: each for topic, each in self._failed.items() if now - each[2] < AGAIN_AFTER}

    async def _trusted(self) -> ssl.SSLContext:
        """The context to dial with, made when it is first needed and whenever the ring has changed."""
        async with self._trusts:
            known = (self._ring.sealing, *sorted(self._ring.checks.items()))
            if self._client is None or known != self._known:
                trust = await asyncio.to_thread(PeerTrust, self._ring, self._server_id, self._settings.data)
                if self._port is not None:
                    self._port.use(trust.server())
                self._client, self._known = trust.client(), known
            return self._client

    def reach(self, session: Session, row: Any) -> None:
        """Have a link made for a session whose client is here and whose node is, by its row, at another server."""
        topic = session.key.topic
        there, epoch, tried_at = self._failed.get(topic, ("", 0, 0.0))
        if (there, epoch) == (row.node_server, row.node_epoch) and time.monotonic() - tried_at < AGAIN_AFTER:
            return
        if topic not in self._dialling:
            task = self._dialling[topic] = asyncio.ensure_future(self._try(session, row))
            task.add_done_callback(lambda _: self._dialling.pop(topic, None))

    async def close(self) -> None:
        """The server stops."""
        for task in tuple(self._dialling.values()):
            task.cancel()
        if self._port is not None:
            await self._port.close()

    async def _try(self, session: Session, row: Any) -> None:
        there, topic = row.node_server, session.key.topic
        self._failed[topic] = (there, row.node_epoch, time.monotonic())
        try:
            if await self._dial(session, row):
                self._failed.pop(topic, None)
                self._told.pop(there, None)
        except picows.WSInvalidStatusError as fault:  # the store has changed meanwhile, and tells more next time
            log.info("a peer refused a client's end", extra={"fields": {"server": there, "reason": str(fault)[:300]}})
        except (OSError, TimeoutError, picows.WSError) as fault:
            self._tell(there, type(fault).__name__, str(fault)[:300])
        except Exception:
            log.exception("a peer was not reached")

    async def _dial(self, session: Session, row: Any) -> bool:
        """Whether a link was made; not to a server that has died: its node comes again, here or elsewhere."""
        address = await self._run(ADDRESS, service_context(row.account_id, row.region), row.node_server)
        if address == "":
            self._tell(row.node_server, "no address", "it has no --peer-listen address")
            session.close(WSCloseCode.TRY_AGAIN_LATER)
        if not address:
            return False
        link, context = NodeLink(self._channels, session, row), await self._trusted()
        async with asyncio.timeout(DIAL_SECONDS):
            await picows.ws_connect(
                lambda: link,
                f"wss://{address}{path_of(session.key, row.client_epoch)}",
                ssl_context=context,
                server_hostname=peer_name(link.server_id),
                websocket_handshake_timeout=DIAL_SECONDS,
                enable_auto_pong=False,
                max_frame_size=WEBSOCKET_FRAME_LIMIT,
                max_redirects=0,
                use_aiofastnet=False,  # under uvloop it can leave a second connection without what it was given to send
            )
        return True

    def _tell(self, server_id: str, fault: str, reason: str) -> None:
        """Each fault once, until the server is reached again: sessions come by the hundred."""
        told = self._told.setdefault(server_id, set())
        if fault not in told:
            told.add(fault)
            fields = {"server": server_id, "fault": fault, "reason": reason}
            log.warning("a peer cannot be reached", extra={"fields": fields})
