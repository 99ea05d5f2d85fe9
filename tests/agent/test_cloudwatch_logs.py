"""Output to CloudWatch Logs: names, pieces, and a real agent whose output is found by a filter."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.agent.cloudwatch_logs import (
    BATCH_BYTES,
    EVENT_BYTES,
    EVENT_OVERHEAD_BYTES,
    batches,
    group_of,
    stream_of,
)
from tests.agent.machine import AgentProcess
from tests.serving import ServerProcess, eventually

pytest_plugins = ["tests.serving"]


@pytest.mark.parametrize(
    ("content", "group"),
    [
        ({}, None),
        ({"CloudWatchOutputEnabled": "false", "CloudWatchLogGroupName": "g"}, None),
        ({"CloudWatchOutputEnabled": "true", "CloudWatchLogGroupName": "g"}, "g"),
        ({"CloudWatchOutputEnabled": True, "DocumentName": "AWS-RunShellScript"}, "/aws/ssm/AWS-RunShellScript"),
        (
            {"CloudWatchOutputEnabled": "True", "DocumentName": "arn:aws:ssm:us-east-1:1:document/X"},
            "/aws/ssm/arn.aws.ssm.us-east-1.1.document/X",
        ),
    ],
)
def test_the_group_is_the_one_named_or_the_documents(content: dict[str, Any], group: str | None) -> None:
    assert group_of(content) == group


def test_streams_are_named_without_what_names_cannot_hold() -> None:
    assert stream_of("c", "mi-1", "a:b*", "stdout") == "c/mi-1/a-b-/stdout"


LINES = st.lists(
    st.binary(max_size=40)
    | st.integers(0, 3 * EVENT_BYTES).map(lambda size: b"x" * size)
    | st.just(b"\xff" * EVENT_BYTES),
    max_size=8,
)


@given(LINES, st.booleans())
def test_a_file_goes_out_whole_in_batches_that_are_taken(lines: list[bytes], ended: bool) -> None:
    data = b"\n".join(lines) + b"\n" * ended
    sent = [*batches(io.BytesIO(data), 0)]
    for batch in sent:
        assert all(batch.messages)
        assert not any("\0" in message for message in batch.messages)
        assert sum(len(message.encode()) + EVENT_OVERHEAD_BYTES for message in batch.messages) <= BATCH_BYTES
    text = "".join(message for batch in sent for message in batch.messages)
    whole = data.replace(b"\n", b"").replace(b"\r", b"")
    assert text.replace("\n", "").replace("\r", "").count("x") == whole.count(b"x")


def test_going_on_sends_only_the_rest() -> None:
    data = b"".join(b"%d " % number + b"y" * EVENT_BYTES + b"\n" for number in range(12))
    first, *rest = batches(io.BytesIO(data), 0)
    again = [*batches(io.BytesIO(data), first.end)]
    assert [batch.messages for batch in again] == [batch.messages for batch in rest]
    assert again[-1].end == len(data)
    assert [*batches(io.BytesIO(data), len(data))] == []


def test_short_lines_share_an_event() -> None:
    ((messages, end),) = batches(io.BytesIO(b"one\r\ntwo\n\nthree\n"), 0)
    assert (list(messages), end) == (["one\ntwo\n\nthree"], 16)


def allow_logs(server: ServerProcess) -> None:
    """Attach CloudWatchAgentServerPolicy to the nodes' role."""
    policy = "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"
    server.client("iam").attach_role_policy(RoleName="SSMServiceRole", PolicyArn=policy)


@pytest.fixture
def agent(start_server: Callable[..., ServerProcess], tmp_path: Path) -> Any:
    """A real agent of a real server."""
    agent = AgentProcess(start_server(), tmp_path).start()
    yield agent
    agent.end()


@pytest.mark.slow
def test_a_commands_output_is_found_in_its_streams_once_the_role_allows_it(agent: AgentProcess) -> None:
    logs = agent.server.client("logs")
    config = {"CloudWatchOutputEnabled": True}
    told = agent.result(agent.send("echo before", CloudWatchOutputConfig=config))
    assert told["Status"] == "Success"
    assert logs.describe_log_groups()["logGroups"] == []
    assert "AccessDenied" in agent.log.read_text()

    allow_logs(agent.server)
    probe = {**config, "CloudWatchLogGroupName": "probe"}

    def is_allowed() -> bool:  # a role's policies are remembered for a second
        agent.result(agent.send("echo probe", CloudWatchOutputConfig=probe))
        return bool(logs.describe_log_groups()["logGroups"])

    eventually(is_allowed)
    command_id = agent.send("echo hello", "echo there", "echo wrong >&2", CloudWatchOutputConfig=config)
    told = agent.result(command_id)
    assert (told["Status"], told["CloudWatchOutputConfig"]["CloudWatchOutputEnabled"]) == ("Success", True)
    group = "/aws/ssm/AWS-RunShellScript"
    found = logs.filter_log_events(logGroupName=group, filterPattern="hello")["events"]
    name = f"{command_id}/{agent.node_id}/aws-runShellScript"
    assert [(each["logStreamName"], each["message"]) for each in found] == [(f"{name}/stdout", "hello\nthere")]
    errors = logs.get_log_events(logGroupName=group, logStreamName=f"{name}/stderr")["events"]
    assert [each["message"] for each in errors] == ["wrong"]

    named = {**config, "CloudWatchLogGroupName": "mine"}
    large = agent.send("seq 1 300000", CloudWatchOutputConfig=named)
    agent.result(large)

    def lines() -> int:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName="mine")
        return sum(len(each["message"].splitlines()) for page in pages for each in page["events"])

    assert eventually(lambda: lines() == 300_000)
