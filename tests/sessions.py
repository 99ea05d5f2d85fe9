"""Both ends of a session in tests: a node's and a client's half of the data channel over real WebSockets.

`NodeEnd` and `ClientEnd` drive `protocol/data_channel`; `node_socket` and `client_socket` are the sockets alone, for
tests that send what no end of ours would.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fleetward.protocol import sigv4
from fleetward.protocol.control_channel import SessionClosed, SessionRequested, TaskAcknowledged
from fleetward.protocol.data_channel.opening import agent_open_message, client_open_message
from fleetward.protocol.data_channel.stream import Closed, Data, Event, Side, Stream
from fleetward.protocol.frame import Frame, PayloadType, decode, encode
from fleetward.protocol.sigv4 import Credentials
from tests.channel import Channel, tls
from tests.serving import REGION, Answer, Node, ServerProcess, eventually

WAIT = 10.0
CLIENT_VERSION = "1.2.707.0"


@dataclass(frozen=True)
class Started:
    """What StartSession or ResumeSession answered."""

    session_id: str
    token: str
    url: str


def begin(server: ServerProcess, request: Mapping[str, Any], keys: Credentials | None = None) -> Answer:
    """StartSession as it was answered; root's unless other keys are given."""
    return server.call("StartSession", request, keys or server.root)


def start(node: Node, keys: Credentials | None = None, **request: Any) -> Started:
    """StartSession that must succeed."""
    return _started(begin(node.server, {"Target": node.node_id, **request}, keys))


def resume(node: Node, session_id: str, keys: Credentials | None = None) -> Started:
    """ResumeSession that must succeed."""
    return _started(node.server.call("ResumeSession", {"SessionId": session_id}, keys or node.server.root))


def _started(answer: Answer) -> Started:
    assert answer.status == 200, answer.body
    return Started(answer.json["SessionId"], answer.json["TokenValue"], answer.json["StreamUrl"])


def terminate(node: Node, session_id: str, keys: Credentials | None = None) -> Answer:
    """TerminateSession."""
    return node.server.call("TerminateSession", {"SessionId": session_id}, keys or node.server.root)


def described(node: Node, session_id: str) -> dict[str, Any]:
    """The session as DescribeSessions has it, be it active or history; empty when there is none."""
    for state in ("Active", "History"):
        request = {"State": state, "Filters": [{"key": "SessionId", "value": session_id}]}
        found = node.server.call("DescribeSessions", request, node.server.root).json["Sessions"]
        if found:
            return dict(found[0])
    return {}


def status(node: Node, session_id: str) -> str:
    """The session's status."""
    return str(described(node, session_id).get("Status", ""))


