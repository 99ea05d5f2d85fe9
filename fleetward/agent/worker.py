"""Takes commands, runs at most five at once, cancels them, and takes up after a restart what was not finished.

Associations run beside them, one at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleetward.agent.association_reports import PENDING, TOPIC, AssociationReports
from fleetward.agent.gate import Gate
from fleetward.agent.journal import Journal, Record, is_command_id
from fleetward.agent.report import Replies, Reply, reply_content
from fleetward.protocol.control_channel import CANCEL_COMMAND, SEND_COMMAND, AckCode, command_id_of
from fleetward.protocol.errors import RemoteProtocolError
from fleetward.protocol.status import DocumentStatus

if TYPE_CHECKING:
    from fleetward.agent.execution import Execution
    from fleetward.agent.node import Node

log = logging.getLogger("fleetward.worker")

RUNNING_AT_ONCE = 5
WAITING_AT_ONCE = 5
KEEP_FOLDERS_SECONDS = 14 * 24 * 3600
REBOOT_PATIENCE_SECONDS = 300.0
REBOOT_AGAIN_SECONDS = 600.0
NEVER_CAME = "The command was cancelled before it reached the node."


@dataclass(frozen=True, slots=True)
class Ack:
    """What to answer to a job; `error_message` None means the code's own word."""

    code: AckCode
    error_message: str | None = None


