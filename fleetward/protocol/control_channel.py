"""A node's standing connection: open, jobs, acknowledgements, replies.

Theory of operation. The node asks by HTTP for a token, opens a WebSocket and sends one text message that carries it.
No answer is expected; from then on both sides send binary frames (`frame.py`) whose payload is JSON.

```
  agent                                                       server
    |-- text: token, version, platform ------------------------->|  ChannelOpened
    |                                                            |
    |<------------------------------------------- agent_job -----|  send_job
    |-- agent_job_ack: 200, or why not ------------------------->|  JobAcknowledged
    |-- agent_job_reply: in progress, each step, the result ---->|  JobReplied          (any order, repeated until
    |<------------------------------- agent_job_reply_ack -------|  acknowledge_reply    acknowledged within 1 s)
    |                                                            |
    |<----------------------------------- interactive_shell -----|  start_session
    |<-------------------------------------- channel_closed -----|  close_session
    |-- agent_task_complete ------------------------------------>|  TaskCompleted
    |<---------------------------- agent_task_acknowledge -------|  acknowledge_task
```

Each half is a small machine without a socket: it turns what arrived into an event, and what its side wants into the
bytes to send. It knows one state, whether the channel is open; which job waits for what is the mailbox's and the
journal's business. What arrives broken raises RemoteProtocolError: hang up. Types nobody knows are Ignored, so that
either side may learn new ones first. Source: agent protocol reference, sections 6, 8, 11 and 12.4.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.frame import Frame, decode, encode

SEND_COMMAND = "aws.ssm.sendCommand"
CANCEL_COMMAND = "aws.ssm.cancelCommand"
LONGEST_OPEN_MESSAGE_BYTES = 64 * 1024

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class AckCode(IntEnum):
    """What an agent says about a job it was sent: taken, or why it was dropped."""

    SUCCESSFUL = 200
    CLOSED_PROCESSOR = 51401
    PROCESSOR_BUFFER_FULL = 51402
    UNEXPECTED_DOCUMENT_TYPE = 51403
    PROCESSOR_ERROR_CODE_TRANSLATION_FAILED = 51404
    DUPLICATE_COMMAND = 51405
    INVALID_DOCUMENT = 51406
    CONTAINER_NOT_SUPPORTED = 51407
    AGENT_JOB_MESSAGE_PARSE_ERROR = 51408
    UNEXPECTED_ERROR = 51499

    @property
    def text(self) -> str:
        """The word that goes with the code on the wire, such as `ProcessorBufferFull`."""
        return "".join([word.capitalize() for word in self.name.split("_")])


# --- what a server hears --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChannelOpened:
    """The first message: `platform_type` is linux, windows or macos; the token is not yet checked."""

    token: str
    agent_version: str
    platform_type: str
    request_id: str

    def __repr__(self) -> str:
        return f"ChannelOpened(agent_version={self.agent_version!r}, platform_type={self.platform_type!r})"


@dataclass(frozen=True, slots=True)
class JobAcknowledged:
    """The agent took or refused a job; `message_id` is the agent_job's, `status_code` mostly an AckCode."""

    job_id: str
    message_id: uuid.UUID
    status_code: int
    error_message: str


@dataclass(frozen=True, slots=True)
class JobReplied:
    """Status or result of a job: `content` is JSON; a repeat comes with the same `message_id`."""

    job_id: str
    message_id: uuid.UUID
    topic: str
    content: str


@dataclass(frozen=True, slots=True)
class TaskCompleted:
    """A session ended on the node; one session may say so twice with different message ids."""

    session_id: str
    message_id: uuid.UUID
    final_status: str
    output: str
    node_id: str
    account_id: str
    is_routing_failure: bool
    s3_bucket: str
    s3_url_suffix: str
    log_group: str
    log_stream: str
    retry_number: int


# --- what an agent hears --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobReceived:
    """Work: `content` is JSON and `topic` begins with SEND_COMMAND or CANCEL_COMMAND."""

    job_id: str
    command_id: str
    topic: str
    content: str
    message_id: uuid.UUID
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class ReplyAcknowledged:
    """The server has stored the reply whose frame was `message_id`: it need not be sent again."""

    job_id: str
    message_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class SessionRequested:
    """Somebody opens a session of any type; `content` is JSON and holds the session document."""

    session_id: str
    content: str
    topic: str
    message_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """Somebody ends a session: stop what it runs, then say that the task is complete."""

    session_id: str
    message_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class TaskAcknowledged:
    """The server knows that the session ended; `message_id` is the agent_task_complete's."""

    session_id: str
    message_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Ignored:
    """A frame of a type this side has no use for, such as agent_telemetry."""

    message_type: str


