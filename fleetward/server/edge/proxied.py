"""Proxied: a TLS port behind proxies that send a PROXY header before TLS begins.

Only peers of the trusted networks are read as proxies, and they must send the header; everybody else is served as on
any TLS port, so that a header of theirs is just no TLS. The header is taken off the socket exactly, to the byte, within
the time of a handshake; TLS then begins on the same socket, and the connection counts as the client's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Sequence

from fleetward.server.edge import proxy_header
from fleetward.server.edge.proxy_header import ProxyHeaderFault

log = logging.getLogger("fleetward.edge")

Client = tuple[str, int]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MOST_BEGINNING = 4096
"""Connections at once that are not through TLS yet."""
ACCEPT_PAUSE = 0.1


class ProxiedPort:
    """Accepts connections on one socket; has what uvicorn asks of a server: close and wait_closed."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        proxies: Sequence[Network],
        connection: Callable[[Client | None], asyncio.Protocol],
        seconds: float,
    ) -> None:
        self._listening = listening
        self._context = context
        self._proxies = proxies
        self._connection = connection
        self._seconds = seconds
        self._beginning: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    def start(self, backlog: int) -> None:
        """Listen and accept from now on."""
        self._listening.listen(backlog)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def use(self, context: ssl.SSLContext) -> None:
        """Begin TLS by this context from now on."""
        self._context = context

    def close(self) -> None:
        """Accept no more and give up what has not begun."""
        if self._accepting is not None:
            self._accepting.cancel()
        for task in list(self._beginning):
            task.cancel()

    async def wait_closed(self) -> None:
        """Until nothing is left of it."""
        tasks = [*self._beginning, *([self._accepting] if self._accepting is not None else [])]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listening.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(self._listening)
            except OSError as fault:  # such as no file descriptors left: those waiting must not spin us
                log.warning("connection not accepted", extra={"fields": {"reason": str(fault)}})
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._beginning) >= MOST_BEGINNING:
                accepted.close()
                continue
            task = loop.create_task(self._begin(accepted, peer[0]))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket, peer: str) -> None:
        """The header if one is due, then TLS; the protocol has the socket afterwards."""
        try:
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client: Client | None = None
            if self.is_proxy(peer):
                async with asyncio.timeout(self._seconds):
                    client = proxy_header.parse(await read_header(accepted)).client
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._connection(client), accepted, ssl=self._context, ssl_handshake_timeout=self._seconds
            )
        except asyncio.CancelledError:
            accepted.close()
            raise
        except (OSError, TimeoutError, ProxyHeaderFault) as fault:
            accepted.close()
            if isinstance(fault, ProxyHeaderFault):
                fields = {"peer": peer, "reason": str(fault)}
                log.warning("no PROXY header", extra={"fields": fields})

    def is_proxy(self, peer: str) -> bool:
        """Whether a peer is one of the trusted proxies."""
        address = ipaddress.ip_address(peer.partition("%")[0])
        return any(address in network for network in self._proxies)


async def read_header(accepted: socket.socket) -> bytes:
    """The bytes of a whole header and none behind it; ProxyHeaderFault when the peer sends something else."""
    loop = asyncio.get_running_loop()
    data = b""
    while wanted := proxy_header.bytes_wanted(data):
        received = await loop.sock_recv(accepted, wanted)
        if not received:
            raise ProxyHeaderFault("the connection ended in the middle of the header")
        data += received
    return data