class Lane:
    """Executions of one kind: at most `at_once` run, the others wait in their order."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self.running: dict[str, Execution] = {}
        self.waiting: deque[Execution] = deque()

    def __iter__(self) -> Iterator[Execution]:
        return iter([*self.running.values(), *self.waiting])

    @property
    def has_room(self) -> bool:
        """Whether one more may run now."""
        return len(self.running) < self._at_once


class Worker:
    """All commands and associations of this node."""

    def __init__(self, node: Node, replies: Replies, reports: AssociationReports) -> None:
        self._node = node
        self._replies = replies
        self._reports = reports
        self._journal = Journal(node.state.journal)
        self._commands = Lane(RUNNING_AT_ONCE)
        self._associations = Lane(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = Gate()

    def resume(self) -> None:
        """Take up everything that the journal holds."""
        for record in self._journal.open_records():
            lane = self._associations if "association_id" in record.accepted else self._commands
            lane.waiting.append(self._execution(record))
        self._start_next(self._commands)
        self._start_next(self._associations)

    @property
    def sequence(self) -> int:
        """The number of the command accepted last."""
        return self._journal.sequence

    def confirm(self, known: int) -> None:
        """The control plane knows of `known` accepted commands. If those are more, this machine was set back.

        Then nothing that the journal holds is taken up: it may have run, and the control plane has ended it.
        """
        if known <= self._journal.sequence:
            return
        log.warning("this machine was set back to an earlier state: what was in progress then is not run again")
        for execution in [*self._commands, *self._associations]:
            execution.cancel()
        if self.is_idle:
            for record in self._journal.open_records():
                record.finish()
        self._journal.count_on(known)

    def receive(self, job_id: str, topic: str, content: str) -> Ack:
        """Take a job or say why not. What is taken is on disk when this returns."""
        if not self._gate.is_open:
            return Ack(AckCode.CLOSED_PROCESSOR)
        if topic.startswith(CANCEL_COMMAND):
            return self._cancel(job_id, topic, content)
        if not topic.startswith(SEND_COMMAND):
            return Ack(AckCode.UNEXPECTED_DOCUMENT_TYPE, f"jobs of topic {topic[:60]} are not known here")
        try:
            command_id = command_id_of(job_id)
        except RemoteProtocolError as error:
            return Ack(AckCode.AGENT_JOB_MESSAGE_PARSE_ERROR, str(error))
        if not is_command_id(command_id):
            return Ack(AckCode.AGENT_JOB_MESSAGE_PARSE_ERROR, f"{command_id[:80]!r} is no command id")
        if self._journal.knows(command_id):
            return Ack(AckCode.DUPLICATE_COMMAND)
        return self._accept(command_id, job_id, topic, content)

    def applies(self, association_id: str) -> bool:
        """Whether a run of this association goes on or waits here."""
        return any(each.record.accepted["association_id"] == association_id for each in self._associations)

    def apply(self, run_id: str, association_id: str, content: str) -> str:
        """Run an association, once whatever happens: InProgress or, behind others, Pending; empty: not now."""
        if not self._gate.is_open:
            return ""
        event = {
            "job_id": association_id,
            "topic": TOPIC,
            "content": content,
            "at": time.time(),
            "association_id": association_id,
        }
        lane = self._associations
        lane.waiting.append(self._execution(self._journal.accept(run_id, event)))
        self._start_next(lane)
        return PENDING if lane.waiting else DocumentStatus.IN_PROGRESS.value

    async def stop(self, seconds: float) -> None:
        """Take nothing more, give running steps some time, then end them; what they were is in the journal."""
        self._gate.close()
        await self._gate.wait_empty(seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def clean(self) -> None:
        """Remove folders of commands after 14 days and ids of commands after 30."""
        now = time.time()
        running = {each.record.command_id for each in [*self._commands, *self._associations]}
        for folder in self._node.state.orchestration.iterdir():
            if folder.name not in running and folder.stat().st_mtime < now - KEEP_FOLDERS_SECONDS:
                _remove(folder)
        self._journal.forget_old(now)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is running or waiting."""
        return not any([*self._commands, *self._associations])

    def _accept(self, command_id: str, job_id: str, topic: str, content: str) -> Ack:
        from fleetward.agent.execution import CommandFault, check_content

        try:
            check_content(content)
        except CommandFault as fault:
            failed = reply_content(self._platform, DocumentStatus.FAILED, {}, trace=str(fault))
            self._replies.add(Reply(job_id, topic, failed, uuid.uuid4()))
            return Ack(AckCode.AGENT_JOB_MESSAGE_PARSE_ERROR, str(fault)[:1000])
        if not self._commands.has_room and len(self._commands.waiting) >= WAITING_AT_ONCE:
            return Ack(AckCode.PROCESSOR_BUFFER_FULL)
        event = {"job_id": job_id, "topic": topic, "content": content, "at": time.time()}
        execution = self._execution(self._journal.accept(command_id, event))
        execution.announce()
        self._commands.waiting.append(execution)
        self._start_next(self._commands)
        return Ack(AckCode.SUCCESSFUL)

    def _cancel(self, job_id: str, topic: str, content: str) -> Ack:
        try:
            cancelled: str = json.loads(content)["CancelMessageId"]
            command_id = command_id_of(cancelled)
        except (ValueError, KeyError, TypeError, AttributeError, RemoteProtocolError):
            return Ack(AckCode.AGENT_JOB_MESSAGE_PARSE_ERROR, "the message does not say what to cancel")
        self._replies.add(
            Reply(job_id, topic, reply_content(self._platform, DocumentStatus.IN_PROGRESS, None), uuid.uuid4())
        )
        for execution in self._commands:
            if execution.record.command_id == command_id:
                execution.cancel()
        if is_command_id(command_id) and not self._journal.knows(command_id):
            self._journal.settle(command_id)
            outcome = reply_content(self._platform, DocumentStatus.CANCELLED, None, trace=NEVER_CAME)
            self._replies.add(Reply(cancelled, SEND_COMMAND, outcome, uuid.uuid4()))
        return Ack(AckCode.SUCCESSFUL)

    @property
    def _platform(self) -> str:
        return self._node.platform.platform_type.lower()

    def _execution(self, record: Record) -> Execution:
        from fleetward.agent.execution import Execution  # documents cost 1 MiB, which a node without work saves

        replies = self._reports if "association_id" in record.accepted else self._replies
        return Execution(self._node, record, replies, gate=self._gate, reboot=self._begin_reboot)

    def _start_next(self, lane: Lane) -> None:
        while lane.waiting and lane.has_room and self._gate.is_open:
            execution = lane.waiting.popleft()
            lane.running[execution.record.command_id] = execution
            self._spawn(self._run(lane, execution), execution.record.command_id)

    async def _run(self, lane: Lane, execution: Execution) -> None:
        from fleetward.agent.execution import Suspended

        command_id = execution.record.command_id
        if lane is self._associations and len(execution.record.events) == 1:
            execution.announce()
        try:
            await execution.run()
        except Suspended:
            log.info("command %s goes on after a reboot", command_id)
            return  # it keeps its place: nothing new starts before the reboot
        except Exception:
            log.exception("command %s broke", command_id)
        del lane.running[command_id]
        self._start_next(lane)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin_reboot(self) -> None:
        if self._gate.is_open:
            self._gate.close()
            self._spawn(self._reboot(), "reboot")

    async def _reboot(self) -> None:
        """Let running steps end, let their news go out, then reboot; again if nothing happens for ten minutes."""
        await self._gate.wait_empty(REBOOT_PATIENCE_SECONDS)
        await self._replies.wait_empty(5)
        while True:
            log.warning("rebooting: a step asked for it")
            await asyncio.to_thread(self._node.platform.reboot)
            await asyncio.sleep(REBOOT_AGAIN_SECONDS)


def _remove(folder: Path) -> None:
    import shutil  # costs memory, and old folders are rare

    shutil.rmtree(folder, ignore_errors=True)