ServerEvent = JobAcknowledged | JobReplied | TaskCompleted | Ignored
AgentEvent = JobReceived | ReplyAcknowledged | SessionRequested | SessionClosed | TaskAcknowledged | Ignored


def job_id(command_id: str, node_id: str) -> str:
    """The name of a command's job on one node; neither part may contain a dot."""
    if not command_id or not node_id or "." in command_id or "." in node_id:
        raise LocalProtocolError(f"no job id can be made of {command_id!r} and {node_id!r}")
    return f"aws.ssm.{command_id}.{node_id}"


def command_id_of(job_id: str) -> str:
    """The last but one part of a job id; RemoteProtocolError if it is none."""
    parts = job_id.split(".")
    if len(parts) < 4 or parts[:2] != ["aws", "ssm"] or not parts[-2] or not parts[-1]:
        raise RemoteProtocolError(f"a job id is aws.ssm.<command>.<node>, not {job_id[:120]!r}")
    return parts[-2]


class ServerControlChannel:
    """The server's half of one connection."""

    __slots__ = ("_is_open",)

    def __init__(self) -> None:
        self._is_open = False

    def receive_text(self, text: str) -> ChannelOpened:
        """The agent's first message, which is also the only text; at most 64 KiB."""
        if self._is_open:
            raise RemoteProtocolError("a second text message: after the first only binary frames may follow")
        if len(text) > LONGEST_OPEN_MESSAGE_BYTES:
            raise RemoteProtocolError(f"the first message may have {LONGEST_OPEN_MESSAGE_BYTES} bytes")
        body = _Body.of_text(text)
        opened = ChannelOpened(
            body.required("TokenValue"), body.text("AgentVersion"), body.text("PlatformType"), body.text("RequestId")
        )
        self._is_open = True
        return opened

    def receive_frame(self, data: bytes | memoryview) -> ServerEvent:
        """What one binary message says."""
        if not self._is_open:
            raise RemoteProtocolError("a binary frame came before the message that opens the channel")
        frame = decode(data)
        if frame.message_type == "agent_job_reply":
            body = _Body.of_frame(frame)
            return JobReplied(
                body.required("jobId"), frame.message_id, body.required("topic"), body.required("content")
            )
        if frame.message_type == "agent_job_ack":
            body = _Body.of_frame(frame)
            return JobAcknowledged(
                body.required("jobId"),
                body.identity("acknowledgedMessageId"),
                body.number("statusCode"),
                body.text("errorMessage"),
            )
        if frame.message_type == "agent_task_complete":
            return _task_completed(frame)
        return Ignored(frame.message_type)

    def send_job(self, job_id: str, topic: str, content: str, *, message_id: uuid.UUID, now_ms: int) -> bytes:
        """Give the node work: SEND_COMMAND or CANCEL_COMMAND as `topic`, JSON as `content`."""
        body = {"Content": content, "JobId": job_id, "Topic": topic, "SchemaVersion": 1}
        return self._frame("agent_job", body, message_id, now_ms)

    def acknowledge_reply(
        self, job_id: str, message_id_of_reply: uuid.UUID, *, message_id: uuid.UUID, now_ms: int
    ) -> bytes:
        """Tell that a reply is stored; due within a second, or the agent keeps it and sends it again."""
        body = {"jobId": job_id, "acknowledgedMessageId": str(message_id_of_reply)}
        return self._frame("agent_job_reply_ack", body, message_id, now_ms)

    def start_session(
        self,
        session_id: str,
        content: str,
        *,
        topic: str = "interactive_shell",
        message_id: uuid.UUID,
        now_ms: int,
    ) -> bytes:
        """Ask the node to open a session of any type. There is no acknowledgement but its data channel."""
        body = {"Content": content, "TaskId": session_id, "Topic": topic, "SchemaVersion": 1}
        return self._frame("interactive_shell", body, message_id, now_ms)

    def close_session(
        self, session_id: str, node_id: str, *, output: str = "", message_id: uuid.UUID, now_ms: int
    ) -> bytes:
        """Tell the node to end a session."""
        body = {
            "MessageType": "channel_closed",
            "MessageId": str(message_id),
            "DestinationId": node_id,
            "SessionId": session_id,
            "SchemaVersion": 1,
            "CreatedDate": _iso(now_ms),
            "Output": output,
        }
        return self._frame("channel_closed", body, message_id, now_ms)

    def acknowledge_task(
        self, session_id: str, message_id_of_task: uuid.UUID, *, message_id: uuid.UUID, now_ms: int
    ) -> bytes:
        """Tell that the end of a session is known; else the agent says it three times."""
        body = {
            "SchemaVersion": 1,
            "MessageId": str(message_id_of_task),
            "TaskId": session_id,
            "Topic": "agent_task_complete",
        }
        return self._frame("agent_task_acknowledge", body, message_id, now_ms)

    def _frame(self, message_type: str, body: dict[str, Any], message_id: uuid.UUID, now_ms: int) -> bytes:
        if not self._is_open:
            raise LocalProtocolError("nothing can be sent before the agent has opened the channel")
        return encode(Frame(message_type, _bytes(body), message_id, now_ms))


