"""The main job with real parts: a server process, our agent as a process of its own, boto3 and the `aws` command."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import ServerProcess

pytestmark = pytest.mark.slow

FLEETWARD = [sys.executable, "-m", "fleetward.cli"]
ENDED = ("Success", "Failed", "TimedOut", "Cancelled")


class Machine:
    """This machine as a node: Fleetward's agent with a state folder of its own."""

    def __init__(self, server: ServerProcess, folder: Path, **activation: Any) -> None:
        self.server = server
        self.state = folder
        self.log = folder.with_suffix(".log")
        activation_id, code = server.activation(**activation)
        self.code = code
        words = ["join", "--endpoint", server.url, "--ca", str(server.ca), "--state", str(folder)]
        words += ["--activation-id", activation_id, "--activation-code", code]
        done = subprocess.run([*FLEETWARD, *words], capture_output=True, text=True, timeout=60, check=True)
        self.node_id = done.stdout.strip()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Machine:
        """Start the agent and wait until its channel is open."""
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-OO", "-m", "fleetward.agent", "--state", str(self.state)],
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        until(self.is_connected, 30)
        return self

    def is_connected(self) -> bool:
        """Whether the server holds its channel."""
        ssm = self.server.client()
        return bool(ssm.get_connection_status(Target=self.node_id)["Status"] == "connected")

    def kill(self) -> None:
        """End it as a power cut would, scripts it runs included."""
        assert self.process is not None
        children = subprocess.run(["pgrep", "-g", str(self.process.pid)], capture_output=True, text=True, check=False)
        os.kill(self.process.pid, signal.SIGKILL)
        for child in children.stdout.split():
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(10)

    def stop(self) -> None:
        """End it in good order."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)

    def send(self, *lines: str, **options: Any) -> str:
        """SendCommand of a shell script; the command's id."""
        parameters = {"commands": list(lines), **options.pop("Parameters", {})}
        sent = self.server.client().send_command(
            InstanceIds=[self.node_id], DocumentName="AWS-RunShellScript", Parameters=parameters, **options
        )
        return str(sent["Command"]["CommandId"])

    def result(self, command_id: str, seconds: float = 30) -> dict[str, Any]:
        """The invocation once it ended."""
        ssm = self.server.client()
        found: dict[str, Any] = {}

        def ended() -> bool:
            try:
                found.update(ssm.get_command_invocation(CommandId=command_id, InstanceId=self.node_id))
            except ssm.exceptions.InvocationDoesNotExist:
                return False
            return found["Status"] in ENDED

        until(ended, seconds)
        return found


def until(true: Callable[[], bool], seconds: float) -> None:
    """Look until it is true; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def served(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server of this test's own."""
    return start_server()


@pytest.fixture
def machine(served: ServerProcess, tmp_path: Path) -> Iterator[Machine]:
    """This machine, joined and connected."""
    joined = Machine(served, tmp_path / "node", DefaultInstanceName="web", Tags=[{"Key": "env", "Value": "test"}])
    try:
        yield joined.start()
    finally:
        joined.stop()


def test_output_exit_code_error_and_tags_come_back(machine: Machine) -> None:
    failed = machine.result(machine.send("echo out", "echo err >&2", "exit 7"))
    assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 7)
    assert failed["StandardOutputContent"] == "out\n"
    assert failed["StandardErrorContent"].startswith("err\n")
    node = machine.server.client().describe_instance_information()["InstanceInformationList"][0]
    assert (node["PingStatus"], node["Name"], node["PlatformType"]) == ("Online", "web", "Linux")
    tags = machine.server.client().list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=machine.node_id)
    assert tags["TagList"] == [{"Key": "env", "Value": "test"}]


def test_time_out_and_cancel_end_the_whole_process_group(machine: Machine, tmp_path: Path) -> None:
    marker = tmp_path / "survivor"
    script = f"(sleep 30; touch {marker}) & sleep 30"
    timed = machine.send(script, Parameters={"executionTimeout": ["5"]})
    cancelled = machine.send(script)
    until(lambda: _status(machine, cancelled) == "InProgress", 15)
    machine.server.client().cancel_command(CommandId=cancelled)
    assert machine.result(cancelled)["StatusDetails"] == "Cancelled"
    assert machine.result(timed)["StatusDetails"] == "ExecutionTimedOut"
    sleeping = subprocess.run(["pgrep", "-f", str(marker)], capture_output=True, text=True, check=False)
    assert sleeping.stdout == ""


