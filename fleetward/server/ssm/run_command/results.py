"""Results: nodes tell how their documents went, as many as arrived together; repeats and late news change nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Row

from fleetward.protocol.control_channel import CANCEL_COMMAND, SEND_COMMAND, command_id_of
from fleetward.protocol.status import InvocationStatus, advance, from_document_status
from fleetward.server import mailbox
from fleetward.server.call import Call, Sent
from fleetward.server.ssm import nodes, ssm
from fleetward.server.ssm.run_command import release, reverts, table
from fleetward.server.ssm.run_command.table import Tally

STEP_TEXT_LIMIT = 24_000
STEPS_LIMIT = 200


@dataclass(slots=True)
class Progress:
    """One invocation while a batch of replies is applied to it."""

    row: Row[Any]
    status: InvocationStatus
    steps: dict[str, Any]
    trace: str
    started_at: datetime | None
    ended_at: datetime | None
    changed: bool = False


@ssm.reply(SEND_COMMAND)
def record_results(call: Call, members: Sequence[Sent]) -> list[None]:
    """Batch entry: apply document replies. The edge acknowledges each after the commit, whatever it changed."""
    replies: list[tuple[mailbox.Reply, Mapping[str, Any]]] = []
    for member in members:
        content = _readable(member.request)
        if content is not None:
            replies.append((member.request, content))
    news = mailbox.fresh(call, [(reply.node_id, reply.message_id) for reply, _ in replies])
    replies = [each for each, is_new in zip(replies, news, strict=True) if is_new]
    if replies:
        _apply(call, replies)
    return [None] * len(members)


@ssm.reply(CANCEL_COMMAND)
def record_cancels(call: Call, members: Sequence[Sent]) -> list[None]:
    """Batch entry: the node has taken the order; what becomes of the command it says under the command's own job."""
    mailbox.finish(call, [(member.request.node_id, member.request.job_id) for member in members])
    return [None] * len(members)


def _apply(call: Call, replies: Sequence[tuple[mailbox.Reply, Mapping[str, Any]]]) -> None:
    commands = table.lock(call, (command_id_of(reply.job_id) for reply, _ in replies))
    reverts.learn(call, _sequences(replies))
    progress = _load(call, commands, replies)
    accepted: list[tuple[str, str]] = []
    finished: list[tuple[str, str]] = []
    ends: dict[str, list[InvocationStatus]] = defaultdict(list)
    begun: set[str] = set()
    for reply, content in replies:
        command_id = command_id_of(reply.job_id)
        known = progress.get((command_id, reply.node_id))
        new = _status(content)
        if known is None:
            finished.append((reply.node_id, reply.job_id))
            continue
        _merge(call, known, content)
        if new is not None and advance(known.status, new):
            known.status, known.changed = new, True
            begun.add(command_id)
            if table.is_over(new):
                known.ended_at = call.now
                ends[command_id].append(new)
        pair = (reply.node_id, reply.job_id)
        (finished if table.is_over(known.status) else accepted).append(pair)
    _store(call, commands, progress)
    mailbox.accept(call, accepted)
    mailbox.finish(call, finished)
    nodes.seen(call, {reply.node_id for reply, _ in replies})
    for command_id in begun:
        tally = Tally(commands[command_id])
        if not ends[command_id]:
            if not tally.touched:
                tally.touched = True
                tally.store(call)
            continue
        tally.touched = True
        for status in ends[command_id]:
            tally.end(status, released=True)
        release.proceed(call, tally)


def _sequences(replies: Sequence[tuple[mailbox.Reply, Mapping[str, Any]]]) -> dict[str, int]:
    """The highest number that each node with our agent tells of its journal."""
    told: dict[str, int] = {}
    for reply, content in replies:
        number = content.get("sequence")
        if isinstance(number, int) and 0 < number < 2**53:
            told[reply.node_id] = max(number, told.get(reply.node_id, 0))
    return told


def _load(
    call: Call, commands: Mapping[str, Row[Any]], replies: Sequence[tuple[mailbox.Reply, Mapping[str, Any]]]
) -> dict[tuple[str, str], Progress]:
    if not commands:
        return {}
    rows = call.db.all(
        table.AMONG,
        **call.here,
        ids=list(commands),
        nodes=list({reply.node_id for reply, _ in replies}),
    )
    return {
        (row.command_id, row.node_id): Progress(
            row, InvocationStatus(row.status), dict(row.steps), row.trace, row.started_at, row.ended_at
        )
        for row in rows
        if row.released_at is not None
    }


def _store(call: Call, commands: Mapping[str, Row[Any]], progress: Mapping[tuple[str, str], Progress]) -> None:
    rows = []
    for (command_id, node_id), each in progress.items():
        if not each.changed:
            continue
        over = table.is_over(each.status)
        rows.append(
            {
                **table.key(call, command_id, node_id),
                "to_status": each.status.value,
                "to_steps": each.steps,
                "to_trace": each.trace,
                "started": each.started_at,
                "ended": each.ended_at,
                "due": None if over else commands[command_id].expires_at,
            }
        )
    call.db.run(table.RECORD, rows)


def _merge(call: Call, known: Progress, content: Mapping[str, Any]) -> None:
    """Steps accumulate: the final reply of a document with several steps names none (agent-protocol, 8.4)."""
    if known.started_at is None:
        known.started_at, known.changed = call.now, True
    trace = content.get("documentTraceOutput")
    if isinstance(trace, str) and trace and not known.trace:
        known.trace, known.changed = _text(trace), True
    steps = content.get("runtimeStatus")
    if not isinstance(steps, Mapping):
        return
    for name, step in steps.items():
        if isinstance(step, Mapping) and (name in known.steps or len(known.steps) < STEPS_LIMIT):
            known.steps[_text(name)[:128]] = _kept(step)
            known.changed = True


def _kept(step: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a step's report, in our names."""
    code = step.get("code")
    return {
        "action": _text(step.get("name"))[:128],
        "status": _text(step.get("status"))[:32],
        "code": code if isinstance(code, int) else -1,
        "output": _text(step.get("output")),
        "stdout": _text(step.get("standardOutput")),
        "stderr": _text(step.get("standardError")),
        "started_at": _time(step.get("startDateTime")),
        "ended_at": _time(step.get("endDateTime")),
        "bucket": _text(step.get("outputS3BucketName"))[:63],
        "prefix": _text(step.get("outputS3KeyPrefix"))[:1024],
        "step": _text(step.get("stepName"))[:128],
    }


def _text(value: Any) -> str:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")[:STEP_TEXT_LIMIT] if isinstance(value, str) else ""


def _time(value: Any) -> str:
    """ISO time in UTC, or empty."""
    if not isinstance(value, str):
        return ""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return ""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _readable(reply: mailbox.Reply) -> Mapping[str, Any] | None:
    """A reply's content, when it is about a job of the node that sent it."""
    if not reply.job_id.endswith(f".{reply.node_id}") or not _is_job(reply.job_id):
        return None
    try:
        content = orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, Mapping) else None


def _is_job(job_id: str) -> bool:
    return job_id.startswith("aws.ssm.") and job_id.count(".") >= 3


def _status(content: Mapping[str, Any]) -> InvocationStatus | None:
    try:
        return from_document_status(str(content.get("documentStatus")))
    except ValueError:
        return None
