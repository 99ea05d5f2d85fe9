"""What agent tests share: a machine of real parts without a control plane, and agents as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from fleetward.agent import identity, platforms
from fleetward.agent.association_reports import AssociationReports
from fleetward.agent.client import Client, Endpoint
from fleetward.agent.http import Url
from fleetward.agent.node import Node
from fleetward.agent.platforms.linux import Linux
from fleetward.agent.report import Replies, Reply
from fleetward.agent.state import StateFolder
from fleetward.agent.worker import Ack, Worker
from fleetward.protocol.control_channel import CANCEL_COMMAND, SEND_COMMAND
from fleetward.protocol.sigv4 import Credentials
from tests.serving import ServerProcess, eventually

Result = TypeVar("Result")

NODE_ID = "mi-0123456789abcdef0"
NOBODY = Url("http", "127.0.0.1", 9)
_commands = itertools.count(1)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end, within 60 seconds."""

    async def bounded() -> Result:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(bounded())


async def until(check: Callable[[], Any], within: float = 20.0) -> Any:
    """The first true value of `check`."""
    deadline = time.monotonic() + within
    while not (value := check()):
        assert time.monotonic() < deadline, f"not so within {within} s"
        await asyncio.sleep(0.01)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class FixedKeys:
    """Keys of a node that is known to nobody."""

    async def current(self) -> Credentials:
        """Always the same."""
        return Credentials("ASIAEXAMPLE", "secret", "token")

    def reject(self, credentials: Credentials) -> None:
        """There are no others."""


class RebootingLinux(Linux):
    """This machine, but for its reboots: they are counted, and there is another boot id after each."""

    def __init__(self) -> None:
        self.reboots = 0
        self.boots = 0

    def boot_id(self) -> str:
        """Changes when `boots` does."""
        return f"boot-{self.boots}"

    def reboot(self) -> None:
        """Somebody asked for it."""
        self.reboots += 1


def content(document: dict[str, Any], parameters: dict[str, Any] | None = None) -> str:
    """A sendCommand message."""
    return json.dumps({"DocumentContent": document, "Parameters": parameters or {}, "DocumentName": "test"})


def script(*lines: str, name: str = "step", **inputs: Any) -> dict[str, Any]:
    """One step of shell."""
    return {"action": "aws:runShellScript", "name": name, "inputs": {"runCommand": list(lines), **inputs}}


def document(*steps: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A document of these steps."""
    return {"schemaVersion": "2.2", "description": "test", "mainSteps": list(steps), **members}


def new_command_id() -> str:
    """An id like the control plane's."""
    return str(uuid.UUID(int=next(_commands) << 64 | 1))


class Machine:
    """A worker on a state folder, its replies stored by us: everything but the control plane is real."""

    def __init__(self, folder: Path, platform: platforms.Platform | None = None, url: Url = NOBODY) -> None:
        self.state = StateFolder(folder)
        self.state.prepare()
        self.platform = platform or platforms.current()
        self.replies = Replies()
        client = Client(Endpoint(url, None, "us-east-1"), NODE_ID, FixedKeys())
        self.node = Node(NODE_ID, "us-east-1", self.state, self.platform, client)
        self.reports = AssociationReports(client)
        self.worker = Worker(self.node, self.replies, self.reports)
        self.heard: list[Reply] = []

    @contextlib.asynccontextmanager
    async def running(self, *, resume: bool = True) -> AsyncIterator[Machine]:
        """With an open road for replies."""
        if resume:
            self.worker.resume()
        delivering = asyncio.create_task(self.replies.deliver(self._hear))
        try:
            yield self
        finally:
            await self.worker.stop(0)
            delivering.cancel()

    async def _hear(self, reply: Reply) -> bool:
        self.heard.append(reply)
        return True

    def send(self, text: str, command_id: str | None = None) -> tuple[str, Ack]:
        """Give the worker a command."""
        command_id = command_id or new_command_id()
        return command_id, self.worker.receive(f"aws.ssm.{command_id}.{NODE_ID}", SEND_COMMAND, text)

    def cancel(self, command_id: str) -> Ack:
        """Cancel a command."""
        text = json.dumps({"CancelMessageId": f"aws.ssm.{command_id}.{NODE_ID}"})
        return self.worker.receive(f"aws.ssm.{new_command_id()}.{NODE_ID}", CANCEL_COMMAND, text)

    def told(self, command_id: str) -> list[dict[str, Any]]:
        """What was replied about a command."""
        return [json.loads(reply.content) for reply in self.heard if f".{command_id}." in reply.job_id]

    def ended(self, command_id: str) -> dict[str, Any] | None:
        """The final reply, with the results of all steps put together."""
        told = self.told(command_id)
        if not told or told[-1]["documentStatus"] in ("InProgress", "SuccessAndReboot"):
            return None
        steps: dict[str, Any] = {}
        for reply in told:
            steps |= reply["runtimeStatus"] or {}
        return {**told[-1], "steps": steps}

    async def result(self, command_id: str) -> dict[str, Any]:
        """Wait for the end of a command."""
        ended: dict[str, Any] = await until(lambda: self.ended(command_id))
        return ended


def perform(
    folder: Path, doc: dict[str, Any], parameters: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Run one document on a machine of its own and answer its end."""

    async def work() -> dict[str, Any]:
        async with Machine(folder, **options).running() as machine:
            command_id, ack = machine.send(content(doc, parameters))
            assert ack.code == 200, ack
            return await machine.result(command_id)

    return run(work())


class AgentProcess:
    """An agent as a process of its own, joined to a real server."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self.server = server
        self.state = StateFolder(folder / "state")
        self.log = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.state.prepare()
        shutil.copy(server.ca, self.state.ca)
        activation_id, code = server.activation()
        joined = asyncio.run(
            identity.register(self.state, platforms.current(), server.url, "us-east-1", activation_id, code)
        )
        self.node_id = joined.node_id

    def start(self, *options: str, **environment: str) -> AgentProcess:
        """Start it; it is online when this returns."""
        seen = self._opened()
        command = [sys.executable, *options, "-m", "fleetward.agent", "--state", str(self.state.root)]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, **environment})
        eventually(lambda: self._opened() > seen, within=30)
        return self

    def _opened(self) -> int:
        return self.log.read_text().count("the control channel is open") if self.log.exists() else 0

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)

    def send(self, *lines: str, **options: Any) -> str:
        """SendCommand of AWS-RunShellScript, or of another `document`; the command's id."""
        parameters = {**({"commands": list(lines)} if lines else {}), **options.pop("parameters", {})}
        document = options.pop("document", "AWS-RunShellScript")
        answer = self.server.client().send_command(
            InstanceIds=[self.node_id], DocumentName=document, Parameters=parameters, **options
        )
        command_id: str = answer["Command"]["CommandId"]
        return command_id

    def seen(self, command_id: str, step: str = "") -> dict[str, Any] | None:
        """The invocation, or one step of it, once there is one."""
        client = self.server.client()
        asked = {"PluginName": step} if step else {}
        try:
            found: dict[str, Any] = client.get_command_invocation(
                CommandId=command_id, InstanceId=self.node_id, **asked
            )
        except client.exceptions.InvocationDoesNotExist:
            return None
        return found

    def result(self, command_id: str, step: str = "", within: float = 30.0) -> dict[str, Any]:
        """The invocation, or one step of it, once it has ended."""

        def ended() -> dict[str, Any] | None:
            seen = self.seen(command_id, step)
            return seen if seen and seen["Status"] not in ("Pending", "InProgress", "Delayed", "Cancelling") else None

        found: dict[str, Any] = eventually(ended, within=within)
        return found
