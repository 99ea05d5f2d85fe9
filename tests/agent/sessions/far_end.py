"""The rest of the world for one session's process: the control plane's half of a data channel, and the client."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import struct
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from fleetward.agent import platforms
from fleetward.agent.client import Client, Endpoint
from fleetward.agent.http import Url
from fleetward.agent.node import Node
from fleetward.agent.sessions.nursery import Nursery
from fleetward.agent.sessions.supervisor import SessionProcess
from fleetward.agent.state import StateFolder
from fleetward.protocol.data_channel.flags import PortFlag, flag_payload
from fleetward.protocol.data_channel.handshake import (
    OUR_TERMS,
    ClientHandshake,
    Completed,
    Encrypt,
    Failed,
    GenerateKey,
    Send,
    Step,
    Terms,
)
from fleetward.protocol.data_channel.opening import read_open_message
from fleetward.protocol.data_channel.stream import Data, Side, Stream
from fleetward.protocol.frame import Frame as StreamFrame
from fleetward.protocol.frame import PayloadType, decode, encode
from tests.agent.machine import NODE_ID, FixedKeys

SESSION_ID = "alice-0123456789abcdef0"
SHELL = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {}}
Answer = Callable[[str, dict[str, str], bytes], tuple[int, bytes]]


def content(document: dict[str, Any], parameters: dict[str, str] | None = None, **members: Any) -> str:
    """The message that asks for a session."""
    named = {"DocumentName": "test", "SessionId": SESSION_ID, "SessionOwner": "arn:aws:iam::123456789012:user/alice"}
    return json.dumps({**named, "DocumentContent": document, "Parameters": parameters or {}, **members})


def commands(text: str, *, interactive: bool = True, **members: Any) -> dict[str, Any]:
    """A document that runs commands, as the agent's own user: root where the tests are root."""
    kind = "InteractiveCommands" if interactive else "NonInteractiveCommands"
    properties = {"linux": {"commands": text, "runAsElevated": True, **members}}
    return {"schemaVersion": "1.0", "sessionType": kind, "properties": properties}


def port(number: int, host: str | None = None, *, forwarding: bool = True) -> dict[str, Any]:
    """A document that leads to a port."""
    properties: dict[str, Any] = {"portNumber": str(number)}
    if host is not None:
        properties["host"] = host
    if forwarding:
        properties |= {"type": "LocalPortForwarding", "localPortNumber": "0"}
    return {"schemaVersion": "1.0", "sessionType": "Port", "properties": properties}


