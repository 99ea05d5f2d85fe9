"""The agent as a process of its own, on a real server: results, kills on both sides, what it loads, how it leaves."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fleetward.agent import app
from tests.agent.machine import AgentProcess
from tests.serving import FLEETWARD, ServerProcess, StartServer, eventually

IMPORTED = re.compile(r"^import time:.*\|\s*([A-Za-z_][\w.]*)\s*$", re.MULTILINE)


@pytest.fixture
def agent(serving: ServerProcess, tmp_path: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(serving, tmp_path)
    yield made
    if made.process is not None:
        made.end(signal.SIGKILL)


def test_output_and_exit_code_come_back(agent: AgentProcess) -> None:
    agent.start()
    seen = agent.result(agent.send("echo hello; echo oops >&2; exit 3"))
    assert (seen["Status"], seen["ResponseCode"], seen["StandardOutputContent"]) == ("Failed", 3, "hello\n")
    assert seen["StandardErrorContent"] == "oops\nfailed to run commands: exit status 3"


def test_the_node_is_online_and_known_by_its_platform(agent: AgentProcess) -> None:
    agent.start()
    client = agent.server.client()

    def told() -> dict[str, str] | None:
        filters = [{"Key": "InstanceIds", "Values": [agent.node_id]}]
        listed = client.describe_instance_information(Filters=filters)["InstanceInformationList"]
        return listed[0] if listed and listed[0].get("PlatformName") else None

    found = eventually(told)
    assert (found["PingStatus"], found["PlatformType"], found["AgentVersion"]) == ("Online", "Linux", "0.1.0.0")
    assert client.get_connection_status(Target=agent.node_id)["Status"] == "connected"


def test_cancel_and_time_out_end_with_137(agent: AgentProcess) -> None:
    agent.start()
    timed_out = agent.send("sleep 100", parameters={"executionTimeout": ["5"]})
    cancelled = agent.send("echo begun; sleep 100")
    eventually(lambda: len(list(agent.state.orchestration.glob("*/steps/*/process"))) == 2)
    agent.server.client().cancel_command(CommandId=cancelled)
    assert (agent.result(cancelled)["Status"], agent.result(cancelled)["ResponseCode"]) == ("Cancelled", 137)
    seen = agent.result(timed_out)
    assert (seen["StatusDetails"], seen["ResponseCode"]) == ("ExecutionTimedOut", 137)


def test_work_for_an_offline_node_is_done_when_it_returns(agent: AgentProcess, tmp_path: Path) -> None:
    commands = [agent.send(f"echo {number} >> {tmp_path}/runs") for number in range(6)]
    agent.start()
    assert {agent.result(command)["Status"] for command in commands} == {"Success"}
    assert sorted((tmp_path / "runs").read_text().split()) == [str(number) for number in range(6)]


def test_a_machine_that_was_set_back_runs_nothing_again(agent: AgentProcess, tmp_path: Path) -> None:
    """Its state is that of a snapshot taken while a command ran, which has ended since."""
    agent.start()
    first = agent.send(f"echo first >> {tmp_path}/runs; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    eventually((tmp_path / "runs").exists)
    shutil.copytree(agent.state.journal, tmp_path / "snapshot")
    (tmp_path / "go").touch()
    assert agent.result(first)["Status"] == "Success"
    assert agent.result(agent.send(f"echo second >> {tmp_path}/runs"))["Status"] == "Success"
    agent.end(signal.SIGKILL)
    shutil.rmtree(agent.state.journal)
    shutil.copytree(tmp_path / "snapshot", agent.state.journal)
    agent.start()
    assert agent.result(agent.send(f"echo third >> {tmp_path}/runs"))["Status"] == "Success"
    assert agent.result(first)["Status"] == "Success"
    assert (tmp_path / "runs").read_text().split() == ["first", "second", "third"]
    assert "set back" in agent.log.read_text()


def test_a_killed_agent_loses_nothing_and_runs_nothing_twice(agent: AgentProcess, tmp_path: Path) -> None:
    agent.start()
    interrupted = agent.send(f"echo a >> {tmp_path}/runs; sleep 100; echo b >> {tmp_path}/runs")
    eventually((tmp_path / "runs").exists)
    agent.end(signal.SIGKILL)
    waiting = [agent.send(f"echo c >> {tmp_path}/runs") for _ in range(3)]
    agent.start()
    seen = agent.result(interrupted)
    assert seen["Status"] == "Failed"
    assert "not run again" in seen["StandardErrorContent"]
    assert {agent.result(command)["Status"] for command in waiting} == {"Success"}
    assert (tmp_path / "runs").read_text().split() == ["a", "c", "c", "c"]


def test_a_killed_server_gets_the_result_when_it_is_back(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    agent = AgentProcess(server, tmp_path).start()
    try:
        command = agent.send(f"echo 1 >> {tmp_path}/runs; sleep 1; echo survived")
        eventually((tmp_path / "runs").exists)
        server.kill()
        eventually(lambda: any(agent.state.journal.glob("*.jsonl")))
        time.sleep(1.2)  # the step ends while nobody listens
        server.start()
        seen = agent.result(command, within=60)
        assert (seen["Status"], seen["StandardOutputContent"]) == ("Success", "survived\n")
        assert (tmp_path / "runs").read_text() == "1\n"
    finally:
        agent.end(signal.SIGKILL)


def test_long_output_is_handed_in_whole(agent: AgentProcess) -> None:
    agent.start()
    command = agent.send("seq 1 20000")
    assert agent.result(command)["StandardOutputContent"].endswith("--output truncated--")
    found = agent.server.call("ListCommandOutputs", {"CommandId": command, "InstanceId": agent.node_id},
                              agent.server.root, service="fleetward")  # fmt: skip
    assert found.status == 200, found.body
    whole = sum(len(f"{number}\n") for number in range(1, 20001))
    assert str(whole) in found.body.decode()


def test_a_term_signal_ends_it_in_good_order(agent: AgentProcess) -> None:
    agent.start()
    command = agent.send("sleep 1; echo done")
    eventually(lambda: list(agent.state.orchestration.glob("*/steps/*/process")))
    assert agent.end() == 0
    agent.start()
    assert agent.result(command)["StandardOutputContent"] == "done\n"


def test_two_agents_never_share_a_folder(agent: AgentProcess) -> None:
    agent.start()
    second = subprocess.run(
        [sys.executable, "-m", "fleetward.agent", "--state", str(agent.state.root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert "another agent runs" in second.stderr


def test_without_identity_it_ends_with_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fleetward.agent", "--state", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "fleetward join" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()


def test_the_resident_process_loads_only_what_is_listed(agent: AgentProcess) -> None:
    agent.start("-X", "importtime")
    assert agent.result(agent.send("true"))["Status"] == "Success"
    loaded = {name.partition(".")[0] for name in IMPORTED.findall(agent.log.read_text())}
    assert "asyncio" in loaded
    lines = (Path(__file__).parent / "imports.txt").read_text().splitlines()
    allowed = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    # Start files of this environment (*.pth) load what they like, in every Python here.
    bare = subprocess.run([sys.executable, "-X", "importtime", "-c", ""], capture_output=True, text=True, check=True)
    environment = {name.partition(".")[0] for name in IMPORTED.findall(bare.stderr)}
    foreign = loaded - set(sys.stdlib_module_names) - environment - {"fleetward"}
    assert {name for name in foreign if find_spec(name)} <= allowed  # what cannot be found was only looked for
    within = {name for name in IMPORTED.findall(agent.log.read_text()) if name.startswith("fleetward.")}
    assert not {name for name in within if name.startswith(("fleetward.server", "fleetward.cli", "fleetward.client"))}
    assert not {name for name in within if name.startswith("fleetward.agent.inventory")}


def test_an_address_of_this_machine_is_found() -> None:
    assert app.own_address("127.0.0.1")


def fleetward(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line."""
    return subprocess.run([str(FLEETWARD), *map(str, arguments)], capture_output=True, text=True, check=False)