def create_data_channel(node: Node, session_id: str, signer: Credentials | None = None) -> Answer:
    """CreateDataChannel as it was answered."""
    body = json.dumps({"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "ClientId": ""}).encode()
    headers = {"Content-Type": "application/json"}
    path = f"/v1/data-channel/{session_id}"
    return node.server.send("POST", path, body, headers, signer or node.keys, service="ssmmessages")


def node_token(node: Node, session_id: str) -> str:
    """A token that opens the node's end."""
    answer = create_data_channel(node, session_id)
    assert answer.status == 201, answer.body
    return answer.body.decode().partition("<TokenValue>")[2].partition("<")[0]


def node_socket(node: Node, session_id: str, keys: Credentials | None = None, **options: Any) -> ClientConnection:
    """The signed WebSocket alone of a node's end."""
    server = node.server
    path, query = f"/v1/data-channel/{session_id}", "role=publish_subscribe"
    headers = sigv4.sign_headers(
        keys or node.keys,
        method="GET",
        url_path=path,
        query=query,
        headers={"Host": f"{server.host}:{server.port}"},
        region=REGION,
        service="ssmmessages",
        now=datetime.now(UTC),
    )
    return _connect(server, f"wss://{server.host}:{server.port}{path}?{query}", headers, **options)


def client_socket(server: ServerProcess, url: str, **options: Any) -> ClientConnection:
    """The WebSocket alone of a client's end, as it is told to open it: without a signature."""
    return _connect(server, url, {}, **options)


def _connect(server: ServerProcess, url: str, headers: dict[str, str], **options: Any) -> ClientConnection:
    return connect(
        url,
        ssl=tls(server),
        additional_headers=headers,
        compression=None,
        open_timeout=WAIT,
        close_timeout=2,
        ping_interval=None,
        max_size=None,
        **options,
    ).__enter__()


class SocketEnd:
    """One end of a session: a stream, and the socket that it is carried by at present."""

    def __init__(self, side: Side, socket: ClientConnection, opening: str) -> None:
        self.stream = Stream(side, clock_ms=now_ms)
        self.socket = socket
        self.received: dict[int, bytearray] = {}
        self.told: str | None = None
        """What the channel_closed said."""
        self.notes: list[str] = []
        """The types of the frames that were the server's own."""
        socket.send(opening)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, payload: bytes, kind: int = PayloadType.OUTPUT) -> None:
        """Send a payload; what the window keeps back goes out as acknowledgements are read."""
        self.stream.send(kind, payload)
        self.flush()

    def flush(self) -> None:
        """Write what is to be written now."""
        for message in self.stream.outgoing(time.monotonic()):
            self.socket.send(message)

    def read(self, payload: bytes, kind: int = PayloadType.OUTPUT, within: float = WAIT) -> None:
        """Wait until so much as `payload` came since the last time; it must be that."""
        self.until(lambda: len(self.received.get(kind, b"")) >= len(payload), within)
        got = bytes(self.received.pop(kind))
        assert got == payload, (len(got), len(payload), got[:200])

    def closed(self, within: float = WAIT) -> str:
        """Wait for channel_closed; what it says."""
        self.until(lambda: self.told is not None, within)
        assert self.told is not None
        return self.told

    def noted(self, message_type: str, within: float = WAIT) -> None:
        """Wait for a frame of the server's own, one that has not been waited for yet."""
        self.until(lambda: message_type in self.notes, within)
        self.notes.remove(message_type)

    def drained(self, within: float = WAIT) -> None:
        """Wait until everything sent has been acknowledged."""
        self.until(lambda: self.stream.is_drained, within)

    def until(self, check: Callable[[], bool], within: float = WAIT) -> None:
        """Drive the stream until `check`."""
        until = time.monotonic() + within
        while not check():
            assert time.monotonic() < until, f"nothing within {within} s; {self.notes} {self.told!r}"
            self.turn(until)

    def turn(self, until: float) -> None:
        """Send what is due, then take one message if one comes in time."""
        self.flush()
        now = time.monotonic()
        due = self.stream.due_at()
        patience = min(until, until if due is None else due) - now
        try:
            data = self.socket.recv(timeout=max(patience, 0.001))
        except TimeoutError:
            return
        assert isinstance(data, bytes)
        message_type = decode(data, check_digest=False).message_type
        if message_type not in ("input_stream_data", "output_stream_data", "acknowledge"):
            self.notes.append(message_type)
        for event in self.stream.receive(data, time.monotonic()):
            self._take(event)
        self.flush()

    def _take(self, event: Event) -> None:
        if isinstance(event, Data):
            self.received.setdefault(event.payload_type, bytearray()).extend(event.payload)
        elif isinstance(event, Closed):
            self.told = event.output

    def closing_code(self, within: float = WAIT) -> int:
        """Read until the server closes the socket; with which code."""
        until = time.monotonic() + within
        try:
            while time.monotonic() < until:
                self.turn(until)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 0
        raise AssertionError(f"open after {within} s")

    def again(self, socket: ClientConnection, opening: str) -> None:
        """Go on over a new socket."""
        self.socket = socket
        socket.send(opening)
        self.stream.reconnected(time.monotonic())
        self.flush()

    def cut(self) -> None:
        """Lose the connection without a word."""
        self.socket.socket.close()


class NodeEnd(SocketEnd):
    """A node's end, announced as an agent does once it is open."""

    def __init__(self, node: Node, session_id: str) -> None:
        self.node = node
        self.session_id = session_id
        super().__init__(Side.AGENT, node_socket(node, session_id), self._opening())
        self.tell("Connected")

    def _opening(self) -> str:
        token = node_token(self.node, self.session_id)
        return agent_open_message(token, self.node.node_id, str(uuid.uuid4()))

    def tell(self, state: str) -> None:
        """The state of the session, for the server alone."""
        self.socket.send(self.stream.state_message(state, self.session_id))

    def come_again(self) -> None:
        """Open the end anew, as an agent does after a cut."""
        opening = self._opening()
        self.again(node_socket(self.node, self.session_id), opening)
        self.tell("Connected")


class ClientEnd(SocketEnd):
    """A client's end."""

    def __init__(self, server: ServerProcess, started: Started) -> None:
        self.server = server
        self.started = started
        super().__init__(Side.CLIENT, client_socket(server, started.url), client_opening(started.token))

    def come_again(self, node: Node, keys: Credentials | None = None) -> None:
        """Ask for a new token and open the end anew at the first address, as official clients do."""
        resumed = resume(node, self.started.session_id, keys)
        self.again(client_socket(self.server, self.started.url), client_opening(resumed.token))

    def resize(self, columns: int, rows: int) -> None:
        """The size of the screen."""
        self.send(json.dumps({"cols": columns, "rows": rows}).encode(), PayloadType.SIZE)


def client_opening(token: str) -> str:
    """The first message of a client."""
    return client_open_message(token, str(uuid.uuid4()), CLIENT_VERSION, str(uuid.uuid4()))


@dataclass
class Opened:
    """A session with both its ends."""

    node: Node
    channel: Channel
    started: Started
    agent: NodeEnd
    client: ClientEnd
    keys: Credentials | None = None

    @property
    def session_id(self) -> str:
        """Which session."""
        return self.started.session_id

    def echo(self, there: bytes = b"there", back: bytes = b"and back") -> None:
        """Bytes go both ways."""
        self.client.send(there)
        self.agent.read(there)
        self.agent.send(back)
        self.client.read(back)

    def ends_within(self, seconds: float) -> str:
        """Both ends hear that it is over, the node by its control channel too; what the client is told."""
        told = self.client.closed(seconds)
        self.agent.closed(seconds)
        assert self.channel.event(SessionClosed, seconds).session_id == self.session_id
        return told


@contextmanager
def opened(node: Node, channel: Channel, keys: Credentials | None = None, **request: Any) -> Iterator[Opened]:
    """A session with both its ends open: the node's first, as it mostly is."""
    started = start(node, keys, **request)
    assert channel.event(SessionRequested).session_id == started.session_id
    with NodeEnd(node, started.session_id) as agent, ClientEnd(node.server, started) as client:
        client.noted("start_publication")
        yield Opened(node, channel, started, agent, client, keys)


def complete(channel: Channel, session_id: str, status: str = "Success", output: str = "", **more: Any) -> uuid.UUID:
    """The node says that a session has ended on it, and hears that this is known; the message's id."""
    message_id = more.pop("message_id", None) or uuid.uuid4()
    frame = channel.protocol.complete_task(
        session_id,
        final_status=status,
        output=output,
        node_id=channel.node.node_id,
        message_id=message_id,
        now_ms=now_ms(),
        **more,
    )
    channel.socket.send(frame)
    assert channel.event(TaskAcknowledged).message_id == message_id
    return message_id


def document(server: ServerProcess, name: str, content: Mapping[str, Any]) -> str:
    """A Session document of the account's own; its name."""
    request = {"Name": name, "DocumentType": "Session", "DocumentFormat": "JSON", "Content": json.dumps(content)}
    answer = server.call("CreateDocument", request, server.root)
    assert answer.status == 200, answer.body
    return name


def recording(server: ServerProcess, session_id: str, within: float = WAIT) -> list[Any]:
    """The recording of a session once it is stored: its header, then its events."""

    def fetched() -> Answer | None:
        answer = server.send("GET", f"/_fleetward/sessions/{session_id}/recording", b"", {}, server.root)
        return answer if answer.status == 200 else None

    body = eventually(fetched, within).body
    return [json.loads(line) for line in body.decode().splitlines()]


def shown(events: Sequence[Any]) -> str:
    """What a recording shows."""
    return "".join(text for _, kind, text in events[1:] if kind == "o")


def frame(kind: str, payload: bytes, number: int = 0, payload_type: int = PayloadType.OUTPUT) -> bytes:
    """One binary message, made by hand."""
    return encode(Frame(kind, payload, uuid.uuid4(), now_ms(), sequence_number=number, payload_type=payload_type))


def now_ms() -> int:
    """The present in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
