"""Virtual node: one simulated machine, its connection, and what must outlive it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from fleetward.protocol import frame as frames
from fleetward.protocol import sigv4
from fleetward.protocol.control_channel import CANCEL_COMMAND, AckCode, AgentControlChannel
from fleetward.protocol.errors import RemoteProtocolError
from fleetward.protocol.frame import Frame
from fleetward.testing.virtual_fleet.answers import AGENT_VERSION, BEGUN_CANCEL, heartbeat_request
from fleetward.testing.virtual_fleet.identity import (
    CALL_SECONDS,
    CallFault,
    NodeIdentity,
    is_loopback,
    renew_credentials,
)

if TYPE_CHECKING:
    from fleetward.testing.virtual_fleet.fleet import VirtualFleet

RECONNECT_SECONDS = 2.5
FIRST_FAILURE_SECONDS = (5.0, 10.0)
FAILURE_JITTER = 0.5
LONGEST_FAILURE_SECONDS = 40 * 60.0
PING_SECONDS = 54.0
FIRST_DEADLINE_SECONDS = 114.0
PONG_DEADLINE_SECONDS = 60.0
HEARTBEAT_SECONDS = 300.0
RESEND_SECONDS = 300.0
ACKNOWLEDGED_WITHIN_SECONDS = 1.0
JOBS_REMEMBERED = 1000
QUERY = "role=subscribe&stream=input"


class VirtualNode(WSListener):
    """One node: a connection at a time, and what must outlive it."""

    def __init__(self, fleet: VirtualFleet, identity: NodeIdentity, address: str) -> None:
        self.identity = identity
        self._fleet = fleet
        self._address = address
        self._transport: WSTransport | None = None
        self._gone: asyncio.Event | None = None
        self._pong_deadline = 0.0
        self._known_jobs: dict[str, None] = {}
        self._running: dict[str, asyncio.TimerHandle] = {}
        self._unacknowledged: dict[bytes, tuple[float, bytes, bool]] = {}  # by wire id: since when, the frame, is last

    @property
    def is_connected(self) -> bool:
        """Whether the channel is open."""
        return self._transport is not None

    async def run(self) -> None:
        """Keep the control channel open, with the official agent's pauses between tries."""
        delay = 0.0
        while True:
            try:
                async with self._fleet.openings:
                    await self._open()
            except (CallFault, OSError, TimeoutError, WSError):
                self._fleet.failures += 1
                delay = min(delay * 2 or random.uniform(*FIRST_FAILURE_SECONDS), LONGEST_FAILURE_SECONDS)  # noqa: S311
                await asyncio.sleep(delay * random.uniform(1.0, 1.0 + FAILURE_JITTER))  # noqa: S311
                continue
            delay = 0.0
            await self._stay()
            await asyncio.sleep(random.uniform(0, RECONNECT_SECONDS))  # noqa: S311

    async def keep_telling(self) -> None:
        """Heartbeats: one at the start, the next after a random part of five minutes, then every five."""
        pause = HEARTBEAT_SECONDS * random.random()  # noqa: S311
        while True:
            with contextlib.suppress(CallFault):
                async with self._fleet.openings:
                    await self.heartbeat()
            await asyncio.sleep(pause)
            pause = HEARTBEAT_SECONDS

    async def heartbeat(self) -> None:
        """Tell the server about the node; CallFault when it does not take it."""
        facts = heartbeat_request(self.identity, "ssmmessages" if self.is_connected else "", self._address)
        await self._call("ssm", "AmazonSSM.UpdateInstanceInformation", facts)

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        for timer in self._running.values():
            timer.cancel()
        self._running.clear()
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.GOING_AWAY)
            self._transport.disconnect()

    # --- what picows tells

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A message of the server."""
        if frame.msg_type == WSMsgType.BINARY:
            try:
                self._receive(frames.decode(frame.get_payload_as_bytes(), check_digest=False))
            except RemoteProtocolError:
                transport.disconnect()
        elif frame.msg_type == WSMsgType.PONG:
            self._pong_deadline = time.monotonic() + PONG_DEADLINE_SECONDS
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        if self._transport is not None:
            self._transport = None
            self._fleet.connected -= 1
        if self._gone is not None:
            self._gone.set()

    # --- the channel

    async def _open(self) -> None:
        await self._renew()
        node_id = self.identity.node_id
        path = f"/v1/control-channel/{node_id}"
        if self._fleet.channel_token is not None:
            token = self._fleet.channel_token(node_id)
        else:
            request = {"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4())}
            answer = (await self._call("ssmmessages", "", request, path)).decode()
            token = answer.partition("<TokenValue>")[2].partition("</TokenValue>")[0]
        headers = {"Host": self._fleet.authority}
        headers |= sigv4.sign_headers(
            self.identity.credentials,
            method="GET",
            url_path=path,
            query=QUERY,
            headers=headers,
            region=self._fleet.region,
            service="ssmmessages",
            now=datetime.now(UTC),
        )
        self._gone = asyncio.Event()
        options: dict[str, Any] = {"local_addr": (self._address, 0)} if is_loopback(self._fleet.host) else {}
        transport, _ = await ws_connect(
            lambda: self,
            f"{self._fleet.channels_url}{node_id}?{QUERY}",
            ssl_context=self._fleet.tls,
            extra_headers=headers,
            websocket_handshake_timeout=CALL_SECONDS,
            read_buffer_init_size=4096,
            logger_name="virtual-node",
            **options,
        )
        if self._gone.is_set():
            raise ConnectionResetError("closed at once")
        opening = AgentControlChannel().open_message(token, AGENT_VERSION, "linux", str(uuid.uuid4()))
        transport.send(WSMsgType.TEXT, opening.encode())
        self._transport = transport
        self._fleet.connected += 1

    async def _stay(self) -> None:
        """Ping until the connection is gone; send again what was not acknowledged."""
        assert self._gone is not None
        self._pong_deadline = time.monotonic() + FIRST_DEADLINE_SECONDS
        resend_at = time.monotonic() + RESEND_SECONDS
        while not self._gone.is_set():
            try:
                await asyncio.wait_for(self._gone.wait(), PING_SECONDS)
            except TimeoutError:
                if self._transport is None or time.monotonic() > self._pong_deadline:
                    self.hang_up()
                    continue
                self._transport.send_ping(b"keepalive")
                if time.monotonic() > resend_at:
                    resend_at = time.monotonic() + RESEND_SECONDS
                    self._resend()

    def _resend(self) -> None:
        for since, message, _ in list(self._unacknowledged.values()):
            if self._transport is not None and time.monotonic() - since > ACKNOWLEDGED_WITHIN_SECONDS:
                self._transport.send(WSMsgType.BINARY, message)

    def _receive(self, frame: Frame) -> None:
        if frame.message_type == "agent_job_reply_ack":
            identity = orjson.loads(frame.payload)["acknowledgedMessageId"]
            stored = self._unacknowledged.pop(uuid.UUID(identity).bytes, None)
            if stored is not None and stored[2]:
                self._fleet.finished += 1
        elif frame.message_type == "agent_job":
            self._take(frame, orjson.loads(frame.payload))

    def _take(self, frame: Frame, job: dict[str, Any]) -> None:
        name = job["JobId"]
        if name in self._known_jobs:
            self._fleet.repeated_jobs += 1
            self._acknowledge(frame, name, AckCode.DUPLICATE_COMMAND)
            return
        self._known_jobs[name] = None
        if len(self._known_jobs) > JOBS_REMEMBERED:
            del self._known_jobs[next(iter(self._known_jobs))]
        self._acknowledge(frame, name, AckCode.SUCCESSFUL)
        if job["Topic"].startswith(CANCEL_COMMAND):
            self._reply(name, BEGUN_CANCEL, is_last=False)
            self._cancel(orjson.loads(job["Content"])["CancelMessageId"])
            return
        self._fleet.jobs += 1
        answers = self._fleet.answers(name.split(".")[-2], job["Content"])
        self._reply(name, answers.begun, is_last=False)
        if self._fleet.work_seconds <= 0:
            self._reply(name, answers.ended, is_last=True)
            return
        loop = asyncio.get_running_loop()
        self._running[name] = loop.call_later(self._fleet.work_seconds, self._finish, name, answers.ended)

    def _finish(self, name: str, parts: tuple[bytes, bytes]) -> None:
        self._running.pop(name, None)
        self._reply(name, parts, is_last=True)

    def _cancel(self, name: str) -> None:
        timer = self._running.pop(name, None)
        if timer is not None:
            timer.cancel()
            self._reply(name, self._fleet.answers(name.split(".")[-2], "{}").cancelled, is_last=True)

    def _acknowledge(self, frame: Frame, name: str, code: AckCode) -> None:
        at = datetime.fromtimestamp(frame.created_at_ms / 1000, UTC)
        body = {
            "jobId": name,
            "acknowledgedMessageId": str(frame.message_id),
            "createdDate": at.isoformat(timespec="milliseconds")[:23] + "Z",
            "statusCode": str(int(code)),
            "errorMessage": code.text,
        }
        self._send(Frame("agent_job_ack", orjson.dumps(body), uuid.UUID(int=random.getrandbits(128)), _now_ms()))

    def _reply(self, name: str, parts: tuple[bytes, bytes], *, is_last: bool) -> None:
        identity = uuid.UUID(int=random.getrandbits(128))
        message = frames.encode(Frame("agent_job_reply", name.encode().join(parts), identity, _now_ms()))
        self._unacknowledged[identity.bytes] = (time.monotonic(), message, is_last)
        if self._transport is not None:
            self._transport.send(WSMsgType.BINARY, message)

    def _send(self, frame: Frame) -> None:
        if self._transport is not None:
            self._transport.send(WSMsgType.BINARY, frames.encode(frame))

    # --- calls

    async def _call(self, service: str, target: str, request: dict[str, Any], path: str = "/") -> bytes:
        await self._renew()

        def sign(headers: dict[str, str], body: bytes) -> dict[str, str]:
            return sigv4.sign_headers(
                self.identity.credentials,
                method="POST",
                url_path=path,
                headers=headers,
                body=body,
                region=self._fleet.region,
                service=service,
                now=datetime.now(UTC),
            )

        return await self._fleet.call(self._address, target, request, sign, path)

    async def _renew(self) -> None:
        identity = self.identity
        if identity.private_key and time.time() >= identity.renew_at:
            identity.renew_at = time.time() + 60  # one asks, the others go on with the old keys
            await renew_credentials(self._fleet, identity, self._address)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