class AgentControlChannel:
    """The agent's half of one connection."""

    __slots__ = ("_is_open",)

    def __init__(self) -> None:
        self._is_open = False

    def open_message(self, token: str, agent_version: str, platform_type: str, request_id: str) -> str:
        """The text to send first; `platform_type` is linux, windows or macos. Once for a connection."""
        if self._is_open:
            raise LocalProtocolError("a channel is opened once")
        if not token:
            raise LocalProtocolError("a channel is opened with the token the server gave for it")
        self._is_open = True
        return _JSON(
            {
                "Cookie": None,
                "MessageSchemaVersion": "1.0",
                "RequestId": request_id,
                "TokenValue": token,
                "AgentVersion": agent_version,
                "PlatformType": platform_type,
            }
        )

    def receive_frame(self, data: bytes | memoryview) -> AgentEvent:
        """What one binary message says."""
        frame = decode(data)
        if frame.message_type == "agent_job":
            return _job_received(frame)
        if frame.message_type == "agent_job_reply_ack":
            body = _Body.of_frame(frame)
            return ReplyAcknowledged(body.required("jobId"), body.identity("acknowledgedMessageId"))
        if frame.message_type == "interactive_shell":
            body = _Body.of_frame(frame)
            return SessionRequested(
                body.required("TaskId"), body.required("Content"), body.text("Topic"), frame.message_id
            )
        if frame.message_type == "channel_closed":
            return SessionClosed(_Body.of_frame(frame).required("SessionId"), frame.message_id)
        if frame.message_type == "agent_task_acknowledge":
            body = _Body.of_frame(frame)
            return TaskAcknowledged(body.required("TaskId"), body.identity("MessageId"))
        return Ignored(frame.message_type)

    def acknowledge_job(
        self,
        job: JobReceived,
        status_code: AckCode,
        error_message: str | None = None,
        *,
        message_id: uuid.UUID,
        now_ms: int,
    ) -> bytes:
        """Take a job that is safe on disk, or say why it is dropped; the message is the code's own unless given."""
        body = {
            "jobId": job.job_id,
            "acknowledgedMessageId": str(job.message_id),
            "createdDate": _iso(job.created_at_ms),
            "statusCode": str(int(status_code)),
            "errorMessage": status_code.text if error_message is None else error_message,
        }
        return self._frame("agent_job_ack", body, message_id, now_ms)

    def reply(self, job_id: str, topic: str, content: str, *, message_id: uuid.UUID, now_ms: int) -> bytes:
        """Tell how a job goes. Sent again, a reply keeps its message id: the server knows it by that."""
        body = {"schemaVersion": 1, "jobId": job_id, "content": content, "topic": topic}
        return self._frame("agent_job_reply", body, message_id, now_ms)

    def complete_task(
        self,
        session_id: str,
        *,
        final_status: str,
        output: str,
        node_id: str,
        account_id: str = "",
        is_routing_failure: bool = False,
        s3_bucket: str = "",
        s3_url_suffix: str = "",
        log_group: str = "",
        log_stream: str = "",
        retry_number: int = 1,
        message_id: uuid.UUID,
        now_ms: int,
    ) -> bytes:
        """Tell that a session ended, and where its log went."""
        body = {
            "SchemaVersion": 1,
            "TaskId": session_id,
            "Topic": "agent_task_complete",
            "FinalTaskStatus": final_status,
            "IsRoutingFailure": is_routing_failure,
            "AwsAccountId": account_id,
            "InstanceId": node_id,
            "Output": output,
            "S3Bucket": s3_bucket,
            "S3UrlSuffix": s3_url_suffix,
            "CwlGroup": log_group,
            "CwlStream": log_stream,
            "RetryNumber": retry_number,
        }
        return self._frame("agent_task_complete", body, message_id, now_ms)

    def _frame(self, message_type: str, body: dict[str, Any], message_id: uuid.UUID, now_ms: int) -> bytes:
        if not self._is_open:
            raise LocalProtocolError("a frame may follow only the message that opens the channel")
        return encode(Frame(message_type, _bytes(body), message_id, now_ms))