class FarEnd:
    """Listens for one session's process, and is its client."""

    def __init__(self, folder: Path, terms: Terms | None = OUR_TERMS, nursery: Nursery | None = None) -> None:
        self._nursery = nursery
        self.state = StateFolder(folder / "state")
        self.state.prepare()
        self.stream = Stream(Side.CLIENT, clock_ms=lambda: time.time_ns() // 1_000_000)
        self.handshake = ClientHandshake(client_version="1.2.0.0", session_id=SESSION_ID, node_id=NODE_ID, terms=terms)
        self.completed: Completed | None = None
        self.failed = ""
        self.seen: list[tuple[int, bytes]] = []
        self.printed = bytearray()
        self.states: list[str] = []
        self.connections = 0
        self.refusal: tuple[int, bytes] | None = None
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Answer | None = None
        self.generated: tuple[bytes, bytes] | None = None
        self.writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._readable = asyncio.Event()
        self._readable.set()
        self._protocol: ServerProtocol | None = None
        self.process: SessionProcess | None = None
        self.result: asyncio.Task[Any] | None = None

    # -- what a test does ---------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def session(self, text: str) -> AsyncIterator[FarEnd]:
        """With the process of a session that this message asks for."""
        async with self.listening() as client:
            node = Node(NODE_ID, "us-east-1", self.state, platforms.current(), client)
            self.process = SessionProcess(node, FixedKeys(), self._nursery)
            self.result = asyncio.create_task(self.process.run(SESSION_ID, text))
            try:
                yield self
            finally:
                if not self.result.done():
                    self.process.close()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(10):
                            await asyncio.shield(self.result)
                self.result.cancel()
                await asyncio.gather(self.result, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Client]:
        """With a port that is listened on, and what calls it in the node's name."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1024 * 1024)
        url = Url("http", "127.0.0.1", server.sockets[0].getsockname()[1])
        try:
            yield Client(Endpoint(url, None, "us-east-1"), NODE_ID, FixedKeys())
        finally:
            self.cut()
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def begun(self) -> Completed:
        """Wait until both ends agreed."""
        await self.until(lambda: self.completed is not None or bool(self.failed))
        assert self.completed is not None, self.failed
        return self.completed

    async def ended(self) -> dict[str, Any]:
        """Wait for the end: how the process says it ended."""
        assert self.result is not None
        async with asyncio.timeout(30):
            result: dict[str, Any] = dict(await asyncio.shield(self.result))
        return result

    async def until(self, check: Callable[[], Any], within: float = 30.0) -> None:
        """Wait until something that came makes `check` true."""
        try:
            async with asyncio.timeout(within):
                while not check():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"not so within {within} s; the end of what came: {bytes(self.printed[-500:])!r}"
            ) from None

    async def expect(self, text: bytes, within: float = 30.0) -> None:
        """Wait until this was printed."""
        await self.until(lambda: text in self.printed, within)

    def type(self, text: bytes) -> None:
        """Type something."""
        self.send(PayloadType.OUTPUT, text)

    def send(self, payload_type: int, payload: bytes) -> None:
        """Send a payload."""
        self.stream.send(payload_type, payload)
        self._flush()

    async def send_all(self, data: bytes, size: int = 32 * 1024) -> None:
        """Send much, no faster than there is room for."""
        for start in range(0, len(data), size):
            while self.stream.room <= 0:
                await self._change()
            self.send(PayloadType.OUTPUT, data[start : start + size])

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        self.send(PayloadType.SIZE, json.dumps({"cols": columns, "rows": rows}).encode())

    def flag(self, flag: PortFlag) -> None:
        """Send a flag."""
        self.send(PayloadType.FLAG, flag_payload(flag))

    def tell(self, message_type: str, body: dict[str, Any]) -> None:
        """Say something as the control plane."""
        frame = StreamFrame(message_type, json.dumps(body).encode(), uuid.uuid4(), time.time_ns() // 1_000_000)
        self._write(encode(frame))

    def write_raw(self, message: bytes) -> None:
        """Send a binary message that may be none of the protocol's."""
        self._write(message)

    async def until_asked(self, times: int) -> None:
        """Wait until the process has called so often."""
        await self.until(lambda: len(self.requests) >= times)

    def cut(self) -> None:
        """Reset the connection, if there is one."""
        if self.writer is not None:
            raw = self.writer.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
            self.writer = None

    def stop_reading(self) -> None:
        """Be a slow reader: nothing is read from the connection any more."""
        self._readable.clear()

    def read_on(self) -> None:
        """Be no slow reader any longer."""
        self._readable.set()

    async def turn(self) -> None:
        """Give the other process a moment."""
        await asyncio.sleep(0.02)

    def payloads(self, payload_type: int) -> list[bytes]:
        """All payloads of a type that came."""
        return [payload for kind, payload in self.seen if kind == payload_type]

    @property
    def digest(self) -> str:
        """The hash of what was printed."""
        return hashlib.sha256(self.printed).hexdigest()

    # -- the control plane --------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            request, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if headers.get("upgrade") == "websocket":
                await self._channel(head, headers, reader, writer)
            else:
                await self._call(request, headers, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _call(
        self, request: str, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        body = await reader.readexactly(int(headers.get("content-length") or 0))
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        self.requests.append((request, headers, body))
        self._changed.set()
        if self.refusal is not None:
            status, answer = self.refusal
        elif request.startswith(f"POST /v1/data-channel/{SESSION_ID} "):
            members = json.loads(body)
            assert (members["MessageSchemaVersion"], members["ClientId"]) == ("1.0", "")
            status, answer = (
                201,
                (
                    b"<CreateDataChannelResponse><TokenValue>a&amp;token</TokenValue>"
                    b"<MessageSchemaVersion>1.0</MessageSchemaVersion></CreateDataChannelResponse>"
                ),
            )
        else:
            assert self.answer is not None, request
            status, answer = self.answer(request, headers, body)
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n" % (status, len(answer)) + answer)
        await writer.drain()

    async def _channel(
        self, head: bytes, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        protocol = ServerProtocol(max_size=None)
        protocol.receive_data(head)
        (request,) = protocol.events_received()
        assert request.path == f"/v1/data-channel/{SESSION_ID}?role=publish_subscribe"
        protocol.send_response(protocol.accept(request))
        self.writer, self._protocol = writer, protocol
        self.connections += 1
        self._changed.set()
        self._put()
        self.stream.reconnected(time.monotonic())
        while self.writer is writer:
            await self._readable.wait()
            data = await reader.read(256 * 1024)
            if not data:
                break
            protocol.receive_data(data)
            for event in protocol.events_received():
                self._hear(event)
            self._put()
            self._flush()
        if self.writer is writer:
            self.writer = None

    def _hear(self, event: Any) -> None:
        assert isinstance(event, Frame)
        if event.opcode is Opcode.TEXT:
            opening = read_open_message(bytes(event.data).decode())
            assert (opening.token, opening.node_id) == ("a&token", NODE_ID)
        elif event.opcode is Opcode.BINARY:
            self._receive(bytes(event.data))

    def _receive(self, data: bytes) -> None:
        frame = decode(data, check_digest=False)
        if frame.message_type == "agent_session_state":
            self.states.append(json.loads(frame.payload)["SessionState"])
            return
        for event in self.stream.receive(data, time.monotonic()):
            if isinstance(event, Data):
                self._take(event)
        self._changed.set()

    def _take(self, data: Data) -> None:
        if self.handshake.is_over:
            self.seen.append((data.payload_type, data.payload))
            if data.payload_type == PayloadType.OUTPUT:
                self.printed += data.payload
            return
        self._step(self.handshake.receive(data.payload_type, data.payload))

    def _step(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, Send):
                self.stream.send(step.payload_type, step.payload)
            elif isinstance(step, GenerateKey):
                assert self.generated is not None
                self._step(self.handshake.key_generated(*self.generated))
            elif isinstance(step, Encrypt):
                self.stream.encrypt(step.keys)
            elif isinstance(step, Failed):
                self.failed = step.reason
            elif isinstance(step, Completed):
                self.completed = step
                if step.terms is not None:
                    self.stream.use(step.terms)

    def _flush(self) -> None:
        if self.writer is None:
            return
        for message in self.stream.outgoing(time.monotonic()):
            self._write(message)
        if self._timer is not None:
            self._timer.cancel()
        due = self.stream.due_at()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, due - time.monotonic()), self._flush)

    def _write(self, message: bytes) -> None:
        if self.writer is not None and self._protocol is not None and self._protocol.state is State.OPEN:
            self._protocol.send_binary(message)
            self._put()

    def _put(self) -> None:
        if self.writer is not None and self._protocol is not None:
            for data in self._protocol.data_to_send():
                if data:
                    self.writer.write(data)

    async def _change(self) -> None:
        self._changed.clear()
        async with asyncio.timeout(30):
            await self._changed.wait()


def with_session(
    folder: Path, text: str, work: Callable[[FarEnd], Awaitable[None]], terms: Terms | None = OUR_TERMS
) -> FarEnd:
    """Run a session's process and `work` beside it, within a minute; the far end, to look at afterwards."""

    async def scenario() -> FarEnd:
        far = FarEnd(folder, terms)
        async with asyncio.timeout(60), far.session(text):
            await work(far)
        return far

    return asyncio.run(scenario())