def test_a_node_that_was_away_gets_its_work_when_it_returns(machine: Machine) -> None:
    machine.stop()
    until(lambda: not machine.is_connected(), 10)
    waiting = machine.send("echo back")
    until(lambda: _status(machine, waiting) == "Pending", 10)
    machine.start()
    assert machine.result(waiting)["StandardOutputContent"] == "back\n"


def test_kill_of_the_server_in_the_middle_loses_nothing_and_runs_nothing_twice(
    machine: Machine, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    commands = [machine.send(f"echo {number} >> {ran}", "sleep 2", f"echo {number}") for number in range(6)]
    until(ran.exists, 15)
    machine.server.kill()
    machine.server.start()
    results = [machine.result(command_id, 90) for command_id in commands]
    assert [each["Status"] for each in results] == ["Success"] * 6
    assert [each["StandardOutputContent"] for each in results] == [f"{number}\n" for number in range(6)]
    assert sorted(ran.read_text().split()) == ["0", "1", "2", "3", "4", "5"]


def test_kill_of_the_agent_in_the_middle_ends_the_command_and_runs_nothing_twice(
    machine: Machine, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    broken = machine.send(f"echo once >> {ran}", "sleep 20")
    until(ran.exists, 15)
    machine.kill()
    behind = machine.send("echo behind")
    machine.start()
    assert machine.result(broken, 60)["Status"] == "Failed"
    assert machine.result(behind, 60)["StandardOutputContent"] == "behind\n"
    assert ran.read_text() == "once\n"


def test_output_in_full_is_printed_by_the_command_line(machine: Machine) -> None:
    command_id = machine.send("seq 1 30000")
    assert machine.result(command_id)["StandardOutputContent"].endswith("--output truncated--")
    words = [*FLEETWARD, "command", "output", command_id, machine.node_id]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, check=True, env=_aws_environment(machine.server)
    )
    assert done.stdout.split() == [str(number) for number in range(1, 30001)]


def test_halt_holds_new_commands_back_until_resume(machine: Machine) -> None:
    environment = _aws_environment(machine.server)
    subprocess.run([*FLEETWARD, "halt", "--reason", "bad document"], env=environment, timeout=60, check=True)
    held = machine.send("echo held")
    until(lambda: _status(machine, held) == "Pending", 10)
    subprocess.run([*FLEETWARD, "resume"], env=environment, timeout=60, check=True)
    assert machine.result(held)["StandardOutputContent"] == "held\n"


def test_the_aws_command_does_the_main_job(machine: Machine) -> None:
    sent = _aws(machine.server, "ssm", "send-command", "--document-name", "AWS-RunShellScript",
                "--targets", "Key=tag:env,Values=test", "--parameters", "commands=['uname -s']")  # fmt: skip
    command_id = sent["Command"]["CommandId"]
    until(lambda: bool(_aws(machine.server, "ssm", "list-command-invocations", "--command-id", command_id)
                       ["CommandInvocations"]), 20)  # fmt: skip
    _aws(
        machine.server, "ssm", "wait", "command-executed", "--command-id", command_id, "--instance-id", machine.node_id
    )
    shown = _aws(machine.server, "ssm", "list-command-invocations", "--command-id", command_id, "--details")
    (invocation,) = shown["CommandInvocations"]
    assert invocation["CommandPlugins"][0]["Output"].strip() == "Linux"
    assert _aws(machine.server, "sts", "get-caller-identity")["Arn"].endswith(":root")


def test_leave_deregisters_and_purges(machine: Machine) -> None:
    machine.stop()
    words = ["leave", "--state", str(machine.state), "--purge"]
    subprocess.run([*FLEETWARD, *words], capture_output=True, timeout=60, check=True)
    assert not machine.state.exists()
    assert machine.server.client().describe_instance_information()["InstanceInformationList"] == []


def test_no_secret_of_a_run_is_in_database_objects_or_logs(machine: Machine, tmp_path: Path) -> None:
    machine.result(machine.send("seq 1 30000"))
    role = machine.server.role("Administrator")
    machine.server.client(keys=role).list_commands()
    vault = "\n".join(file.read_text(errors="replace") for file in machine.state.rglob("*.json"))
    tokens = set(
        re.findall(r'"(?:secret_access_key|session_token|private_key|SecretAccessKey|SessionToken)": ?"([^"]+)"', vault)
    )
    assert tokens, "the test no longer finds the node's own secrets"
    secrets = {machine.server.root.secret_access_key, role.secret_access_key, role.session_token, machine.code, *tokens}
    machine.stop()
    machine.server.stop()
    dump = _everything(machine.server.data) + machine.server.log.read_bytes() + machine.log.read_bytes()
    assert machine.node_id.encode() in dump
    leaked = [secret for secret in secrets if secret and secret.encode() in dump]
    assert leaked == []


def test_the_demo_checks_the_output_and_ends(tmp_path: Path) -> None:
    words = [
        *FLEETWARD,
        "demo",
        "--once",
        "--listen",
        "127.0.0.1:0",
        "--folder",
        str(tmp_path / "demo"),
        "--fleet",
        "2",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert "Hello from Fleetward" in done.stdout
    assert done.stdout.count("(simulated)") == 2
    assert "AWS_PROFILE=fleetward" in done.stdout


def test_the_demo_names_a_taken_port_in_one_sentence(served: ServerProcess, tmp_path: Path) -> None:
    words = [*FLEETWARD, "demo", "--once", "--listen", f"127.0.0.1:{served.port}", "--folder", str(tmp_path / "demo")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "already in use" in done.stderr
    assert "Traceback" not in done.stderr


def _status(machine: Machine, command_id: str) -> str:
    found = machine.server.client().list_command_invocations(CommandId=command_id)["CommandInvocations"]
    return str(found[0]["Status"]) if found else ""


def _aws_environment(server: ServerProcess) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FLEETWARD_"))}
    return kept | {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_CA_BUNDLE": str(server.ca),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": server.root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.root.secret_access_key,
        "AWS_PAGER": "",
    }


def _aws(server: ServerProcess, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "awscli", *words],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=_aws_environment(server),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def _everything(data: Path) -> bytes:
    """Every row as text, and every file but those that are made to hold keys."""
    database = sqlite3.connect(data / "fleetward.db")
    rows = "\n".join(database.iterdump()).encode()
    database.close()
    kept = {"keys.json", "root-credentials.json", "ca.key", "server.key"}
    files = [file for file in data.rglob("*") if file.is_file() and file.name not in kept]
    return rows + b"".join(file.read_bytes() for file in files)


def apply(machine: Machine, name: str, parameters: dict[str, list[str]]) -> str:
    """CreateAssociation for this machine, which applies it at once; its id."""
    made = machine.server.client().create_association(
        Name=name, Targets=[{"Key": "InstanceIds", "Values": [machine.node_id]}], Parameters=parameters
    )
    return str(made["AssociationDescription"]["AssociationId"])


def runs(machine: Machine, association_id: str) -> list[str]:
    """The states of its executions, the newest first."""
    found = machine.server.client().describe_association_executions(AssociationId=association_id)
    return [str(each["Status"]) for each in found["AssociationExecutions"]]


def test_an_association_is_applied_at_once_and_again_when_asked(machine: Machine, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    association_id = apply(machine, "AWS-RunShellScript", {"commands": [f"echo once >> {ran}"]})
    until(lambda: runs(machine, association_id) == ["Success"], 15)
    machine.server.client().start_associations_once(AssociationIds=[association_id])
    until(lambda: ran.read_text() == "once\nonce\n", 15)
    until(lambda: runs(machine, association_id) == ["Success", "Success"], 15)


def test_kills_of_agent_and_server_while_an_association_runs_lose_no_end_and_run_nothing_twice(
    machine: Machine, tmp_path: Path
) -> None:
    ran, go_on = tmp_path / "ran", tmp_path / "go-on"
    survives = apply(
        machine, "AWS-RunShellScript", {"commands": [f"echo a >> {ran}; until test -e {go_on}; do sleep 0.1; done"]}
    )
    until(ran.exists, 15)
    machine.server.kill()
    go_on.touch()
    time.sleep(8)  # longer than an official agent tries to tell an end
    machine.server.start()
    until(lambda: runs(machine, survives) == ["Success"], 60)
    broken = apply(machine, "AWS-RunShellScript", {"commands": [f"echo b >> {ran}; sleep 30"]})
    until(lambda: "b" in ran.read_text(), 60)
    machine.kill()
    machine.start()
    until(lambda: runs(machine, broken) == ["Failed"], 60)
    assert ran.read_text() == "a\nb\n"


def test_inventory_gathered_by_an_association_is_shown(machine: Machine) -> None:
    association_id = apply(machine, "AWS-GatherSoftwareInventory", {})
    until(lambda: runs(machine, association_id) == ["Success"], 60)
    ssm = machine.server.client()
    found = ssm.list_inventory_entries(InstanceId=machine.node_id, TypeName="AWS:InstanceDetailedInformation")
    assert int(found["Entries"][0]["CPUs"]) == os.cpu_count()
    (entity,) = ssm.get_inventory(ResultAttributes=[{"TypeName": "AWS:Network"}])["Entities"]
    assert entity["Id"] == machine.node_id
    assert entity["Data"]["AWS:Network"]["Content"]
