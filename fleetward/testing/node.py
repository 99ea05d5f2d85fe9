"""A node in a simulated fleet: an agent that keeps the official agent's rules, or our own agent's, without processes.

Sections are those of the agent protocol reference: connecting (6.2), jobs and acknowledgements (8.1-8.3), replies
(8.4), polling (9), limits (23) and what survives a restart (22). Scripts are not run: the first parameter `commands`
of a document says what becomes of it, one word and one number a line (see `Script`).
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from picows import WSMsgType

from fleetward.protocol.control_channel import (
    CANCEL_COMMAND,
    SEND_COMMAND,
    AckCode,
    AgentControlChannel,
    JobReceived,
    ReplyAcknowledged,
    command_id_of,
)
from fleetward.server.errors import AwsError
from fleetward.testing.clock import SECOND, Alarm, SimClock, start
from fleetward.testing.link import Link, Socket

WORKERS = 5
BUFFER = 5
ACKNOWLEDGED_WITHIN = 1.0
RESEND_EVERY = 300.0
OUR_RESEND_EVERY = 30.0
RESEND_FOR = 2 * 3600.0
REMEMBERS = 30 * 60.0
HTTP_TIMEOUT = 20.0


class Unreachable(Exception):
    """A request or its answer got lost, or there is no server."""


class Surroundings(Protocol):
    """What a node needs of its world."""

    clock: SimClock

    def open_channel(self, node: Node, open_message: Callable[[str], str]) -> Socket | None:
        """A control channel to some server: the token asked for, its first message not yet said; None if refused."""

    async def call(self, node: Node, service: str, operation: str, request: dict[str, Any]) -> Any:
        """A signed API call of the node to some server; raises Unreachable or AwsError."""

    def happened(self, fault: str) -> None:
        """Count a kind of fault."""

    def began(self, node: Node, command_id: str) -> None:
        """The node began to run a command."""

    def told_to_cancel(self, node: Node, command_id: str) -> None:
        """An order to cancel reached the node."""

    def confirmed(self, node: Node, content: dict[str, Any], job_id: str) -> None:
        """The server acknowledged a reply."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a simulated script does: `sleep 20` about so many seconds; `fail 30` fails in 30 of 100 runs."""

    seconds: float = 1.0
    fails_percent: float = 0.0

    @classmethod
    def of(cls, lines: list[str]) -> Script:
        """Read the lines; others mean nothing here."""
        words = {line.split()[0]: float(line.split()[1]) for line in lines if len(line.split()) == 2}
        return cls(words.get("sleep", 1.0), words.get("fail", 0.0))


@dataclass(slots=True)
class Document:
    """A document that the node has taken: on its disk."""

    job_id: str
    steps: list[tuple[str, str]]
    script: Script
    limit: float
    """executionTimeout of each step, seconds."""
    polled: bool
    """It came by polling: it is answered by that road too."""
    running: bool = False
    done: int = 0
    statuses: list[str] = field(default_factory=list)
    """Of the steps that ended."""


@dataclass(slots=True)
class Reply:
    """A reply that the server has not acknowledged yet: on the node's disk."""

    message_id: uuid.UUID
    job_id: str
    topic: str
    content: str
    first_at: int
    polled: bool


@dataclass(slots=True)
class Disk:
    """What survives a crash of the agent."""

    received: dict[str, int] = field(default_factory=dict)
    """Command ids and when they came, in microseconds."""
    documents: dict[str, Document] = field(default_factory=dict)
    replies: dict[uuid.UUID, Reply] = field(default_factory=dict)