def _task_completed(frame: Frame) -> TaskCompleted:
    body = _Body.of_frame(frame)
    return TaskCompleted(
        session_id=body.required("TaskId"),
        message_id=frame.message_id,
        final_status=body.required("FinalTaskStatus"),
        output=body.text("Output"),
        node_id=body.text("InstanceId"),
        account_id=body.text("AwsAccountId"),
        is_routing_failure=body.flag("IsRoutingFailure"),
        s3_bucket=body.text("S3Bucket"),
        s3_url_suffix=body.text("S3UrlSuffix"),
        log_group=body.text("CwlGroup"),
        log_stream=body.text("CwlStream"),
        retry_number=body.number("RetryNumber", missing=0),
    )


def _job_received(frame: Frame) -> JobReceived:
    body = _Body.of_frame(frame)
    name = body.required("JobId")
    return JobReceived(
        name,
        command_id_of(name),
        body.required("Topic"),
        body.required("Content"),
        frame.message_id,
        frame.created_at_ms,
    )


class _Body:
    """The JSON object of a message, its members read with their types checked."""

    __slots__ = ("_members", "_what")

    def __init__(self, what: str, text: str) -> None:
        self._what = what
        try:
            members = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RemoteProtocolError(f"{what} is not JSON") from error
        if not isinstance(members, dict):
            raise RemoteProtocolError(f"{what} is not a JSON object")
        self._members: dict[str, Any] = members

    @classmethod
    def of_frame(cls, frame: Frame) -> _Body:
        try:
            return cls(frame.message_type, frame.payload.decode())
        except UnicodeDecodeError as error:
            raise RemoteProtocolError(f"{frame.message_type} is not UTF-8") from error

    @classmethod
    def of_text(cls, text: str) -> _Body:
        return cls("the message that opens the channel", text)

    def text(self, name: str) -> str:
        """A string that may be missing or null, then empty."""
        value = self._members.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise RemoteProtocolError(f"{self._what}: {name} is not a string")
        if not value.isascii():
            _check_characters(value, f"{self._what}: {name}")
        return value

    def required(self, name: str) -> str:
        """A string that may be neither missing nor empty."""
        value = self.text(name)
        if not value:
            raise RemoteProtocolError(f"{self._what}: {name} is missing")
        return value

    def identity(self, name: str) -> uuid.UUID:
        try:
            return uuid.UUID(self.required(name))
        except ValueError as error:
            raise RemoteProtocolError(f"{self._what}: {name} is not a UUID") from error

    def number(self, name: str, *, missing: int | None = None) -> int:
        """A small whole number, written as one or as a string of digits."""
        value = self._members.get(name, missing)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
            return value
        raise RemoteProtocolError(f"{self._what}: {name} is not a number")

    def flag(self, name: str) -> bool:
        value = self._members.get(name, False)
        if not isinstance(value, bool):
            raise RemoteProtocolError(f"{self._what}: {name} is neither true nor false")
        return value


def _check_characters(value: str, what: str) -> None:
    # JSON can spell half of a surrogate pair, which no database or file takes.
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RemoteProtocolError(f"{what} has characters that are none") from error


def _bytes(body: dict[str, Any]) -> bytes:
    try:
        return _JSON(body).encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError("a message holds half of a surrogate pair") from error


def _iso(time_ms: int) -> str:
    """Milliseconds since 1970 as the protocol writes times: 2026-11-22T20:04:42.388Z."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"
