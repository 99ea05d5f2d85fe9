"""Sessions as the resident agent sees them: a process for each, the keys it may use, and what is told of its end.

A session leaves a file of its name in the state folder until the control plane knows its end, so that an agent that
was killed tells of its sessions when it is back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from typing import Any

from fleetward.agent.client import CredentialsSource
from fleetward.agent.node import Node
from fleetward.agent.process import Pipe, wait_process
from fleetward.agent.report import Replies, Reply
from fleetward.agent.sessions.nursery import Nursery, command
from fleetward.protocol.control_channel import AgentControlChannel, SessionRequested
from fleetward.protocol.sigv4 import Credentials

log = logging.getLogger("fleetward.sessions")

MOST_SESSIONS = 1000
MOST_REMEMBERED = 4000
END_SECONDS = 20.0
NURSERY_SECONDS = 600.0
KEEP_SECONDS = 24 * 3600.0
LONGEST_LINE_BYTES = 256 * 1024
RESTARTED = "The agent was restarted, which ended the session."

_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@:-")


def is_session_id(text: str) -> bool:
    """Whether it may be a session's id, which is part of addresses and names of files."""
    return 0 < len(text) <= 128 and text[0].isalnum() and _NAME_CHARACTERS.issuperset(text)


class Supervisor:
    """All sessions of this node."""

    def __init__(self, node: Node, credentials: CredentialsSource) -> None:
        self._node = node
        self._credentials = credentials
        self._running: dict[str, SessionProcess] = {}
        self._known: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._nursery = Nursery() if hasattr(os, "fork") else None
        self._idle: asyncio.TimerHandle | None = None
        self.ends = Replies()
        """What is to be told of sessions that ended; sent again until the control plane acknowledges it."""

    def resume(self) -> None:
        """Tell the end of sessions that a killed agent left."""
        for path in self._node.state.sessions.iterdir():
            self._remember(path.name)
            self._tell(path.name, {"status": "Failed", "output": RESTARTED})

    def clean(self) -> None:
        """Remove transcripts that a session left when it was killed; after a day."""
        for path in self._node.state.transcripts.iterdir():
            if path.stat().st_mtime < time.time() - KEEP_SECONDS:
                path.unlink(missing_ok=True)

    def request(self, event: SessionRequested) -> None:
        """Start a session, unless it is known already."""
        session_id = event.session_id
        if not is_session_id(session_id):
            log.warning("%r is no session id", session_id[:80])
            return
        if session_id in self._known or self._is_stopping:
            return
        self._remember(session_id)
        (self._node.state.sessions / session_id).touch(mode=0o600)
        if len(self._running) >= MOST_SESSIONS:
            self._tell(session_id, {"status": "Failed", "output": f"This node has {MOST_SESSIONS} sessions already."})
            return
        session = self._running[session_id] = SessionProcess(self._node, self._credentials, self._nursery)
        task = asyncio.create_task(self._run(session, session_id, event.content), name=session_id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self, session_id: str) -> None:
        """End a session, if it runs."""
        if session_id in self._running:
            self._running[session_id].close()

    async def stop(self, seconds: float) -> None:
        """End all sessions."""
        self._is_stopping = True
        for session in self._running.values():
            session.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._end_nursery()

    async def _run(self, session: SessionProcess, session_id: str, content: str) -> None:
        log.info("session %s begins", session_id)
        try:
            result = await session.run(session_id, content)
        except OSError as error:
            result = {"status": "Failed", "output": f"The session could not be started: {error}"}
        finally:
            del self._running[session_id]
            self._rest()
        log.info("session %s ended: %s", session_id, result.get("status"))
        self._tell(session_id, result)

    def _rest(self) -> None:
        """Without sessions, give the nursery's memory back after a while."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(NURSERY_SECONDS, self._end_nursery)

    def _end_nursery(self) -> None:
        if self._nursery is not None and not self._running:
            self._nursery.end()

    def _remember(self, session_id: str) -> None:
        self._known[session_id] = None
        if len(self._known) > MOST_REMEMBERED:
            del self._known[next(iter(self._known))]

    def _tell(self, session_id: str, result: Mapping[str, Any]) -> None:
        """Tell the end of a session, and forget it once that is acknowledged."""
        path = self._node.state.sessions / session_id
        content = json.dumps({**result, "node_id": self._node.node_id})
        self.ends.add(Reply(session_id, "", content, uuid.uuid4(), lambda: path.unlink(missing_ok=True)))


def end_frame(channel: AgentControlChannel, reply: Reply, now_ms: int) -> bytes:
    """The frame that tells the end of a session."""
    told = json.loads(reply.content)
    return channel.complete_task(
        reply.job_id,
        final_status=str(told.get("status") or "Failed"),
        output=str(told.get("output") or ""),
        node_id=told["node_id"],
        s3_bucket=str(told.get("bucket") or ""),
        s3_url_suffix=str(told.get("key") or ""),
        log_group=str(told.get("group") or ""),
        log_stream=str(told.get("stream") or ""),
        retry_number=reply.attempts,
        message_id=reply.message_id,
        now_ms=now_ms,
    )


class SessionProcess:
    """The process of one session, and the pipes to it: a line of JSON for each message, see `link`."""

    def __init__(self, node: Node, credentials: CredentialsSource, nursery: Nursery | None = None) -> None:
        self._node = node
        self._credentials = credentials
        self._nursery = nursery
        self._given: Credentials | None = None
        self._received = bytearray()
        self._result: Mapping[str, Any] | None = None
        self._write_end = -1
        self._is_ready = self._is_closing = False
        self._killing: asyncio.TimerHandle | None = None
        self._giving: set[asyncio.Task[None]] = set()
        self.pid: int | None = None
        """The process, once it has said so."""

    async def run(self, session_id: str, content: str) -> Mapping[str, Any]:
        """Run it to its end and say how it ended; OSError when it cannot be started."""
        if self._nursery is not None:
            await self._attempt(session_id, content, self._nursery)
        if self.pid is None:  # there is no nursery, or it died before it had begun this one
            await self._attempt(session_id, content, None)
        return self._result or {"status": "Failed", "output": "The session's process ended before it had said how."}

    async def _attempt(self, session_id: str, content: str, nursery: Nursery | None) -> None:
        output = Pipe(self._receive)
        process: subprocess.Popen[bytes] | None = None
        try:
            process = self._start(output.write_end, nursery)
            output.begin()
            await asyncio.to_thread(self._send, self._task(session_id, content))
            self._is_ready = True
            if self._is_closing:
                self.close()
            await output.ended.wait()
            if process is not None:
                await wait_process(process)
        except BaseException:
            self._kill()
            raise
        finally:
            self._finish(output)

    def close(self) -> None:
        """End the session; its process too, if that takes too long."""
        self._is_closing = True
        if not self._is_ready:
            return
        self._send({"close": True})
        if self._killing is None:
            self._killing = asyncio.get_running_loop().call_later(END_SECONDS, self._kill)

    def _start(self, output: int, nursery: Nursery | None) -> subprocess.Popen[bytes] | None:
        """Start the process, or have the nursery do it."""
        read_end, self._write_end = os.pipe()
        try:
            if nursery is not None:
                nursery.begin(read_end, output)
                return None
            return subprocess.Popen(command(), stdin=read_end, stdout=output, **self._node.platform.session_options())
        finally:
            os.close(read_end)

    def _kill(self) -> None:
        if self.pid is not None:
            self._node.platform.kill_tree(self.pid)

    def _finish(self, output: Pipe) -> None:
        self._is_ready = False
        output.abandon()
        if self._killing is not None:
            self._killing.cancel()
        for task in self._giving:
            task.cancel()
        write_end, self._write_end = self._write_end, -1
        if write_end >= 0:
            os.close(write_end)

    def _task(self, session_id: str, content: str) -> dict[str, Any]:
        """What the process has to know; its keys it asks for."""
        endpoint = self._node.client.endpoint
        return {
            "session_id": session_id,
            "content": content,
            "node_id": self._node.node_id,
            "state": str(self._node.state.root),
            "endpoint": f"{endpoint.url.scheme}://{endpoint.url.host_header}",
            "region": endpoint.region,
            "clock_offset_seconds": endpoint.clock_offset.total_seconds(),
        }

    def _send(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            while line and self._write_end >= 0:
                line = line[os.write(self._write_end, line) :]
        except OSError:
            pass  # it ends

    def _receive(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\n")) >= 0:
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            self._handle(json.loads(line))
        if len(self._received) > LONGEST_LINE_BYTES:
            self.close()

    def _handle(self, message: Mapping[str, Any]) -> None:
        if "pid" in message:
            self.pid = message["pid"]
        elif "ended" in message:
            self._result = message["ended"]
        elif "rejected" in message:
            if self._given is not None and self._given.access_key_id == message["rejected"]:
                self._credentials.reject(self._given)
        elif "credentials" in message:
            task = asyncio.create_task(self._give())
            self._giving.add(task)
            task.add_done_callback(self._giving.discard)

    async def _give(self) -> None:
        given = self._given = await self._credentials.current()
        keys = {
            "access_key_id": given.access_key_id,
            "secret_access_key": given.secret_access_key,
            "session_token": given.session_token,
        }
        self._send({"credentials": keys})
