"""Virtual fleet: thousands of simulated nodes in one process, over real sockets and the agents' real protocol.

Each node signs its calls, opens its control channel as the official agent does (agent protocol reference, section 6),
acknowledges and answers jobs without running anything, knows a job that comes twice, keeps replies that nobody
acknowledged, and comes back with the official agent's pauses. Its address is one of its own in 127.0.0.0/8.

`python -m fleetward.testing.virtual_fleet --help` registers a few for a demonstration; `make bench` starts thousands.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import concurrent.futures
import contextlib
import ipaddress
import multiprocessing
import random
import signal
import ssl
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from fleetward import __version__
from fleetward.protocol import frame as frames
from fleetward.protocol import sigv4
from fleetward.protocol.control_channel import CANCEL_COMMAND, AckCode, AgentControlChannel
from fleetward.protocol.errors import RemoteProtocolError
from fleetward.protocol.frame import Frame

AGENT_NAME = "fleetward-simulator"
AGENT_VERSION = ".".join([*__version__.split("."), "0", "0", "0"][:4])
SIMULATED = "This node is simulated: nothing was run.\n"
MOST_REGISTERED = 100
"""Nodes that the command line makes: each costs an RSA key."""

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
CALL_SECONDS = 15.0
JOBS_REMEMBERED = 1000
QUERY = "role=subscribe&stream=input"

_FIRST_ADDRESS = int(ipaddress.IPv4Address("127.1.0.1"))


class CallFault(Exception):
    """A call did not succeed: `status` and the server's text, status 0 when it could not be made."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}" if status else text)
        self.status = status


@dataclass(slots=True)
class NodeIdentity:
    """Who a virtual node is: its id and the temporary keys it signs with.

    With a `private_key` (DER) the keys are renewed at half of their life, otherwise they are what they are.
    """

    node_id: str
    credentials: sigv4.Credentials
    computer_name: str
    private_key: bytes = b""
    fingerprint: str = ""
    renew_at: float = float("inf")


