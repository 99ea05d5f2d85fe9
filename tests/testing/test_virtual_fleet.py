"""Virtual nodes register, answer, know repeats and come back, against a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetward.protocol.control_channel import SEND_COMMAND, JobAcknowledged, JobReplied, ServerControlChannel
from fleetward.protocol.frame import decode
from fleetward.protocol.sigv4 import Credentials
from fleetward.testing import virtual_fleet
from fleetward.testing.virtual_fleet import NodeIdentity, VirtualFleet, VirtualNode
from fleetward.testing.virtual_fleet.__main__ import main
from tests.serving import ServerProcess, StartServer, eventually

CONTENT = {"DocumentContent": {"mainSteps": [{"name": "say", "action": "aws:runShellScript"}]}, "CommandId": "c"}


class Line:
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.server = ServerControlChannel()
        self.server.receive_text('{"TokenValue":"t"}')

    def send(self, _: Any, message: bytes) -> None:
        self.sent.append(self.server.receive_frame(message))


def node_on_line(**options: Any) -> tuple[VirtualNode, Line, VirtualFleet]:
    fleet = VirtualFleet("http://127.0.0.1:1", **options)
    node = VirtualNode(fleet, NodeIdentity("mi-1", Credentials("a", "b"), "simulated-001"), "127.1.0.1")
    line = Line()
    node._transport = line  # type: ignore[assignment]
    return node, line, fleet


def job(line: Line, name: str, content: dict[str, Any], topic: str = SEND_COMMAND) -> Any:
    return decode(line.server.send_job(name, topic, json.dumps(content), message_id=uuid.uuid4(), now_ms=1))


def test_a_job_is_acknowledged_begun_and_ended_with_the_given_output() -> None:
    node, line, _ = node_on_line(output="said\n")
    node._receive(job(line, "aws.ssm.c.mi-1", CONTENT))
    taken, begun, ended = line.sent
    assert isinstance(taken, JobAcknowledged)
    assert taken.status_code == 200
    assert isinstance(begun, JobReplied)
    assert json.loads(begun.content)["documentStatus"] == "InProgress"
    assert isinstance(ended, JobReplied)
    said = json.loads(ended.content)
    assert (said["documentStatus"], said["runtimeStatus"]["say"]["standardOutput"]) == ("Success", "said\n")


def test_a_repeated_job_is_refused_as_duplicate_and_not_answered_again() -> None:
    node, line, fleet = node_on_line()
    node._receive(job(line, "aws.ssm.c.mi-1", CONTENT))
    line.sent.clear()
    node._receive(job(line, "aws.ssm.c.mi-1", CONTENT))
    assert [each.status_code for each in line.sent] == [51405]
    assert (fleet.jobs, fleet.repeated_jobs) == (1, 1)


def test_a_final_reply_counts_once_the_server_has_acknowledged_it() -> None:
    node, line, fleet = node_on_line()
    node._receive(job(line, "aws.ssm.c.mi-1", CONTENT))
    for reply in line.sent[1:]:
        assert fleet.finished == 0
        node._receive(
            decode(line.server.acknowledge_reply(reply.job_id, reply.message_id, message_id=uuid.uuid4(), now_ms=1))
        )
    assert fleet.finished == 1
    assert not node._unacknowledged


@pytest.fixture
def simulated(start_server: StartServer) -> Iterator[tuple[ServerProcess, subprocess.Popen[str]]]:
    """A server and the command line's three nodes."""
    server = start_server()
    activation_id, code = server.activation(RegistrationLimit=3)
    command = [sys.executable, "-m", virtual_fleet.__name__, "--endpoint", server.url, "--ca", str(server.ca)]
    command += ["--activation-id", activation_id, "--activation-code", code, "--count", "3", "--prefix", "pretended"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("ready"):
            break
    assert lines[-1] == "ready 3\n"
    yield server, process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_the_command_line_keeps_named_nodes_online_that_answer_and_come_back(
    simulated: tuple[ServerProcess, subprocess.Popen[str]],
) -> None:
    server, process = simulated
    ssm = server.client()
    shown = ssm.describe_instance_information()["InstanceInformationList"]
    assert sorted(each["ComputerName"] for each in shown) == ["pretended-001", "pretended-002", "pretended-003"]
    assert {each["PingStatus"] for each in shown} == {"Online"}
    ids = [each["InstanceId"] for each in shown]
    run(ssm, ids)

    server.kill()
    server.start()
    ssm = server.client()
    eventually(lambda: all(ssm.get_connection_status(Target=each)["Status"] == "connected" for each in ids), 40)
    run(ssm, ids)

    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    eventually(lambda: all(ssm.get_connection_status(Target=each)["Status"] == "notconnected" for each in ids))


def run(ssm: Any, ids: list[str]) -> None:
    sent = ssm.send_command(
        InstanceIds=ids, DocumentName="AWS-RunShellScript", Parameters={"commands": ["hostname"]}, MaxConcurrency="100%"
    )
    command_id = sent["Command"]["CommandId"]
    eventually(lambda: ssm.list_commands(CommandId=command_id)["Commands"][0]["Status"] == "Success")
    result = ssm.get_command_invocation(CommandId=command_id, InstanceId=ids[0])
    assert result["StandardOutputContent"] == virtual_fleet.SIMULATED


def test_the_command_line_refuses_more_nodes_than_it_can_make_keys_for(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--endpoint", "https://127.0.0.1:1", "--activation-id", "a", "--activation-code", "b", "--count", "101"]
    assert main(options) == 2
    assert "--count" in capsys.readouterr().err


def test_a_certificate_file_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        VirtualFleet("https://127.0.0.1:1", ca_file=tmp_path / "none.pem")
