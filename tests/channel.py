"""A node's control channel in tests: the agent's half of the protocol over a real WebSocket."""

from __future__ import annotations

import json
import socket
import ssl
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from websockets.sync.client import ClientConnection, connect

from fleetward.protocol import sigv4
from fleetward.protocol.control_channel import (
    AckCode,
    AgentControlChannel,
    AgentEvent,
    JobReceived,
    ReplyAcknowledged,
)
from fleetward.protocol.sigv4 import Credentials
from tests.serving import REGION, Node, ServerProcess

Event = TypeVar("Event", bound=AgentEvent)
WAIT = 10.0


def tls(server: ServerProcess) -> ssl.SSLContext:
    """A context for sockets that one thread reads and another writes, as websockets.sync does.

    OpenSSL is not made for that: a write beside the tickets that TLS 1.3 sends after its handshake may get lost.
    """
    context = server.tls()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def dial(
    node: Node,
    *,
    channel_id: str = "",
    keys: Credentials | None = None,
    signed: bool = True,
    through: socket.socket | None = None,
) -> ClientConnection:
    """The WebSocket alone: signed by the node, nothing sent on it yet; over the connection `through`, if given."""
    server = node.server
    path = f"/v1/control-channel/{channel_id or node.node_id}"
    query = "role=subscribe&stream=input"
    headers = {"Host": f"{server.host}:{server.port}"}
    if signed:
        headers = sigv4.sign_headers(
            keys or node.keys,
            method="GET",
            url_path=path,
            query=query,
            headers=headers,
            region=REGION,
            service="ssmmessages",
            now=datetime.now(UTC),
        )
    else:
        headers = {}
    url = f"wss://{server.host}:{server.port}{path}?{query}"
    return connect(
        url,
        sock=through,
        ssl=tls(server),
        additional_headers=headers,
        compression=None,
        open_timeout=WAIT,
        close_timeout=2,
        ping_interval=None,
    ).__enter__()


class Channel:
    """An open control channel."""

    def __init__(self, node: Node, token: str | None = None, *, through: socket.socket | None = None) -> None:
        self.node = node
        self.protocol = AgentControlChannel()
        self.socket = dial(node, through=through)
        self.socket.send(
            self.protocol.open_message(token or node.channel_token(), "3.3.0.0", "linux", str(uuid.uuid4()))
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def event(self, kind: type[Event], within: float = WAIT) -> Event:
        """The next event of a kind; others are passed over."""
        until = time.monotonic() + within
        while True:
            data = self.socket.recv(timeout=max(until - time.monotonic(), 0.001))
            assert isinstance(data, bytes)
            event = self.protocol.receive_frame(data)
            if isinstance(event, kind):
                return event

    def job(self) -> JobReceived:
        """The next job."""
        return self.event(JobReceived)

    def acknowledge(self, job: JobReceived, code: AckCode = AckCode.SUCCESSFUL) -> None:
        """Take (or refuse) a job."""
        self.socket.send(self.protocol.acknowledge_job(job, code, message_id=uuid.uuid4(), now_ms=_now_ms()))

    def reply(self, job: JobReceived, content: Mapping[str, Any], message_id: uuid.UUID | None = None) -> None:
        """Report on a job and wait until that is stored."""
        message_id = message_id or uuid.uuid4()
        self.socket.send(self.reply_frame(job, content, message_id))
        stored = self.event(ReplyAcknowledged)
        assert stored.message_id == message_id

    def reply_frame(self, job: JobReceived, content: Mapping[str, Any], message_id: uuid.UUID) -> bytes:
        """The report as one message."""
        text = json.dumps(content)
        return self.protocol.reply(job.job_id, job.topic, text, message_id=message_id, now_ms=_now_ms())

    def run(self, output: str = "hello\n", status: str = "Success") -> JobReceived:
        """Take the next job and report it done."""
        job = self.job()
        self.acknowledge(job)
        self.reply(job, result(output, status, step=step_of(job)))
        return job


def step_of(job: JobReceived) -> str:
    """The name of the step that a job runs, as agents report it."""
    document = json.loads(job.content)["DocumentContent"]
    steps = document.get("mainSteps")
    if steps:
        return str(steps[0]["name"])
    return str(next(iter(document["runtimeConfig"])))


def result(output: str, status: str = "Success", *, step: str = "aws:runShellScript", code: int = 0) -> dict[str, Any]:
    """A reply about a document of one step, as the agent writes it."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "additionalInfo": {"agent": {"name": "amazon-ssm-agent", "version": "3.3.0.0"}},
        "documentStatus": status,
        "documentTraceOutput": "",
        "runtimeStatus": {
            step: {
                "status": status,
                "code": code,
                "name": "aws:runShellScript",
                "output": output,
                "startDateTime": now,
                "endDateTime": now,
                "outputS3BucketName": "",
                "outputS3KeyPrefix": "",
                "stepName": "",
                "standardOutput": output,
                "standardError": "",
            }
        },
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
