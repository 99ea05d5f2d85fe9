"""`fleetward demo`: the main job on this machine, from nothing: server, activation, join, command, result."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.failure import Failure

FOLDER = Path(".demo")
COMMANDS = ["uname -a", "echo 'Hello from Fleetward'", "uptime || true"]


def demo(
    listen: Annotated[str, typer.Option(help="Address of the server, host:port.")] = "127.0.0.1:8443",
    fleet: Annotated[int, typer.Option(help="Add this many simulated nodes.")] = 0,
    once: Annotated[bool, typer.Option("--once", help="End after checking the output.")] = False,
    folder: Annotated[Path, typer.Option(help="Scratch folder; emptied first.")] = FOLDER,
) -> None:
    """Start a server, join this machine, run a command on it, show its output; stay up until Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupted)
    folder = folder.resolve()
    with _processes() as start:
        try:
            _walk(start, folder, listen, fleet)
            if not once:
                print("\nThe server stays up until Ctrl-C.")
                while True:
                    time.sleep(3600)
        except KeyboardInterrupt:
            print("\nStopping.")


def _walk(start: Callable[..., subprocess.Popen[str]], folder: Path, listen: str, fleet: int) -> None:
    _empty(folder)
    _say(f"Starting a server on {listen} (SQLite, in-process bus, a folder) ...")
    endpoint = _start_server(start, folder, listen)
    ca = folder / "server" / "tls" / "ca.pem"
    root = json.loads((folder / "server" / "root-credentials.json").read_text())
    ssm = _client(endpoint, ca, root)
    _say("Creating an activation ...")
    made = ssm.create_activation(IamRole="SSMServiceRole", DefaultInstanceName="this-machine")
    _say("Joining this machine with Fleetward's agent (no root needed) ...")
    node_id = _join(endpoint, ca, made, folder / "node")
    start([sys.executable, "-OO", "-m", "fleetward.agent", "--state", str(folder / "node")], folder / "agent.log")
    _wait(lambda: _is_connected(ssm, node_id), 30, "the agent did not connect", folder / "agent.log")
    if fleet:
        _say(f"Adding {fleet} simulated nodes ...")
        simulated = ssm.create_activation(
            IamRole="SSMServiceRole", DefaultInstanceName="simulated", RegistrationLimit=fleet
        )
        _start_fleet(start, folder, endpoint, ca, simulated, fleet)
    _say(f"{node_id} is online. Sending AWS-RunShellScript ...")
    invocation = _run(ssm, node_id)
    print("\n" + _safe(invocation["StandardOutputContent"]).rstrip() + "\n")
    if invocation["Status"] != "Success" or "Hello from Fleetward" not in invocation["StandardOutputContent"]:
        raise Failure(f"the command ended {invocation['StatusDetails']}; see {folder}")
    _show_nodes(ssm)
    _show_profile(folder, endpoint, ca, root, node_id)


