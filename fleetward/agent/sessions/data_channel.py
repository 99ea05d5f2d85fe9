"""The data channel of a session, kept open: token, WebSocket, the stream over it, and all of it again after a cut.

A session outlives its connections. While there is none, what is sent waits, as far as there is room; nothing is lost
and nothing comes twice. Half-open connections are found by silence: pings are sent into it. Ours: it is tried for
fifteen minutes to open the channel again, where the official agent gives up after five tries.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from fleetward.agent import chance
from fleetward.agent.client import Client, ServiceFault, trust_only
from fleetward.agent.http import HttpFault
from fleetward.agent.sessions.peer import Activity
from fleetward.agent.sessions.sockets import Socket, open_socket
from fleetward.agent.websocket import Opcode, Upgradeless
from fleetward.protocol.data_channel.encryption import SessionKeys
from fleetward.protocol.data_channel.handshake import Terms
from fleetward.protocol.data_channel.opening import agent_open_message
from fleetward.protocol.data_channel.stream import Closed, Data, Event, Side, Stream
from fleetward.protocol.errors import RemoteProtocolError

log = logging.getLogger("fleetward.data_channel")

QUERY = "role=publish_subscribe"
FIRST_TRIES = 5
REFUSED_TRIES = 5
RESUME_SECONDS = 900.0
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
LOOK_SECONDS = 5.0
PING_AFTER_LOOKS = 2
DEAD_AFTER_LOOKS = 5
OFFICIAL_DRAIN_SECONDS = 2.0
LONGEST_DRAIN_SECONDS = 600.0
MOST_EARLY = 1000
ROOM_WORTH_TELLING = 16 * 1024
TERMINATED = "Session is already terminated"


class ChannelFault(Exception):
    """The channel cannot be kept open; one sentence."""


class DataChannel:
    """One session's channel; it is the session's Peer and delivers to its Activity."""

    def __init__(self, client: Client, session_id: str, ca: Path) -> None:
        self._client = client
        self._session_id = session_id
        self._ca = ca
        self._loop = asyncio.get_running_loop()
        self._stream = Stream(Side.AGENT, clock_ms=lambda: time.time_ns() // 1_000_000)
        self._socket: Socket | None = None
        self._activity: Activity | None = None
        self._early: deque[Data] = deque()
        self._arrived = asyncio.Event()
        self._lost = asyncio.Event()
        self._progress = asyncio.Event()
        self._silent_looks = 0
        self._has_opened = self._is_flushing = self._is_waited_for = self._is_ending = False
        self._timer: asyncio.TimerHandle | None = None
        self.is_official = True
        self.over: asyncio.Future[str] = self._loop.create_future()
        """Done when the other side ended the session: why, or empty."""

    async def keep(self) -> None:
        """Keep it open until it is over; ChannelFault when that cannot be done any longer."""
        looking = asyncio.create_task(self._look())
        try:
            while not self.over.done():
                await self._open_somehow()
                await self._lost.wait()
        finally:
            looking.cancel()

    # -- for the handshake and the activity ---------------------------------------------------------------------------

    def send(self, payload_type: int, payload: bytes) -> None:
        """Send a payload, once and in order, whatever becomes of the connection."""
        self._stream.send(payload_type, payload)
        self._flush_soon()

    @property
    def has_room(self) -> bool:
        """Whether there is room for more; without, `Activity.on_room` tells when there is."""
        self._is_waited_for = self._stream.room <= 0
        return not self._is_waited_for

    def hold(self) -> None:
        """Deliver nothing more."""
        self._stream.hold()

    def release(self) -> None:
        """Deliver again."""
        self._loop.call_soon(self._release)

    async def next(self, seconds: float) -> Data | None:
        """The next payload while there is no activity yet; None when none comes in time."""
        try:
            async with asyncio.timeout(seconds):
                while not self._early:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return None
        return self._early.popleft()

    def attach(self, activity: Activity, first: Data | None = None) -> None:
        """From now on payloads go to this activity; `first` before those that have come already."""
        self._activity = activity
        early = [first, *self._early] if first is not None else list(self._early)
        self._early.clear()
        self._hand_over(early)

    def use(self, terms: Terms) -> None:
        """Both ends agreed on larger frames."""
        self._stream.use(terms)
        self.is_official = False

    def encrypt(self, keys: SessionKeys) -> None:
        """From now on what the parties say is sealed."""
        self._stream.encrypt(keys)

    async def finish(self, seconds: float) -> None:
        """Wait until everything sent has arrived, unless nothing moves for so long; then tell that it is the end.

        An official client says nothing to what it had before a cut: it is not waited for as long.
        """
        if self.is_official:
            seconds = min(seconds, OFFICIAL_DRAIN_SECONDS)
        try:
            async with asyncio.timeout(LONGEST_DRAIN_SECONDS):
                while not self._stream.is_drained and not self.over.done():
                    self._progress.clear()
                    async with asyncio.timeout(seconds):
                        await self._progress.wait()
        except TimeoutError:
            log.info("session %s ends before all it said has arrived", self._session_id)
        self._is_ending = True
        if self._timer is not None:
            self._timer.cancel()
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.send(Opcode.BINARY, self._stream.state_message("Terminating", self._session_id))
            await socket.close()

    # -- the connection -----------------------------------------------------------------------------------------------

    async def _open_somehow(self) -> None:
        """Open it, with pauses, as long as that makes sense."""
        begun = self._loop.time()
        pause = SHORTEST_PAUSE_SECONDS
        tries = refused = 0
        while True:
            try:
                await self._open()
                return
            except (ServiceFault, Upgradeless) as error:
                reason = str(error.body[:2000], "utf-8", "replace") if isinstance(error, Upgradeless) else str(error)
                if TERMINATED in reason:
                    raise ChannelFault(TERMINATED) from error
                refused += 0 if error.status >= 500 or error.status == 429 else 1
                fault: Exception = error
            except (HttpFault, OSError) as error:
                fault = error
            tries += 1
            log.warning("the data channel of %s does not open: %s", self._session_id, fault)
            is_late = self._loop.time() - begun > RESUME_SECONDS
            if is_late or refused >= REFUSED_TRIES or (tries >= FIRST_TRIES and not self._has_opened):
                raise ChannelFault(f"the data channel does not open: {fault}") from fault
            await asyncio.sleep(pause * chance.between(1.0, 2.0))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _open(self) -> None:
        endpoint = self._client.endpoint
        if endpoint.trust is not None:
            endpoint.trust = trust_only(self._ca)  # another CA may be believed by now
        token = await self._client.data_channel_token(self._session_id, str(uuid.uuid4()))
        path = f"/v1/data-channel/{quote(self._session_id, safe='')}"
        sign = await self._client.sign_upgrade(path, QUERY)
        self._lost.clear()
        self._silent_looks = 0
        connection = _Connection(self)
        socket = await open_socket(endpoint, f"{path}?{QUERY}", sign, connection)
        if connection.is_lost:
            raise HttpFault("the data channel was closed at once")
        socket.send(Opcode.TEXT, agent_open_message(token, self._client.node_id, str(uuid.uuid4())).encode())
        socket.send(Opcode.BINARY, self._stream.state_message("Connected", self._session_id))
        self._socket = connection.socket = socket
        if self._has_opened:
            log.info("the data channel of %s is open again", self._session_id)
            self._stream.reconnected(self._loop.time())
        self._has_opened = True
        self._flush()

    def lost(self, connection: _Connection, reason: str) -> None:
        """A connection is gone."""
        if connection.socket is not self._socket or self._is_ending:
            return
        log.info("the data channel of %s broke: %s", self._session_id, reason)
        self._socket = None
        self._lost.set()

    async def _look(self) -> None:
        """Ping into silence, and give a connection up that answers nothing.

        Looks are counted, not seconds: a machine that slept has not been answered less.
        """
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._silent_looks += 1
            if self._socket is None:
                continue
            if self._silent_looks > DEAD_AFTER_LOOKS:
                self._socket.abort()
            elif self._silent_looks >= PING_AFTER_LOOKS:
                self._socket.send(Opcode.PING, b"keepalive")

    # -- the stream ---------------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """A message came over the present connection."""
        try:
            events = self._stream.receive(data, self._loop.time())
        except RemoteProtocolError as error:
            self._break(error)
        else:
            self._progress.set()
            self._hand_over(events)

    def alive(self) -> None:
        """Something came."""
        self._silent_looks = 0

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Closed):
                self._end("")
            elif isinstance(event, Data):
                if self._activity is not None:
                    self._activity.receive(event.payload_type, event.payload)
                elif len(self._early) >= MOST_EARLY:
                    raise RemoteProtocolError("too much was sent before the session began")
                else:
                    self._early.append(event)
                    self._arrived.set()

    def _release(self) -> None:
        self._hand_over(self._stream.release(self._loop.time()))

    def _hand_over(self, events: Sequence[Event]) -> None:
        try:
            self._deliver(events)
        except RemoteProtocolError as error:
            self._break(error)
        else:
            self._flush_soon()

    def _break(self, error: RemoteProtocolError) -> None:
        self._end(f"The client broke the protocol: {error}")

    def _end(self, reason: str) -> None:
        if not self.over.done():
            self.over.set_result(reason)
            self._progress.set()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what the stream wants to say now, and come back when it is due to say more."""
        self._is_flushing = False
        socket = self._socket
        if socket is None or socket.is_congested or self._is_ending:
            return
        for message in self._stream.outgoing(self._loop.time()):
            socket.send(Opcode.BINARY, message)
        self._tell_room()
        due = self._stream.due_at()
        if due is not None:
            self._wake_at(max(due, self._loop.time() + 0.001))

    def _wake_at(self, due: float) -> None:
        """Flush again then; a timer that rings earlier will do, and looks what is due by then."""
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._flush()

    def relieved(self) -> None:
        """The connection takes more."""
        self._flush_soon()

    def _tell_room(self) -> None:
        if self._is_waited_for and self._activity is not None and self._stream.room >= ROOM_WORTH_TELLING:
            self._is_waited_for = False
            self._activity.on_room()


class _Connection:
    """The Listener of one socket: what an earlier one still says is not heard."""

    def __init__(self, channel: DataChannel) -> None:
        self._channel = channel
        self.socket: Socket | None = None
        self.is_lost = False

    def on_message(self, data: bytes) -> None:
        self._channel.received(data)

    def on_alive(self) -> None:
        self._channel.alive()

    def on_relief(self) -> None:
        self._channel.relieved()

    def on_lost(self, reason: str) -> None:
        self.is_lost = True
        if self.socket is not None:
            self._channel.lost(self, reason)