class VirtualFleet:
    """Virtual nodes that talk to one server. All methods run on the event loop that `start` was called on.

    `channel_token` replaces the call that asks for a channel's token (benches mint their own), `work_seconds` is how
    long a command takes, `output` what it prints; `heartbeats=False` leaves the periodic ones out. At most
    `openings_at_once` nodes open a channel or send a heartbeat at the same time.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        ca_file: Path | None = None,
        region: str = "us-east-1",
        output: str = SIMULATED,
        work_seconds: float = 0.0,
        heartbeats: bool = True,
        channel_token: Callable[[str], str] | None = None,
        openings_at_once: int = 200,
    ) -> None:
        parts = urlsplit(endpoint)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 443
        self.authority = parts.netloc
        self.region = region
        self.output = output
        self.work_seconds = work_seconds
        self.heartbeats = heartbeats
        self.channel_token = channel_token
        self.trust = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        self.tls = self.trust if parts.scheme == "https" else None
        self.channels_url = f"{'wss' if self.tls else 'ws'}://{parts.netloc}/v1/control-channel/"
        self.nodes: list[VirtualNode] = []
        self.connected = 0
        self.jobs = 0
        self.repeated_jobs = 0
        self.finished = 0
        """Final replies that the server has acknowledged."""
        self.failures = 0
        self.openings = asyncio.Semaphore(openings_at_once)
        self._answers: dict[str, _Answers] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, identities: Iterable[NodeIdentity]) -> None:
        """Bring these nodes up; each keeps its channel open until `close`."""
        for identity in identities:
            address = ipaddress.IPv4Address(_FIRST_ADDRESS + len(self.nodes))
            node = VirtualNode(self, identity, str(address))
            self.nodes.append(node)
            self._tasks.append(asyncio.create_task(node.run()))
            if self.heartbeats:
                self._tasks.append(asyncio.create_task(node.keep_telling()))

    async def until(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Wait until `reached()`; whether that was so within `seconds`."""
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    async def close(self) -> None:
        """Disconnect every node."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for node in self.nodes:
            node.hang_up()
        self._tasks.clear()
        self.nodes.clear()

    def answers(self, command_id: str, content: str) -> _Answers:
        """What every node says about one command; worked out once."""
        known = self._answers.get(command_id)
        if known is None:
            if len(self._answers) >= JOBS_REMEMBERED:
                self._answers.clear()
            known = self._answers[command_id] = _Answers(content, self.output)
        return known

    async def call(
        self,
        address: str,
        target: str,
        request: dict[str, Any],
        sign: Callable[[dict[str, str], bytes], dict[str, str]],
        path: str = "/",
    ) -> bytes:
        """POST a call from `address` on a connection of its own; the body of a 2xx answer, else CallFault."""
        body = orjson.dumps(request)
        headers = {"Host": self.authority, "Content-Type": "application/json"}
        if target:
            headers |= {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        headers |= sign(headers, body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(CALL_SECONDS):
                status, answer = await self._exchange(address, head.encode() + body)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            raise CallFault(0, f"{type(error).__name__}: {error}") from error
        if status >= 300:
            raise CallFault(status, answer[:300].decode("utf-8", "replace"))
        return answer

    async def _exchange(self, address: str, message: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(
            self.host, self.port, ssl=self.tls, local_addr=(address, 0) if _is_loopback(self.host) else None
        )
        try:
            writer.write(message)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("\r\ncontent-length:")[2].partition("\r\n")[0] or 0)
            return int(head.split(" ", 2)[1]), await reader.readexactly(length)
        finally:
            writer.close()


class _Answers:
    """The replies to one command, rendered but for the job's id: in progress, then the result."""

    def __init__(self, content: str, output: str) -> None:
        document = orjson.loads(content).get("DocumentContent") or {}
        steps = [(step["name"], step["action"]) for step in document.get("mainSteps", [])]
        steps = steps or [(name, name) for name in document.get("runtimeConfig", {})]
        self.begun = _reply_parts("InProgress", None)
        self.ended = _reply_parts("Success", {name: _step(action, "Success", 0, output) for name, action in steps})
        self.cancelled = _reply_parts(
            "Cancelled", {name: _step(action, "Cancelled", 137, "") for name, action in steps}
        )


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
        options: dict[str, Any] = {"local_addr": (self._address, 0)} if _is_loopback(self._fleet.host) else {}
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
            self._reply(name, _BEGUN_CANCEL, is_last=False)
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


def heartbeat_request(identity: NodeIdentity, channel: str, address: str) -> dict[str, Any]:
    """What a virtual node tells about itself."""
    return {
        "AgentName": AGENT_NAME,
        "AgentStatus": "Active",
        "AgentVersion": AGENT_VERSION,
        "AvailabilityZone": "",
        "AvailabilityZoneId": "",
        "ComputerName": identity.computer_name,
        "IPAddress": address,
        "InstanceId": identity.node_id,
        "PlatformName": "Simulated",
        "PlatformType": "Linux",
        "PlatformVersion": "1",
        "SSMConnectionChannel": channel,
    }


async def register(
    fleet: VirtualFleet, activation_id: str, activation_code: str, private_key: bytes, public_key: str, name: str
) -> NodeIdentity:
    """Register a machine that does not exist, as the official agent would; CallFault when it is refused."""
    fingerprint = str(uuid.uuid4())
    request = {
        "ActivationCode": activation_code,
        "ActivationId": activation_id,
        "Fingerprint": fingerprint,
        "PublicKey": public_key,
        "PublicKeyType": "Rsa",
    }
    answer = await fleet.call("127.0.0.1", "AmazonSSM.RegisterManagedInstance", request, lambda *_: {})
    node_id = orjson.loads(answer)["InstanceId"]
    identity = NodeIdentity(node_id, sigv4.Credentials("", ""), name, private_key, fingerprint)
    await renew_credentials(fleet, identity, "127.0.0.1")
    return identity