def _start_server(start: Callable[..., subprocess.Popen[str]], folder: Path, listen: str) -> str:
    log = folder / "server.log"
    arguments = ["-m", "fleetward.cli", "server", "--data", str(folder / "server"), "--listen", listen]
    process = start([sys.executable, *arguments], log, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        process.wait(10)
        raise Failure(_reason(log))
    return line.split()[1]


def _reason(log: Path) -> str:
    """The sentence that a server which did not start left behind."""
    lines = log.read_text(errors="replace").strip().splitlines()
    for line in reversed(lines):
        if line.startswith("fleetward: "):
            return line.removeprefix("fleetward: ").replace("--listen", "make demo LISTEN=host:port")
    return f"the server did not start; see {log}"


def _client(endpoint: str, ca: Path, root: dict[str, str]) -> Any:
    import botocore.session

    return botocore.session.Session().create_client(
        "ssm",
        endpoint_url=endpoint,
        verify=str(ca),
        region_name=root["region"],
        aws_access_key_id=root["access_key_id"],
        aws_secret_access_key=root["secret_access_key"],
    )


def _join(endpoint: str, ca: Path, made: dict[str, str], state: Path) -> str:
    arguments = ["join", "--endpoint", endpoint, "--ca", str(ca), "--state", str(state)]
    arguments += ["--activation-id", made["ActivationId"], "--activation-code", made["ActivationCode"]]
    done = subprocess.run(
        [sys.executable, "-m", "fleetward.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise Failure(f"joining failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _start_fleet(
    start: Callable[..., subprocess.Popen[str]], folder: Path, endpoint: str, ca: Path, made: dict[str, str], count: int
) -> None:
    arguments = ["--endpoint", endpoint, "--ca", str(ca), "--count", str(count)]
    arguments += ["--activation-id", made["ActivationId"], "--activation-code", made["ActivationCode"]]
    log = folder / "fleet.log"
    process = start([sys.executable, "-m", "fleetward.testing.virtual_fleet", *arguments], log, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready"):
            return
        _say(f"  {line.strip()}")
    raise Failure(f"the simulated nodes did not start; see {log}")


def _run(ssm: Any, node_id: str) -> dict[str, Any]:
    sent = ssm.send_command(InstanceIds=[node_id], DocumentName="AWS-RunShellScript", Parameters={"commands": COMMANDS})
    command_id = sent["Command"]["CommandId"]
    found: dict[str, Any] = {}

    def ended() -> bool:
        try:
            found.update(ssm.get_command_invocation(CommandId=command_id, InstanceId=node_id))
        except ssm.exceptions.InvocationDoesNotExist:
            return False
        return found["Status"] not in ("Pending", "InProgress", "Delayed")

    _wait(ended, 30, "the command did not end", None)
    return found


def _is_connected(ssm: Any, node_id: str) -> bool:
    status = ssm.get_connection_status(Target=node_id)["Status"]
    return bool(status == "connected") and bool(
        ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": [node_id]}])[
            "InstanceInformationList"
        ][0].get("PlatformName")
    )


def _show_nodes(ssm: Any) -> None:
    shown = ssm.describe_instance_information(MaxResults=50)["InstanceInformationList"]
    print(f"{'node':22} {'name':14} {'ping':8} {'platform':26} agent")
    for node in shown[:10]:
        platform = f"{node.get('PlatformName', '')} {node.get('PlatformVersion', '')}".strip()
        simulated = " (simulated)" if node.get("ComputerName", "").startswith("simulated-") else ""
        name = node.get("Name", "")
        version = node.get("AgentVersion", "")
        print(_safe(f"{node['InstanceId']:22} {name:14} {node['PingStatus']:8} {platform:26} {version}{simulated}"))
    if len(shown) > 10:
        print(f"... and {len(shown) - 10} more")


def _show_profile(folder: Path, endpoint: str, ca: Path, root: dict[str, str], node_id: str) -> None:
    """An AWS profile of its own, so that nobody's real one is touched."""
    aws = folder / "aws"
    aws.mkdir(mode=0o700)
    (aws / "config").write_text(
        f"[profile fleetward]\nregion = {root['region']}\nendpoint_url = {endpoint}\nca_bundle = {ca}\n"
    )
    credentials = aws / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(
        f"[fleetward]\naws_access_key_id = {root['access_key_id']}\n"
        f"aws_secret_access_key = {root['secret_access_key']}\n"
    )
    print("\nGo on with the plain aws command (pip install awscli):\n")
    print(f"  export AWS_CONFIG_FILE={aws / 'config'} AWS_SHARED_CREDENTIALS_FILE={credentials} AWS_PROFILE=fleetward")
    print("  aws ssm describe-instance-information")
    print(
        f"  aws ssm send-command --instance-ids {node_id} --document-name AWS-RunShellScript"
        " --parameters commands=hostname"
    )


@contextlib.contextmanager
def _processes() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Child processes that end, in reverse order, with the block."""
    started: list[subprocess.Popen[str]] = []

    def start(arguments: list[str], log: Path, **options: Any) -> subprocess.Popen[str]:
        with log.open("a") as stream:
            process = subprocess.Popen(
                arguments,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
                **{"stdout": stream, **options},
            )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(12)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
            if process.stdout is not None:
                process.stdout.close()


def _wait(done: Callable[[], bool], seconds: float, sentence: str, log: Path | None) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise Failure(f"{sentence} within {seconds:.0f} s" + (f"; see {log}" if log else ""))
        time.sleep(0.1)


def _empty(folder: Path) -> None:
    """Remove an earlier demo's leftovers; a folder with anything else in it is refused."""
    own = {"server", "node", "aws", "server.log", "agent.log", "fleet.log"}
    if folder.exists():
        if strange := {entry.name for entry in folder.iterdir()} - own:
            raise Failure(
                f"{folder} holds files that are not a demo's ({sorted(strange)[0]}); choose another --folder", 2
            )
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)


def _safe(text: str) -> str:
    """Text of a node without control sequences."""
    return "".join(character if character.isprintable() or character in "\n\t" else "?" for character in text)


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def _interrupted(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