def test_join_agent_and_leave_by_the_command_line(serving: ServerProcess, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / "theirs").write_text("not ours")
    activation_id, code = serving.activation()
    join = ["join", "--endpoint", serving.url, "--activation-id", activation_id, "--activation-code", code]
    refused = fleetward(*join, "--state", state, "--ca-sha256", "0" * 64)
    assert refused.returncode == 1
    assert "somebody else may be answering" in refused.stderr
    assert fleetward(*join, "--state", state).returncode == 2
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(serving.ca.read_text())).hexdigest()
    joined = fleetward(*join, "--state", state, "--ca-sha256", digest)
    assert joined.returncode == 0, joined.stderr
    assert re.fullmatch(r"mi-[0-9a-f]{17}\n", joined.stdout)
    again = fleetward(*join, "--state", state, "--ca-sha256", digest)
    assert again.returncode == 1
    assert joined.stdout.strip() in again.stderr

    agent = subprocess.Popen([str(FLEETWARD), "agent", "--state", str(state)], stderr=subprocess.PIPE, text=True)
    assert agent.stderr is not None
    while "the control channel is open" not in agent.stderr.readline():
        assert agent.poll() is None
    left = fleetward("leave", "--state", state, "--purge")
    assert left.returncode == 0, left.stderr
    listed = serving.client().describe_instance_information()["InstanceInformationList"]
    assert joined.stdout.strip() not in [node["InstanceId"] for node in listed]
    assert not state.exists()
    assert agent.wait(60) == 1  # it ends by itself: it is nobody's agent any more
    assert not state.exists()


def test_leaving_removes_nothing_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("not ours")
    assert fleetward("leave", "--state", tmp_path, "--purge").returncode == 0
    assert (tmp_path / "theirs").read_text() == "not ours"


def test_a_template_has_no_identity(agent: AgentProcess) -> None:
    agent.start()
    busy = fleetward("agent", "--state", agent.state.root, "--prepare-template")
    assert busy.returncode == 1
    agent.end()
    assert fleetward("agent", "--state", agent.state.root, "--prepare-template").returncode == 0
    assert list(agent.state.vault.iterdir()) == []
    assert fleetward("agent", "--state", agent.state.root).returncode == 1
