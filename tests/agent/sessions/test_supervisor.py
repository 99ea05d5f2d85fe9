"""The resident agent and its sessions on a real server: begun, ended from every side, told, and told again."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent.process import Stop
from fleetward.agent.report import Reply
from fleetward.agent.sessions import supervisor
from fleetward.agent.sessions.link import Link
from fleetward.agent.sessions.supervisor import Supervisor, is_session_id
from fleetward.protocol.control_channel import SessionRequested
from fleetward.protocol.data_channel.handshake import ClientHandshake, Completed, Send
from fleetward.protocol.data_channel.stream import Data, Event
from fleetward.protocol.frame import PayloadType
from tests.agent.machine import AgentProcess, FixedKeys, Machine, alive, run, until
from tests.agent.sessions.far_end import commands, content
from tests.serving import ServerProcess, eventually
from tests.sessions import ClientEnd, described, start, terminate

_numbers = itertools.count(1)


class Client(ClientEnd):
    """A client that answers the handshake."""

    def __init__(self, agent: AgentProcess, text: str, **members: Any) -> None:
        self.agent = agent
        self.handshake: ClientHandshake | None = None
        self.printed = bytearray()
        started = start(_Operated(agent), DocumentName=session_document(agent.server, text, **members))  # type: ignore[arg-type]
        self.session_id = started.session_id
        self.handshake = ClientHandshake(client_version="1.2.0.0", session_id=started.session_id, node_id=agent.node_id)
        super().__init__(agent.server, started)

    def begun(self) -> None:
        """Wait until both ends agreed."""
        assert self.handshake is not None
        handshake = self.handshake
        self.until(lambda: handshake.is_over)

    def _take(self, event: Event) -> None:
        assert self.handshake is not None
        if not isinstance(event, Data) or self.handshake.is_over:
            if isinstance(event, Data) and event.payload_type == PayloadType.OUTPUT:
                self.printed += event.payload
            super()._take(event)
            return
        for step in self.handshake.receive(event.payload_type, event.payload):
            if isinstance(step, Send):
                self.stream.send(step.payload_type, step.payload)
            elif isinstance(step, Completed) and step.terms is not None:
                self.stream.use(step.terms)

    def expect(self, text: bytes) -> None:
        """Wait until this was printed."""
        self.until(lambda: text in self.printed)

    @property
    def shell(self) -> int:
        """The process that the session runs."""
        self.expect(b"pid ")
        self.until(lambda: b"." in bytes(self.printed).partition(b"pid ")[2])
        return int(bytes(self.printed).partition(b"pid ")[2].partition(b".")[0])


class _Operated:
    """An agent as tests of sessions name a node."""

    def __init__(self, agent: AgentProcess) -> None:
        self.server, self.node_id = agent.server, agent.node_id


def session_document(server: ServerProcess, text: str, **members: Any) -> str:
    """A Session document of commands, made for this test; its name."""
    name = f"Test-Session-{next(_numbers)}-{uuid.uuid4().hex[:6]}"
    document = json.dumps({**commands(text), **members})
    request = {"Name": name, "DocumentType": "Session", "Content": document}
    answer = server.call("CreateDocument", request, server.root)
    assert answer.status == 200, answer.body
    return name


@pytest.fixture
def agent(serving: ServerProcess, tmp_path: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(serving, tmp_path)
    yield made
    if made.process is not None:
        made.end(signal.SIGKILL)


def status(agent: AgentProcess, session_id: str) -> str:
    """The session's status."""
    return str(described(_Operated(agent), session_id).get("Status", ""))  # type: ignore[arg-type]


def test_a_session_runs_and_its_end_is_told(agent: AgentProcess) -> None:
    agent.start()
    with Client(agent, "exec sh") as client:
        client.begun()
        client.send(b"echo o''ne; exit\n")
        client.expect(b"one\r\n")
        assert client.closed() == ""
        eventually(lambda: status(agent, client.session_id) == "Terminated")
    eventually(lambda: list(agent.state.sessions.iterdir()) == [])


def test_terminating_ends_what_runs_in_two_seconds(agent: AgentProcess) -> None:
    agent.start()
    with Client(agent, "echo pid $$.; exec sleep 100") as client:
        pid = client.shell
        begun = time.monotonic()
        terminate(_Operated(agent), client.session_id)  # type: ignore[arg-type]
        client.closed(2)
        eventually(lambda: not alive(pid), within=2)
        assert time.monotonic() - begun < 2


def test_an_agent_that_stops_ends_its_sessions_and_says_so(agent: AgentProcess) -> None:
    agent.start()
    with Client(agent, "echo pid $$.; exec sleep 100") as client:
        pid = client.shell
        assert agent.end() == 0
        client.closed()
        assert not alive(pid)
        eventually(lambda: status(agent, client.session_id) == "Terminated")
    assert list(agent.state.sessions.iterdir()) == []


