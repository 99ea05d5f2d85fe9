"""The control channel: opened again after cuts, replaced by polling where WebSockets are not let through, and back."""

from __future__ import annotations

import asyncio
import signal
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleetward.agent import identity
from tests.agent.machine import AgentProcess
from tests.serving import ServerProcess, eventually


class Middle:
    """Something on the way to the server that speaks plain HTTP to the agent and may refuse WebSockets."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.refuses = False
        self.upgrades = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)}"

    def cut(self) -> None:
        """Break every connection."""
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def close(self) -> None:
        """End it."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"Upgrade: websocket" in head:
                self.upgrades += 1
                if self.refuses:
                    writer.write(b"HTTP/1.1 400 No upgrades here\r\nContent-Length: 0\r\n\r\n")
                    return
            trust = ssl.create_default_context(cafile=str(self._server.ca))
            far_reader, far_writer = await asyncio.open_connection(self._server.host, self._server.port, ssl=trust)
            far_writer.write(head)
            await asyncio.wait(
                [asyncio.ensure_future(_copy(*pair)) for pair in ((reader, far_writer), (far_reader, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            far_writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass


@pytest.fixture
def middle(serving: ServerProcess) -> Iterator[Middle]:
    made = Middle(serving)
    yield made
    made.close()


@pytest.fixture
def agent(serving: ServerProcess, middle: Middle, tmp_path: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(serving, tmp_path)
    identity.save(made.state, replace(identity.load(made.state), endpoint=middle.url))
    yield made
    if made.process is not None:
        made.end(signal.SIGKILL)


def test_a_cut_channel_opens_again_and_work_goes_on(agent: AgentProcess, middle: Middle, tmp_path: Path) -> None:
    agent.start()
    command = agent.send(f"echo 1 >> {tmp_path}/runs; sleep 0.5; echo done")
    eventually((tmp_path / "runs").exists)
    middle.cut()
    seen = agent.result(command, within=30)
    assert (seen["Status"], seen["StandardOutputContent"]) == ("Success", "done\n")
    assert (tmp_path / "runs").read_text() == "1\n"
    assert middle.upgrades >= 2


def test_where_websockets_are_refused_work_comes_by_polling_until_they_are_let_through(
    agent: AgentProcess, middle: Middle
) -> None:
    agent.start()
    middle.refuses = True
    middle.cut()
    seen = agent.result(agent.send("echo by polling"), within=40)
    assert seen["StandardOutputContent"] == "by polling\n"
    assert "polling for messages" in agent.log.read_text()
    middle.refuses = False
    opened = agent.log.read_text().count("the control channel is open")
    eventually(lambda: agent.log.read_text().count("the control channel is open") > opened, within=40)
    assert agent.result(agent.send("echo again"))["StandardOutputContent"] == "again\n"
