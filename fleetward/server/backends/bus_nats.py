"""Wakes between servers over NATS core subjects.

One subject, `<prefix>.wake`; a message is a JSON array of topics. Own publications are delivered inside the process
and not taken back from NATS, so a server that is cut off still wakes itself. Nothing is kept for others during an
outage: a lost wake costs delay, never truth.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from fleetward.server.settings import SettingsFault

MESSAGE_LIMIT_BYTES = 512 * 1024
CONNECT_WITHIN = 5.0
RECONNECT_PAUSE = 1
OPTIONS = frozenset({"prefix", "credentials", "ca", "certificate", "key"})

log = logging.getLogger(__name__)


class _InsistingClient(Client):
    """A client that says nothing about itself to a server without TLS; nats-py would go on in the clear."""

    def _connect_command(self) -> bytes:
        if not self._server_info.get("tls_required"):
            raise NatsError("the server offers no TLS, which tls:// insists on")
        return super()._connect_command()


class NatsBus:
    """Bus of servers that share a NATS cluster.

    `url` is `nats://[user:password@|token@]host:port[,host:port …]`, `tls://…` to insist on TLS, with the options
    `prefix` (subject prefix, default `fleetward`), `credentials` (NATS credentials file), `ca`, `certificate`, `key`
    (PEM files).
    """

    def __init__(self, url: str) -> None:
        self._servers, self._identity, options = _parse(url)
        self._subject = f"{options.get('prefix', 'fleetward')}.wake"
        self._options = options
        self._receivers: list[Callable[[Sequence[str]], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client = _InsistingClient() if url.startswith("tls:") else Client()
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: dict[str, None] = {}

    @property
    def connected(self) -> bool:
        """Whether other servers can be reached at the moment."""
        return self._client.is_connected

    def publish(self, topics: Sequence[str]) -> None:
        """Deliver here at once and to the others as soon as the loop comes round; never raises."""
        loop = self._loop
        if loop is None or not topics:
            return
        try:
            loop.call_soon_threadsafe(self._publish, list(topics))
        except RuntimeError:  # the loop has ended
            self._loop = None

    def subscribe(self, receive: Callable[[Sequence[str]], None]) -> None:
        """Add a receiver."""
        self._receivers.append(receive)

    async def start(self) -> None:
        """Connect, waiting five seconds at most; goes on trying in the background, for ever."""
        self._loop = asyncio.get_running_loop()
        self._connecting = asyncio.create_task(self._connect(), name="bus-connect")
        await asyncio.wait([self._connecting], timeout=CONNECT_WITHIN)
        if self._connecting.done():
            self._connecting.result()

    async def stop(self) -> None:
        """Disconnect; what was published before is sent first if that is possible."""
        self._loop = None
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        topics, self._waiting = list(self._waiting), {}
        if self._client.is_connected:
            try:
                await self._send_all(topics)
                await self._client.flush(timeout=1)
            except Exception as fault:
                log.info("bus: the last wakes may be lost: %s", fault)
        await self._client.close()

    async def _connect(self) -> None:
        await self._client.connect(
            self._servers,
            name="fleetward",
            no_echo=True,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_PAUSE,
            connect_timeout=5,
            ping_interval=20,
            max_outstanding_pings=2,
            error_cb=_report,
            user_credentials=self._options.get("credentials"),
            tls=_tls(self._options),
            user=self._identity.get("user"),
            password=self._identity.get("password"),
            token=self._identity.get("token"),
        )
        await self._client.subscribe(self._subject, cb=self._receive)
        await self._client.flush()

    def _publish(self, topics: Sequence[str]) -> None:
        self._deliver(topics)
        if not self._client.is_connected:
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.update(dict.fromkeys(topics))

    def _send(self) -> None:
        """Send all that was published in this turn of the loop."""
        topics, self._waiting = list(self._waiting), {}
        if topics and self._client.is_connected:
            task = asyncio.ensure_future(self._send_all(topics))
            task.add_done_callback(_log_failure)

    async def _send_all(self, topics: Sequence[str]) -> None:
        for message in messages(topics):
            await self._client.publish(self._subject, message)

    async def _receive(self, message: Msg) -> None:
        try:
            topics = orjson.loads(message.data)
        except orjson.JSONDecodeError:
            return
        if isinstance(topics, list):
            self._deliver([topic for topic in topics if isinstance(topic, str)])

    def _deliver(self, topics: Sequence[str]) -> None:
        for receive in self._receivers:
            receive(topics)


def messages(topics: Sequence[str], limit_bytes: int = MESSAGE_LIMIT_BYTES) -> Iterator[bytes]:
    """The topics as JSON arrays of at most `limit_bytes` each; a topic that is longer by itself is left out."""
    chunk: list[bytes] = []
    size = 1
    for topic in map(orjson.dumps, topics):
        if len(topic) + 2 > limit_bytes:
            continue
        if size + len(topic) + 1 > limit_bytes:
            yield b"[" + b",".join(chunk) + b"]"
            chunk, size = [], 1
        chunk.append(topic)
        size += len(topic) + 1
    if chunk:
        yield b"[" + b",".join(chunk) + b"]"


def _parse(url: str) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Server addresses, user and password or token, and the options of a bus URL."""
    address, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    scheme, separator, hosts = address.partition("://")
    if scheme not in ("nats", "tls") or not separator or not hosts or set(options) - OPTIONS:
        raise SettingsFault(f"bus must be nats://host:port with no options but {', '.join(sorted(OPTIONS))}")
    who, _, rest = hosts.rpartition("@")
    user, colon, password = map(unquote, who.partition(":"))
    identity = {"user": user, "password": password} if colon else {"token": user} if user else {}
    servers = [f"{scheme}://{host}" for host in rest.split(",")]
    for server in servers:
        try:
            urlsplit(server).port  # noqa: B018
        except ValueError as fault:
            raise SettingsFault(f"bus: {fault}") from fault
    return servers, identity, options


def _tls(options: dict[str, str]) -> ssl.SSLContext | None:
    if not options.keys() & {"ca", "certificate"}:
        return None
    context = ssl.create_default_context(cafile=options.get("ca"))
    if "certificate" in options:
        context.load_cert_chain(options["certificate"], options.get("key"))
    return context


async def _report(fault: Exception) -> None:
    log.warning("bus: %s", fault or type(fault).__name__)


def _log_failure(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.info("bus: wakes for other servers were lost: %s", fault)
