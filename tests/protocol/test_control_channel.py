"""The standing connection: what one half sends the other half reads, and garbage only ever closes it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol import control_channel
from fleetward.protocol.control_channel import (
    CANCEL_COMMAND,
    SEND_COMMAND,
    AckCode,
    AgentControlChannel,
    ChannelOpened,
    Ignored,
    JobAcknowledged,
    JobReceived,
    JobReplied,
    ReplyAcknowledged,
    ServerControlChannel,
    SessionClosed,
    SessionRequested,
    TaskAcknowledged,
    TaskCompleted,
    command_id_of,
)
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError
from fleetward.protocol.frame import LATEST_CREATED_AT_MS, Frame, decode, encode

GOLDEN = Path(__file__).parent.parent / "golden" / "frames"
NODE = "mi-b50b9fe278c90b63c"
COMMAND = "5db0bc3e-d1c3-4bd9-847c-49d09e196819"
JOB = f"aws.ssm.{COMMAND}.{NODE}"
MESSAGE_ID = uuid.UUID("511aed2b-efb9-4cc1-9104-3945dd6cc5ea")
OTHER_ID = uuid.UUID("0f6a2e51-7c1d-4c66-9b53-0f4a8f1f2c3d")
NOW_MS = 1_795_377_882_388

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="."), min_size=1, max_size=60)
topics = st.sampled_from([SEND_COMMAND, CANCEL_COMMAND])
moments = st.integers(1, LATEST_CREATED_AT_MS)


def opened() -> tuple[ServerControlChannel, AgentControlChannel]:
    server, agent = ServerControlChannel(), AgentControlChannel()
    server.receive_text(agent.open_message("token", "3.3.0.0", "linux", "request"))
    return server, agent


@given(words, words, words, words)
def test_open_message_reaches_the_server(token: str, version: str, platform: str, request: str) -> None:
    text = AgentControlChannel().open_message(token, version, platform, request)
    assert ServerControlChannel().receive_text(text) == ChannelOpened(token, version, platform, request)


@given(names, names, topics, words, st.uuids(), moments)
def test_job_reaches_the_agent(
    command: str, node: str, topic: str, content: str, identity: uuid.UUID, now_ms: int
) -> None:
    server, agent = opened()
    job = control_channel.job_id(command, node)
    data = server.send_job(job, topic, content, message_id=identity, now_ms=now_ms)
    assert agent.receive_frame(data) == JobReceived(job, command, topic, content, identity, now_ms)


@given(st.sampled_from(AckCode), st.none() | words, st.uuids(), st.uuids(), moments, moments)
def test_acknowledgement_of_a_job_reaches_the_server(
    code: AckCode, message: str | None, of_job: uuid.UUID, identity: uuid.UUID, created_ms: int, now_ms: int
) -> None:
    server, agent = opened()
    job = JobReceived(JOB, COMMAND, SEND_COMMAND, "{}", of_job, created_ms)
    data = agent.acknowledge_job(job, code, message, message_id=identity, now_ms=now_ms)
    assert server.receive_frame(data) == JobAcknowledged(JOB, of_job, code, code.text if message is None else message)


@given(topics, words, st.uuids(), st.uuids(), moments)
def test_reply_and_its_acknowledgement_cross(
    topic: str, content: str, identity: uuid.UUID, answer: uuid.UUID, now_ms: int
) -> None:
    server, agent = opened()
    data = agent.reply(JOB, topic, content, message_id=identity, now_ms=now_ms)
    replied = server.receive_frame(memoryview(data))
    assert replied == JobReplied(JOB, identity, topic, content)
    back = server.acknowledge_reply(JOB, replied.message_id, message_id=answer, now_ms=now_ms)
    assert agent.receive_frame(back) == ReplyAcknowledged(JOB, identity)


@given(words, words, words, st.uuids(), moments)
def test_session_is_requested_and_closed(
    session: str, content: str, output: str, identity: uuid.UUID, now_ms: int
) -> None:
    server, agent = opened()
    start = server.start_session(session, content, message_id=identity, now_ms=now_ms)
    assert agent.receive_frame(start) == SessionRequested(session, content, "interactive_shell", identity)
    close = server.close_session(session, NODE, output=output, message_id=identity, now_ms=now_ms)
    assert agent.receive_frame(close) == SessionClosed(session, identity)


TASK_MEMBERS = ["session_id", "final_status", "output", "node_id", "account_id"]
TASK_MEMBERS += ["s3_bucket", "s3_url_suffix", "log_group", "log_stream"]


@given(st.data(), st.booleans(), st.integers(0, 10**9 - 1), st.uuids(), st.uuids())
def test_end_of_a_session_and_its_acknowledgement_cross(
    data: st.DataObject, failure: bool, retry: int, identity: uuid.UUID, answer: uuid.UUID
) -> None:
    server, agent = opened()
    members = {name: data.draw(words) for name in TASK_MEMBERS}
    sent = agent.complete_task(
        **members, is_routing_failure=failure, retry_number=retry, message_id=identity, now_ms=NOW_MS
    )
    expected = TaskCompleted(**members, is_routing_failure=failure, retry_number=retry, message_id=identity)
    assert server.receive_frame(sent) == expected
    back = server.acknowledge_task(members["session_id"], identity, message_id=answer, now_ms=NOW_MS)
    assert agent.receive_frame(back) == TaskAcknowledged(members["session_id"], identity)


# One golden file per builder: the call as JSON, dashes, then the frame's payload and its whole bytes in hex.
BUILDERS: dict[str, Callable[[ServerControlChannel, AgentControlChannel, dict[str, Any]], bytes]] = {
    "send_job": lambda server, agent, given: server.send_job(**given),
    "cancel_job": lambda server, agent, given: server.send_job(**given),
    "acknowledge_reply": lambda server, agent, given: server.acknowledge_reply(**given),
    "start_session": lambda server, agent, given: server.start_session(**given),
    "close_session": lambda server, agent, given: server.close_session(**given),
    "acknowledge_task": lambda server, agent, given: server.acknowledge_task(**given),
    "acknowledge_job": lambda server, agent, given: agent.acknowledge_job(job_received(given), **given),
    "refuse_job": lambda server, agent, given: agent.acknowledge_job(job_received(given), **given),
    "reply": lambda server, agent, given: agent.reply(**given),
    "complete_task": lambda server, agent, given: agent.complete_task(**given),
}


def job_received(given: dict[str, Any]) -> JobReceived:
    given["status_code"] = AckCode(given["status_code"])
    job_id = given.pop("job_id")
    return JobReceived(
        job_id, command_id_of(job_id), SEND_COMMAND, "{}", uuid.UUID(given.pop("of_job")), given.pop("created_at_ms")
    )


def arguments(text: str) -> dict[str, Any]:
    given = json.loads(text)
    for name in ("message_id", "message_id_of_reply", "message_id_of_task"):
        if name in given:
            given[name] = uuid.UUID(given[name])
    return given


def rendered(data: bytes) -> str:
    lines = [data[start : start + 32].hex(" ", -4) for start in range(0, len(data), 32)]
    return decode(data).payload.decode() + "\n\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", BUILDERS)
def test_frame_on_the_wire_is_the_recorded_one(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    given, expected = path.read_text().split("\n----\n")
    seen = rendered(BUILDERS[name](*opened(), arguments(given)))
    if os.environ.get("GOLDEN") == "rewrite":
        path.write_text(f"{given}\n----\n{seen}")
    else:
        assert seen == expected


def test_every_golden_frame_is_tested() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {*BUILDERS, "open_message", "recorded_header"}


def test_open_message_on_the_wire_is_the_recorded_one() -> None:
    given, expected = (GOLDEN / "open_message.txt").read_text().split("\n----\n")
    assert AgentControlChannel().open_message(**json.loads(given)) + "\n" == expected


def test_channel_opens_once() -> None:
    agent, server = AgentControlChannel(), ServerControlChannel()
    text = agent.open_message("token", "3.3.0.0", "linux", "request")
    server.receive_text(text)
    with pytest.raises(LocalProtocolError):
        agent.open_message("token", "3.3.0.0", "linux", "request")
    with pytest.raises(RemoteProtocolError, match="second text"):
        server.receive_text(text)


def test_nothing_passes_before_the_channel_is_open() -> None:
    _, agent = opened()
    reply = agent.reply(JOB, SEND_COMMAND, "{}", message_id=MESSAGE_ID, now_ms=NOW_MS)
    server = ServerControlChannel()
    with pytest.raises(RemoteProtocolError, match="before"):
        server.receive_frame(reply)
    with pytest.raises(LocalProtocolError):
        server.send_job(JOB, SEND_COMMAND, "{}", message_id=MESSAGE_ID, now_ms=NOW_MS)
    with pytest.raises(LocalProtocolError):
        AgentControlChannel().reply(JOB, SEND_COMMAND, "{}", message_id=MESSAGE_ID, now_ms=NOW_MS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"TokenValue":""}',
        '{"TokenValue":7}',
        '{"TokenValue":"t","AgentVersion":[]}',
        '{"TokenValue":"\\ud800"}',
        "[" * 60_000,
        '{"TokenValue":"' + "t" * 65_536 + '"}',
    ],
)
def test_broken_open_message_is_refused_and_leaves_the_channel_closed(text: str) -> None:
    server = ServerControlChannel()
    with pytest.raises(RemoteProtocolError):
        server.receive_text(text)
    assert server.receive_text('{"TokenValue":"t"}') == ChannelOpened("t", "", "", "")


def test_token_is_not_shown() -> None:
    assert "hush" not in repr(ChannelOpened("hush", "3.3.0.0", "linux", "request"))


def test_unknown_types_are_ignored() -> None:
    server, agent = opened()
    frame = encode(Frame("agent_telemetry", b'{"SchemaVersion":1}', MESSAGE_ID, NOW_MS))
    assert server.receive_frame(frame) == Ignored("agent_telemetry")
    assert agent.receive_frame(frame) == Ignored("agent_telemetry")


def test_status_code_may_be_a_number_and_unknown() -> None:
    server, _ = opened()
    for code in ("51500", 51500):
        body = {"jobId": JOB, "acknowledgedMessageId": str(OTHER_ID), "statusCode": code, "errorMessage": "New"}
        data = encode(Frame("agent_job_ack", json.dumps(body).encode(), MESSAGE_ID, NOW_MS))
        assert server.receive_frame(data) == JobAcknowledged(JOB, OTHER_ID, 51500, "New")


TYPES = [
    "agent_job",
    "agent_job_ack",
    "agent_job_reply",
    "agent_job_reply_ack",
    "agent_task_acknowledge",
    "agent_task_complete",
    "channel_closed",
    "interactive_shell",
]
MEMBERS = [
    "jobId JobId acknowledgedMessageId MessageId statusCode errorMessage content Content topic Topic TaskId SessionId",
    "FinalTaskStatus IsRoutingFailure RetryNumber Output InstanceId",
]
VALUES = [None, True, 0, -1, 10**30, 1e999, "", "x", "٣", "9" * 5000, "\ud800", "\0", JOB, str(OTHER_ID), [], {"a": 1}]
bodies = st.dictionaries(st.sampled_from(" ".join(MEMBERS).split()), st.sampled_from(VALUES))


@given(st.sampled_from(TYPES), bodies.map(lambda body: json.dumps(body).encode()) | st.binary(min_size=1))
def test_garbage_in_a_frame_raises_nothing_but_remote_protocol_error(message_type: str, payload: bytes) -> None:
    data = encode(Frame(message_type, payload, MESSAGE_ID, NOW_MS))
    for half in opened():
        try:
            half.receive_frame(data)
        except RemoteProtocolError:
            pass


@given(st.binary(max_size=300), st.text(max_size=300))
def test_garbage_on_the_socket_raises_nothing_but_remote_protocol_error(data: bytes, text: str) -> None:
    for half in opened():
        with pytest.raises(RemoteProtocolError):
            half.receive_frame(data)
    with pytest.raises(RemoteProtocolError):
        ServerControlChannel().receive_text(text)


@pytest.mark.parametrize("job", ["", "aws.ssm.x", "aws.ssm..node", "aws.ssm.x.", "aws.s3.x.node", "a.b.c.d"])
def test_what_is_no_job_id_has_no_command(job: str) -> None:
    with pytest.raises(RemoteProtocolError):
        command_id_of(job)


@pytest.mark.parametrize(("command", "node"), [("", NODE), (COMMAND, ""), ("a.b", NODE), (COMMAND, "a.b")])
def test_job_id_is_not_made_of_parts_that_could_not_be_found_again(command: str, node: str) -> None:
    with pytest.raises(LocalProtocolError):
        control_channel.job_id(command, node)


def test_half_a_surrogate_pair_is_not_sent() -> None:
    server, _ = opened()
    with pytest.raises(LocalProtocolError):
        server.send_job(JOB, SEND_COMMAND, "\ud800", message_id=MESSAGE_ID, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("code", "text"),
    [(200, "Successful"), (51402, "ProcessorBufferFull"), (51405, "DuplicateCommand"), (51499, "UnexpectedError")],
)
def test_code_has_the_official_word(code: int, text: str) -> None:
    assert AckCode(code).text == text


# What the official agent 3.3.0.0 sent, its node's id and token replaced: bytes, dashes, what we read in them.
RECORDED = GOLDEN.parent / "recorded"


def shown(event: Any) -> str:
    members = {name: getattr(event, name) for name in event.__dataclass_fields__}
    lines = [f"{name}: {value if isinstance(value, str) else repr(value)}\n" for name, value in members.items()]
    return f"{type(event).__name__}\n{''.join(lines)}"


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.txt")), ids=lambda path: path.stem)
def test_what_the_official_agent_sent_is_read(path: Path) -> None:
    sent, expected = path.read_text().split("\n----\n")
    server = ServerControlChannel()
    if sent.startswith("{"):
        event: Any = server.receive_text(sent)
    else:
        server.receive_text((RECORDED / "opened.txt").read_text().partition("\n----\n")[0])
        event = server.receive_frame(bytes.fromhex(sent))
    assert shown(event) == expected


def test_recordings_are_there() -> None:
    assert {path.stem for path in RECORDED.glob("*.txt")} >= {
        "opened",
        "acknowledged",
        "accepted",
        "failed",
        "cancelled",
    }
