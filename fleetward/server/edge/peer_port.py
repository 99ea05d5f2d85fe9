"""Peer port: where other servers of the same key ring bring the clients' ends of sessions whose nodes are here.

Nothing but these WebSockets is served. Who has no certificate of the ring does not get past TLS, and what does not lie
between the two servers by the store is refused before the upgrade is answered.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

from picows import WSListener, WSTransport
from uvicorn.server import ServerState

from fleetward.server import peer_trust
from fleetward.server.call import Context, service_context
from fleetward.server.edge.connection import Connection, Rejection
from fleetward.server.edge.data_channels import DataChannels
from fleetward.server.edge.http import configured, listen, split_address
from fleetward.server.edge.link import Link
from fleetward.server.edge.memory import Memory
from fleetward.server.edge.proxied import Client, ProxiedPort
from fleetward.server.errors import AwsError
from fleetward.server.service import Entry
from fleetward.server.settings import Settings, SettingsFault
from fleetward.server.ssm.session_manager import ends
from fleetward.server.ssm.session_manager.ends import End, Joined
from fleetward.server.ssm.session_manager.table import Key

BROUGHT = Entry("sessions.client-is-brought", ends.client_is_brought, reads=True)
BACKLOG = 1024
MOST_BEGINNING = 10_000
"""Connections of one server whose upgrade is not answered yet: it has proven itself by then."""
PREFIX = "/v1/peer/sessions/"
PATH = re.compile(PREFIX + r"(\d{12})/([a-z0-9-]{1,32})/([^/]{1,288})/(\d{1,9})", re.ASCII)

Run = Callable[[Entry, Context, Any], Awaitable[Any]]


def path_of(key: Key, client_epoch: int) -> str:
    """Where a client's end of a session is brought to."""
    return f"{PREFIX}{key.account}/{key.region}/{quote(key.session_id, safe='')}/{client_epoch}"


class ClientLink(Link):
    """A client's end as the server of the node's end has it."""

    def __init__(self, channels: DataChannels, server_id: str, joined: Joined) -> None:
        super().__init__(channels, End.CLIENT, joined.key, server_id, joined.node_epoch)
        self.epoch = joined.epoch
        self._joined_as = joined

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The other server may copy from now on."""
        self._transport = transport
        self._session = self._channels.session(self.key)
        self._session.join(self, self._joined_as)

    def is_outdated(self, row: Any) -> bool:
        """Whether the client has connected anew, or the node's end is at another server now."""
        moved = row.node_epoch >= self.node_epoch and row.node_server != self._channels.server_id
        return moved or super().is_outdated(row)


class PeerPort:
    """Listens, and goes on listening by other keys when the ring changes."""

    def __init__(self, *, channels: DataChannels, run: Run, settings: Settings, memory: Memory) -> None:
        self._channels = channels
        self._run = run
        limits = replace(settings, connections_per_address=MOST_BEGINNING)
        self._config = configured(_nothing_else, limits, self._upgrade, memory)
        self._state = ServerState()
        self._handshake_timeout = settings.handshake_timeout
        host, _ = split_address(settings.peer_listen)
        if host in ("0.0.0.0", "::"):  # noqa: S104
            raise SettingsFault(f"peer_listen is also where other servers connect to: name an address, not {host}")
        self._socket = listen(settings.peer_listen, "--peer-listen")
        self._accepting: ProxiedPort | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def use(self, context: ssl.SSLContext) -> None:
        """Take connections by these certificates from now on."""
        if self._accepting is not None:
            self._accepting.use(context)
            return
        self._accepting = ProxiedPort(self._socket, context, (), self._connection, self._handshake_timeout)
        self._accepting.start(BACKLOG)

    async def close(self) -> None:
        """Take no more connections; those there are go on."""
        if self._accepting is not None:
            self._accepting.close()
            await self._accepting.wait_closed()

    def _connection(self, client: Client | None) -> asyncio.Protocol:
        return Connection(config=self._config, server_state=self._state, app_state={})

    async def _upgrade(self, scope: dict[str, Any]) -> WSListener | Rejection:
        found = PATH.fullmatch(scope["url"].decode("latin-1"))
        if found is None:
            return Rejection(404, "text/plain", b"Servers bring the ends of sessions here, and nothing else.\n")
        account, region, session_id, epoch = found.groups()
        connection: Connection = scope["connection"]
        there = peer_trust.server_id_of(connection.transport.get_extra_info("peercert"))
        request = (unquote(session_id), int(epoch), there, self._channels.server_id)
        try:
            joined = await self._run(BROUGHT, service_context(account, region), request)
        except AwsError as fault:
            return Rejection(403, "text/plain", f"{fault}\n".encode())
        return ClientLink(self._channels, there, joined)


async def _nothing_else(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application of a port that serves none."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