class Node:
    """One managed node. `kind` is official, ours or polling (an official agent that cannot open its channel)."""

    def __init__(self, node_id: str, kind: str, link: Link, world: Surroundings, chance: random.Random) -> None:
        self.node_id = node_id
        self.kind = kind
        self.link = link
        self.world = world
        self.clock = world.clock
        self.chance = chance
        self.disk = Disk()
        self.up = False
        self.other_work = 0
        """Places of the buffer that something else than Run Command takes."""
        self.socket: Socket | None = None
        self.connected_at = 0
        """When its present channel was opened, microseconds since the start."""
        self._life = 0
        self._protocol = AgentControlChannel()
        self._ready_at = 0
        self._back_off = 0.0
        self._work: dict[str, Alarm] = {}
        self._deadline: Alarm | None = None

    @property
    def version(self) -> str:
        """The agent's version, by which the server knows its kind."""
        return "fleetward/0.1.0" if self.kind == "ours" else "3.3.0.0"

    @property
    def connected(self) -> bool:
        """Whether its channel is open, as far as the node knows."""
        return self.socket is not None

    @property
    def ready(self) -> bool:
        """Whether the agent has been up long enough to take jobs."""
        return self.up and self.clock.elapsed >= self._ready_at

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits to run."""
        return not self.disk.documents

    # --- the process ------------------------------------------------------------------------------

    def start(self) -> None:
        """The agent's process starts; what was interrupted is reported Failed and not run again."""
        self.up = True
        self._life += 1
        self._back_off = 0.0
        self._ready_at = self.clock.elapsed + round(self.chance.uniform(0, 5) * SECOND)
        for document in [each for each in self.disk.documents.values() if each.running]:
            self._finish(document, "Failed")
        self._start_waiting()
        self._later(self.chance.uniform(0, 2), self._connect if self.kind != "polling" else self._poll)
        self._later(self.chance.uniform(1, self._resend_every), self._resend)

    def crash(self) -> None:
        """kill -9 of the agent: what it knew is what lies on its disk."""
        if not self.up:
            return
        self.up = False
        self._life += 1
        for alarm in self._work.values():
            alarm.cancel()
        self._work.clear()
        self._drop_socket()

    @property
    def _resend_every(self) -> float:
        return OUR_RESEND_EVERY if self.kind == "ours" else RESEND_EVERY

    def _later(self, seconds: float, function: Callable[..., None], *arguments: Any) -> Alarm:
        """Like the clock's `after`, unless the process ends before."""
        life = self._life

        def unless_dead() -> None:
            if self._life == life:
                function(*arguments)

        return self.clock.after(seconds, unless_dead)

    # --- the channel ------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self.socket is not None:
            return
        protocol = AgentControlChannel()
        request_id = str(self._uuid())
        socket = self.world.open_channel(
            self, lambda token: protocol.open_message(token, self.version, "linux", request_id)
        )
        if socket is None:
            self._back_off = min(max(2 * self._back_off, self.chance.uniform(5, 10)), 2400.0)
            self._later(self._back_off * self.chance.uniform(1, 1.5), self._connect)
            return
        self.socket, self._protocol, self._back_off = socket, protocol, 0.0
        self.connected_at = self.clock.elapsed
        if self.kind == "ours":
            self._later(1.0, self._resend_now)

    def lost(self, socket: Socket) -> None:
        """The connection is gone: ask for a new token within 2.5 s."""
        if socket is self.socket:
            self.socket = None
            self._later(self.chance.uniform(0, 2.5), self._connect)

    def notice_silence(self) -> None:
        """No pong came back for a minute: the connection is given up."""
        if self.up and self.socket is not None and (self.socket.silent or self.link.conditions.down):
            self._drop_socket()
            self._later(self.chance.uniform(0, 2.5), self._connect)

    def _drop_socket(self) -> None:
        socket, self.socket = self.socket, None
        if socket is not None:
            socket.hang_up()

    def receive(self, socket: Socket, data: bytes) -> None:
        """A frame of the server."""
        if not self.up or socket is not self.socket:
            return
        event = self._protocol.receive_frame(data)
        if isinstance(event, JobReceived):
            if not self.ready:
                self.world.happened("agent not ready")
                return
            code = self._take(event.job_id, event.topic, event.content, polled=False)
            frame = self._protocol.acknowledge_job(event, code, message_id=self._uuid(), now_ms=self._ms())
            socket.say(WSMsgType.BINARY, frame)
        elif isinstance(event, ReplyAcknowledged):
            self._acknowledged(event.message_id)

    # --- polling ----------------------------------------------------------------------------------

    def _poll(self) -> None:
        start(self._poll_once(self._life))

    async def _poll_once(self, life: int) -> None:
        request = {
            "Destination": self.node_id,
            "MessagesRequestId": str(self._uuid()),
            "VisibilityTimeoutInSeconds": 10,
        }
        try:
            answer = await self.world.call(self, "ec2messages", "GetMessages", request)
        except (Unreachable, AwsError):
            if self._life == life:
                self._later(self.chance.uniform(2, 5), self._poll)
            return
        if self._life != life:
            return
        for message in answer["Messages"]:
            await self._take_polled(message, life)
        if self._life == life:
            self._later(self.chance.uniform(2, 2.5), self._poll)

    async def _take_polled(self, message: dict[str, Any], life: int) -> None:
        code = self._take(message["MessageId"], message["Topic"], message["Payload"], polled=True)
        try:
            if code in (AckCode.SUCCESSFUL, AckCode.DUPLICATE_COMMAND):
                await self.world.call(self, "ec2messages", "AcknowledgeMessage", {"MessageId": message["MessageId"]})
        except (Unreachable, AwsError):
            return

    async def _send_polled(self, reply: Reply, life: int) -> None:
        request = {
            "MessageId": reply.job_id,
            "ReplyId": str(reply.message_id),
            "Payload": reply.content,
        }
        try:
            await self.world.call(self, "ec2messages", "SendReply", request)
        except (Unreachable, AwsError):
            return
        if self._life == life:
            self._acknowledged(reply.message_id)

    # --- jobs -------------------------------------------------------------------------------------

    def _take(self, job_id: str, topic: str, content: str, *, polled: bool) -> AckCode:
        """Take a job, or say why not: safe on disk before it is acknowledged, known again while it is remembered."""
        command_id = command_id_of(job_id)
        known_since = self.disk.received.get(command_id)
        if known_since is not None and (self.kind == "ours" or self.clock.elapsed - known_since < REMEMBERS * SECOND):
            return AckCode.DUPLICATE_COMMAND
        if topic.startswith(CANCEL_COMMAND):
            self.disk.received[command_id] = self.clock.elapsed
            self._cancel(job_id, json.loads(content)["CancelMessageId"])
            return AckCode.SUCCESSFUL
        if len(self.disk.documents) + self.other_work >= WORKERS + BUFFER:
            self.world.happened("agent's buffer full")
            return AckCode.PROCESSOR_BUFFER_FULL
        try:
            document = self._read(job_id, content, polled)
        except (KeyError, TypeError, ValueError):
            self.world.happened("document refused")
            self._reply(job_id, SEND_COMMAND, _content("Failed", {}), polled=polled)
            return AckCode.AGENT_JOB_MESSAGE_PARSE_ERROR
        self.disk.received[command_id] = self.clock.elapsed
        self.disk.documents[job_id] = document
        self._reply(job_id, SEND_COMMAND, _content("InProgress", None), keep=False, polled=polled)
        self._start_waiting()
        return AckCode.SUCCESSFUL

    def _read(self, job_id: str, content: str, polled: bool) -> Document:
        job = json.loads(content)
        parameters = job["Parameters"]
        if parameters["commands"] == ["nonsense"]:
            raise ValueError("an agent that knows less than the server")
        steps = _steps(job["DocumentContent"])
        limit = float(parameters.get("executionTimeout", "3600"))
        return Document(job_id, steps, Script.of(parameters["commands"]), limit, polled)

    def _start_waiting(self) -> None:
        running = sum(document.running for document in self.disk.documents.values())
        for document in list(self.disk.documents.values()):
            if running >= WORKERS:
                return
            if not document.running:
                document.running = True
                running += 1
                self.world.began(self, command_id_of(document.job_id))
                self._next_step(document)

    def _next_step(self, document: Document) -> None:
        seconds = document.script.seconds * self.chance.uniform(0.5, 1.5)
        late = seconds > document.limit
        self._work[document.job_id] = self._later(min(seconds, document.limit), self._step_ended, document, late)

    def _step_ended(self, document: Document, late: bool) -> None:
        failed = self.chance.random() * 100 < document.script.fails_percent
        status = "TimedOut" if late else "Failed" if failed else "Success"
        self._end_step(document, status)
        if document.done < len(document.steps):
            self._next_step(document)
        else:
            self._finish(document, _rolled_up(document.statuses))

    def _end_step(self, document: Document, status: str) -> None:
        name, action = document.steps[document.done]
        document.done += 1
        document.statuses.append(status)
        report = {name: _report(action, status, f"{command_id_of(document.job_id)} {self.node_id} {document.done}\n")}
        if len(document.steps) > 1:
            self._reply(document.job_id, SEND_COMMAND, _content("InProgress", report), polled=document.polled)

    def _finish(self, document: Document, status: str) -> None:
        """The last reply: it names the step only when there is one in all."""
        report: dict[str, Any] = {}
        if len(document.steps) == 1:
            name, action = document.steps[0]
            text = f"{command_id_of(document.job_id)} {self.node_id} 1\n" if document.done else ""
            report = {name: _report(action, document.statuses[0] if document.done else status, text)}
        self.disk.documents.pop(document.job_id, None)
        self._work.pop(document.job_id, None)
        self._reply(document.job_id, SEND_COMMAND, _content(status, report), polled=document.polled)
        self._start_waiting()

    def _cancel(self, job_id: str, cancelled: str) -> None:
        self.world.told_to_cancel(self, command_id_of(cancelled))
        if self.kind != "polling":
            self._reply(job_id, CANCEL_COMMAND, _content("InProgress", None), keep=False, polled=False)
        document = self.disk.documents.get(cancelled)
        if document is None:
            if self.kind == "ours" and command_id_of(cancelled) not in self.disk.received:
                self.disk.received[command_id_of(cancelled)] = self.clock.elapsed
                self._reply(cancelled, SEND_COMMAND, _content("Cancelled", None), polled=False)
            return
        alarm = self._work.pop(cancelled, None)
        if alarm is not None:
            alarm.cancel()
        if document.running:
            self._end_step(document, "Cancelled")
        self._finish(document, "Cancelled")

    # --- replies ----------------------------------------------------------------------------------

    def _reply(self, job_id: str, topic: str, content: dict[str, Any], *, keep: bool = True, polled: bool) -> None:
        """Replies leave in parallel, so they overtake each other; all but the first are kept until acknowledged."""
        reply = Reply(self._uuid(), job_id, topic, json.dumps(content), self.clock.elapsed, polled)
        if keep:
            self.disk.replies[reply.message_id] = reply
        self._later(self.chance.uniform(0, 0.2), self._send, reply)

    def _send(self, reply: Reply) -> None:
        if reply.polled and self.kind == "polling":
            start(self._send_polled(reply, self._life))
        elif self.socket is not None:
            frame = self._protocol.reply(
                reply.job_id, reply.topic, reply.content, message_id=reply.message_id, now_ms=self._ms()
            )
            self.socket.say(WSMsgType.BINARY, frame)

    def _acknowledged(self, message_id: uuid.UUID) -> None:
        reply = self.disk.replies.pop(message_id, None)
        if reply is not None:
            self.world.confirmed(self, json.loads(reply.content), reply.job_id)

    def _resend(self) -> None:
        self._later(self._resend_every, self._resend)
        self._resend_now()

    def _resend_now(self) -> None:
        oldest = self.clock.elapsed - round(RESEND_FOR * SECOND)
        for reply in list(self.disk.replies.values()):
            if self.kind != "ours" and reply.first_at < oldest:
                del self.disk.replies[reply.message_id]
            elif self.clock.elapsed - reply.first_at > ACKNOWLEDGED_WITHIN * SECOND:
                self.world.happened("replies sent again")
                self._send(reply)

    def _uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.chance.getrandbits(128), version=4)

    def _ms(self) -> int:
        return int(self.clock.now().timestamp() * 1000)


def _steps(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and actions; steps of schema 1.2 go by their actions."""
    if "mainSteps" in content:
        return [(step["name"], step["action"]) for step in content["mainSteps"]]
    return [(action, action) for action in content["runtimeConfig"]]


def _content(status: str, steps: dict[str, Any] | None) -> dict[str, Any]:
    return {"documentStatus": status, "documentTraceOutput": "", "runtimeStatus": steps}


def _report(action: str, status: str, text: str) -> dict[str, Any]:
    code = {"Success": 0, "Cancelled": 137}.get(status, 1)
    return {"status": status, "code": code, "name": action, "output": text, "standardOutput": text, "standardError": ""}


def _rolled_up(statuses: list[str]) -> str:
    return next((each for each in ("Failed", "TimedOut", "Cancelled") if each in statuses), "Success")