def test_a_killed_agents_sessions_end_and_it_says_so_when_it_is_back(agent: AgentProcess) -> None:
    agent.start()
    with Client(agent, "echo pid $$.; exec sleep 100") as client:
        pid = client.shell
        agent.end(signal.SIGKILL)
        eventually(lambda: not alive(pid))
        agent.start()
        eventually(lambda: status(agent, client.session_id) in ("Terminated", "Failed"))
    eventually(lambda: list(agent.state.sessions.iterdir()) == [])


def test_what_cannot_be_is_told_to_the_client(agent: AgentProcess) -> None:
    agent.start()
    with Client(agent, "true", properties={"windows": {"commands": "dir"}}) as client:
        assert "no commands for this platform" in client.closed()


def test_a_restarted_server_keeps_the_shell(agent: AgentProcess) -> None:
    """The agent's half of it: the same process answers again."""
    agent.start()
    with Client(agent, "exec sh") as client:
        client.begun()
        client.send(b"kept=here; echo o''ne\n")
        client.expect(b"one\r\n")
        client.cut()
        client.come_again(_Operated(agent))  # type: ignore[arg-type]
        client.send(b"echo $kept t''wo; exit\n")
        client.expect(b"here two\r\n")
        client.closed()


# -- without a server -------------------------------------------------------------------------------------------------


def asked(session_id: str, text: str = "{}") -> SessionRequested:
    """The event that asks for a session."""
    return SessionRequested(session_id, text, "interactive_shell", uuid.uuid4())


def test_each_session_is_begun_once_and_its_end_told_until_acknowledged(tmp_path: Path) -> None:
    async def work() -> None:
        machine = Machine(tmp_path)
        sessions = Supervisor(machine.node, FixedKeys())
        sessions.request(asked("alice-1"))
        sessions.request(asked("alice-1"))
        sessions.request(asked("../../etc/passwd"))
        told: list[Reply] = []

        async def send(reply: Reply) -> bool:
            told.append(reply)
            return False

        delivering = asyncio.create_task(sessions.ends.deliver(send))
        await until(lambda: len(told) >= 2)  # the second time, since nobody acknowledged the first
        assert {reply.message_id for reply in told} == {told[0].message_id}
        members = json.loads(told[0].content)
        assert (told[0].job_id, members["status"]) == ("alice-1", "Failed")
        assert "not an object" in members["output"]
        assert [path.name for path in machine.state.sessions.iterdir()] == ["alice-1"]
        sessions.ends.stored(told[0].message_id)
        assert list(machine.state.sessions.iterdir()) == []
        sessions.request(asked("alice-1"))
        assert len(sessions.ends) == 0
        delivering.cancel()
        await sessions.stop(5)

    run(work())


def test_a_session_that_is_closed_at_once_ends_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        sessions = Supervisor(Machine(tmp_path).node, FixedKeys())
        sessions.request(asked("alice-1", content(commands("sleep 100"))))
        sessions.close("alice-1")
        await until(lambda: len(sessions.ends) == 1)
        await sessions.stop(5)

    run(work())


def test_there_are_no_more_sessions_than_a_node_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MOST_SESSIONS", 0)

    async def work() -> None:
        sessions = Supervisor(Machine(tmp_path).node, FixedKeys())
        sessions.request(asked("alice-1"))
        assert len(sessions.ends) == 1

    run(work())


def test_names_that_are_no_session_ids() -> None:
    assert is_session_id("alice-0123456789abcdef0")
    assert is_session_id("bob@example.com-0123456789abcdef0")
    for text in ("", "..", "../x", "a/b", ".hidden", "a b", "a\n", "x" * 129, "ü"):
        assert not is_session_id(text)


def test_a_session_without_an_agent_uses_the_last_keys(tmp_path: Path) -> None:
    async def work() -> None:
        import os

        (read_end, theirs), (ours, write_end) = os.pipe(), os.pipe()
        link = Link(read_end, write_end)
        link.begin()
        os.write(theirs, b'{"session_id": "alice-1"}\n')
        assert await link.task() == {"session_id": "alice-1"}
        asking = asyncio.create_task(link.current())
        await asyncio.to_thread(os.read, ours, 1000)
        keys = {"access_key_id": "ASIA", "secret_access_key": "secret", "session_token": "token"}
        os.write(theirs, json.dumps({"credentials": keys}).encode() + b"\n")
        assert (await asking).access_key_id == "ASIA"
        os.close(theirs)
        await link.closed.wait()
        assert (await link.current()).session_token == "token"
        assert isinstance(link.closed, Stop)
        for descriptor in (read_end, ours, write_end):
            os.close(descriptor)

    run(work())
