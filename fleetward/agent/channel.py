"""Keeps the control channel open; while it cannot be opened, work comes by polling."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from urllib.parse import quote

from fleetward import __version__
from fleetward.agent import chance
from fleetward.agent.client import Client, ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.polling import Polling
from fleetward.agent.report import Replies, Reply
from fleetward.agent.sessions.supervisor import Supervisor, end_frame
from fleetward.agent.websocket import Opcode, Upgradeless, WebSocket, open_websocket
from fleetward.agent.worker import Worker
from fleetward.protocol.control_channel import (
    AgentControlChannel,
    JobReceived,
    ReplyAcknowledged,
    SessionClosed,
    SessionRequested,
    TaskAcknowledged,
)
from fleetward.protocol.errors import RemoteProtocolError

log = logging.getLogger("fleetward.channel")

OPEN_VERSION = f"fleetward/{__version__}"
QUERY = "role=subscribe&stream=input"
PING_SECONDS = 54.0
FIRST_DEADLINE_SECONDS = 114.0
PONG_DEADLINE_SECONDS = 60.0
RECONNECT_SECONDS = 2.5
LONGEST_PAUSE_SECONDS = 60.0
POLL_AFTER_FAILURES = 2


class Channel:
    """The node's standing connection."""

    def __init__(
        self, client: Client, worker: Worker, replies: Replies, sessions: Supervisor, platform_type: str
    ) -> None:
        self._client = client
        self._worker = worker
        self._sessions = sessions
        self._replies = replies
        self._platform_type = platform_type.lower()
        self._polling = Polling(client, worker, replies)
        self._is_confirmed = False
        self.is_open = False

    @property
    def kind(self) -> str:
        """Which road work comes by, as the heartbeat says it; empty while neither is open."""
        return "ssmmessages" if self.is_open else "ec2messages" if self._polling.is_running else ""

    async def run(self) -> None:
        """Open the channel and open it again, for ever; poll while it does not open."""
        failures = 0
        try:
            while True:
                try:
                    if not self._is_confirmed:
                        await self.confirm()
                    websocket = await self._open()
                except (HttpFault, ServiceFault, Upgradeless) as error:
                    failures += 1
                    log.warning("the control channel does not open: %s", error)
                    if failures >= POLL_AFTER_FAILURES or isinstance(error, ServiceFault | Upgradeless):
                        self._polling.start()
                    pause = min(2.0**failures, LONGEST_PAUSE_SECONDS)
                    await asyncio.sleep(pause * chance.between(0.5, 1.0))
                    continue
                failures = 0
                self._polling.stop()
                await self._serve(websocket)
                self._is_confirmed = False
                await asyncio.sleep(chance.between(0, RECONNECT_SECONDS))
        finally:
            self._polling.stop()

    async def confirm(self) -> None:
        """Tell how many commands were accepted, and learn whether it had been more."""
        try:
            answer = await self._client.own("ConfirmSequence", {"Sequence": self._worker.sequence})
            self._worker.confirm(int(answer["Sequence"]))
        except ServiceFault as fault:
            if fault.code != "UnknownOperationException":  # an older control plane
                raise
        self._is_confirmed = True

    async def _open(self) -> WebSocket:
        token = await self._client.control_channel_token(str(uuid.uuid4()))
        path = f"/v1/control-channel/{quote(self._client.node_id)}"
        sign = await self._client.sign_upgrade(path, QUERY)
        endpoint = self._client.endpoint
        websocket = await open_websocket(endpoint.url, f"{path}?{QUERY}", sign, endpoint.trust)
        self._protocol = AgentControlChannel()
        opening = self._protocol.open_message(token, OPEN_VERSION, self._platform_type, str(uuid.uuid4()))
        try:
            await websocket.send(Opcode.TEXT, opening.encode())
        except OSError as error:
            raise HttpFault(f"the control channel broke: {error}") from error
        return websocket

    async def _serve(self, websocket: WebSocket) -> None:
        """Receive and send until the connection breaks."""
        log.info("the control channel is open")
        self.is_open = True
        self._deadline = time.monotonic() + FIRST_DEADLINE_SECONDS
        helpers = [
            asyncio.create_task(self._keep_alive(websocket)),
            asyncio.create_task(self._replies.deliver(lambda reply: self._send_reply(websocket, reply))),
            asyncio.create_task(self._sessions.ends.deliver(lambda reply: self._send_end(websocket, reply))),
        ]
        try:
            receiving = asyncio.create_task(self._receive(websocket))
            helpers.append(receiving)
            done, _ = await asyncio.wait(helpers, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is not None and not isinstance(error, OSError | RemoteProtocolError):
                    log.error("the control channel broke", exc_info=error)
                else:
                    log.info("the control channel closed%s", f": {error}" if error else "")
        finally:
            self.is_open = False
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await websocket.close()

    async def _receive(self, websocket: WebSocket) -> None:
        while (message := await websocket.receive()) is not None:
            self._deadline = max(self._deadline, time.monotonic() + PONG_DEADLINE_SECONDS)
            if message.opcode is Opcode.BINARY:
                await self._handle(websocket, message.data)

    async def _handle(self, websocket: WebSocket, data: bytes) -> None:
        event = self._protocol.receive_frame(data)
        if isinstance(event, JobReceived):
            ack = self._worker.receive(event.job_id, event.topic, event.content)
            frame = self._protocol.acknowledge_job(
                event, ack.code, ack.error_message, message_id=uuid.uuid4(), now_ms=_now_ms()
            )
            await websocket.send(Opcode.BINARY, frame)
        elif isinstance(event, ReplyAcknowledged):
            self._replies.stored(event.message_id)
        elif isinstance(event, SessionRequested):
            self._sessions.request(event)
        elif isinstance(event, SessionClosed):
            self._sessions.close(event.session_id)
        elif isinstance(event, TaskAcknowledged):
            self._sessions.ends.stored(event.message_id)

    async def _send_reply(self, websocket: WebSocket, reply: Reply) -> bool:
        frame = self._protocol.reply(
            reply.job_id, reply.topic, reply.content, message_id=reply.message_id, now_ms=_now_ms()
        )
        await websocket.send(Opcode.BINARY, frame)
        return False

    async def _send_end(self, websocket: WebSocket, reply: Reply) -> bool:
        await websocket.send(Opcode.BINARY, end_frame(self._protocol, reply, _now_ms()))
        return False

    async def _keep_alive(self, websocket: WebSocket) -> None:
        """Ping every 54 s; end when nothing has come for too long, which only a dead connection does."""
        while True:
            wait = min(PING_SECONDS, self._deadline - time.monotonic())
            await asyncio.sleep(max(wait, 0.0))
            if time.monotonic() >= self._deadline:
                raise ConnectionAbortedError("no answer to our pings")
            await websocket.send(Opcode.PING, b"keepalive")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