async def renew_credentials(fleet: VirtualFleet, identity: NodeIdentity, address: str) -> None:
    """Ask, signed with the node's own key, for temporary keys; the next are due at half of their life."""

    def sign(headers: dict[str, str], body: bytes) -> dict[str, str]:
        return sigv4.sign_headers_rsa(
            identity.node_id,
            identity.private_key,
            method="POST",
            url_path="/",
            headers=headers,
            body=body,
            region=fleet.region,
            now=datetime.now(UTC),
        )

    request = {"Fingerprint": identity.fingerprint}
    token = orjson.loads(await fleet.call(address, "AmazonSSM.RequestManagedInstanceRoleToken", request, sign))
    identity.credentials = sigv4.Credentials(token["AccessKeyId"], token["SecretAccessKey"], token["SessionToken"])
    identity.renew_at = (time.time() + token["TokenExpirationDate"]) / 2


def new_key_pair(_: int = 0) -> tuple[bytes, str]:
    """A new RSA-2048 pair: private key (DER), public key (SubjectPublicKeyInfo, DER, base64)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, base64.b64encode(public).decode()


def _step(action: str, status: str, code: int, output: str) -> dict[str, Any]:
    moment = _iso_now()
    return {
        "status": status,
        "code": code,
        "name": action,
        "output": output,
        "startDateTime": moment,
        "endDateTime": moment,
        "outputS3BucketName": "",
        "outputS3KeyPrefix": "",
        "stepName": "",
        "standardOutput": output,
        "standardError": "",
    }


def _reply_parts(status: str, steps: dict[str, Any] | None) -> tuple[bytes, bytes]:
    """The payload of a reply, cut at the place where the job's id goes."""
    content = orjson.dumps(
        {
            "additionalInfo": {
                "agent": {"lang": "en-US", "name": AGENT_NAME, "os": "linux", "osver": "1", "ver": AGENT_VERSION},
                "dateTime": _iso_now(),
                "runId": "",
                "runtimeStatusCounts": {status: len(steps)} if steps else {},
            },
            "documentStatus": status,
            "documentTraceOutput": "",
            "runtimeStatus": steps,
        }
    ).decode()
    rest = orjson.dumps({"content": content, "topic": "aws.ssm.sendCommand"})
    return b'{"schemaVersion":1,"jobId":"', b'",' + rest[1:]


def _iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")[:23] + "Z"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


_BEGUN_CANCEL = _reply_parts("InProgress", None)


# --- the command line ------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Register nodes, keep them online, answer what they are sent, until SIGTERM or SIGINT."""
    import uvloop

    options = _parser().parse_args(arguments)
    if not 1 <= options.count <= MOST_REGISTERED:
        sys.stderr.write(f"--count must be 1 to {MOST_REGISTERED}\n")
        return 2
    _say(f"making {options.count} keys")
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
        pairs = list(pool.map(new_key_pair, range(options.count)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_demonstrate(options, pairs))
        except CallFault as fault:
            sys.stderr.write(f"the simulated nodes cannot register: {fault}\n")
            return 1
    return 0


async def _demonstrate(options: argparse.Namespace, pairs: Sequence[tuple[bytes, str]]) -> None:
    ended = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, ended.set)
    fleet = VirtualFleet(options.endpoint, ca_file=options.ca, region=options.region)
    try:
        for number, (private, public) in enumerate(pairs, 1):
            name = f"{options.prefix}-{number:03}"
            node = await register(fleet, options.activation_id, options.activation_code, private, public, name)
            fleet.start([node])
            if number % 10 == 0 or number == len(pairs):
                _say(f"registered {number} of {len(pairs)} simulated nodes")
            if ended.is_set():
                return
        await fleet.until(lambda: fleet.connected == len(pairs) or ended.is_set(), 60)
        _say(f"ready {fleet.connected}")
        await ended.wait()
    finally:
        await fleet.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fleetward.testing.virtual_fleet", description=main.__doc__)
    parser.add_argument("--endpoint", required=True, help="URL of the server")
    parser.add_argument("--ca", type=Path, help="PEM file of the server's CA")
    parser.add_argument("--activation-id", required=True)
    parser.add_argument("--activation-code", required=True)
    parser.add_argument("--count", type=int, required=True, help=f"how many nodes, at most {MOST_REGISTERED}")
    parser.add_argument("--prefix", default="simulated", help="nodes are named PREFIX-001 and so on")
    parser.add_argument("--region", default="us-east-1")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
