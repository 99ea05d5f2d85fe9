"""Ending: how sessions end, by whoever ends them, and what is kept of them for how long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, bindparam, delete, select, tuple_, update

from fleetward.protocol.control_channel import TaskCompleted
from fleetward.protocol.status import SessionStatus, session_advances
from fleetward.server import audit, jobs, mailbox
from fleetward.server.call import Call, Sent
from fleetward.server.jobs import DONE, DeleteObject, Job, Next
from fleetward.server.service import Entry
from fleetward.server.ssm import ssm
from fleetward.server.ssm.nodes import NodeConflict, NodeLeft
from fleetward.server.ssm.session_manager import table
from fleetward.server.ssm.session_manager.table import key_of, sessions

START = "session"
CLOSE = "session-close"
REPORT = "session-report"
COUNTED_WITHIN = timedelta(seconds=15)
"""When a session has been over for so long, whoever held an end of it has written down what went through."""
CLOSE_WITHIN = timedelta(minutes=2)
"""A node that does not come back in so much time is not told any more that a session ended: it ends without."""
AT_ONCE = 200
OUTPUT_LIMIT = 1024
LONGEST_URL = 2083

ENDED = Entry("ssm:SessionEnded", lambda call: None, audit=True)
"""Under what name the audit trail has the end of a session; nobody calls it."""

END = (
    update(sessions)
    .where(*table.THIS)
    .values(
        status=bindparam("to_status"),
        ended_at=bindparam("at"),
        details=bindparam("text"),
        ended_by=bindparam("by"),
        session_token=None,
        node_token=None,
        due_at=None,
    )
)
S3_URL = update(sessions).where(*table.THIS).values(s3_url=bindparam("url"))
LOG_URL = update(sessions).where(*table.THIS).values(log_url=bindparam("url"))
_OLD = select(sessions).where(sessions.c.ended_at < bindparam("before")).limit(AT_ONCE)
OLD = _OLD.where(sessions.c.recording_key == "")
OLD_RECORDED = _OLD.where(sessions.c.recording_key != "")
_KEY = tuple(sessions.primary_key)
FORGET = delete(sessions).where(tuple_(*_KEY).in_(bindparam("keys", expanding=True)))


def end(call: Call, row: Row[Any], status: SessionStatus, text: str, *, by: str = "", node_knows: bool = False) -> None:
    """End a session that has not ended yet: its history and its client are told `text`, its node to stop.

    Whoever holds an end of it is woken and closes it.
    """
    if not session_advances(SessionStatus(row.status), status):
        return
    call.db.run(
        END,
        {
            **table.these(call, row.session_id),
            "to_status": status,
            "at": call.now,
            "text": text[:OUTPUT_LIMIT],
            "by": by,
        },
    )
    call.wake(key_of(row).topic)
    jobs.start(call, REPORT, row.session_id, {}, due_at=call.now + COUNTED_WITHIN)
    mailbox.finish(call, _messages(row))
    if not node_knows:
        _stop_node(call, row)


def _stop_node(call: Call, row: Row[Any]) -> None:
    message = mailbox.Message(
        node_id=row.node_id,
        message_id=_messages(row)[1][1],
        kind=CLOSE,
        subject=row.session_id,
        expires_at=call.now + CLOSE_WITHIN,
        lane=mailbox.Lane.URGENT,
    )
    mailbox.post(call, [message])


@ssm.job(REPORT)
def report(call: Call, job: Job) -> Next:
    """Put into the audit trail what a session was: whose, to what, how much went through, how it ended."""
    row = table.find(call, job.key)
    if row is not None:
        audit.record(call, ENDED, summary(row), None)
    return DONE


def summary(row: Row[Any]) -> dict[str, Any]:
    """A session as an auditor wants it, its traffic in bytes to and from the node."""
    members = {
        "SessionId": row.session_id,
        "Target": row.node_id,
        "Owner": row.owner_arn,
        "AccessKeyId": row.access_key_id,
        "SourceIp": row.source_ip,
        "DocumentName": row.document_name,
        "SessionType": row.session_type,
        "Reason": row.reason,
        "Host": row.target_host,
        "Port": row.target_port,
        "BytesIn": row.bytes_in,
        "BytesOut": row.bytes_out,
        "StartDate": row.started_at,
        "EndDate": row.ended_at,
        "Status": row.status,
        "Details": row.details,
        "EndedBy": row.ended_by,
    }
    return {name: value for name, value in members.items() if value not in (None, "")}


def _messages(row: Row[Any]) -> list[tuple[str, str]]:
    """What a node's mailbox may hold of a session: its start and its end."""
    return [(row.node_id, row.session_id), (row.node_id, f"{row.session_id}/close")]


@ssm.message(CLOSE)
def render_close(call: Call, session_ids: Sequence[str]) -> dict[str, mailbox.Rendered]:
    """The control channel's word that a session is over."""
    return {session_id: mailbox.Rendered(session_id, "", mailbox.Form.CLOSE_SESSION) for session_id in session_ids}


@ssm.reply("agent_task_complete")
def record_completions(call: Call, replies: Sequence[Sent]) -> list[None]:
    """Batch entry: nodes tell that sessions have ended there, each up to three times and in two messages."""
    told: list[tuple[str, TaskCompleted]] = [(sent.context.caller.node_id, sent.request) for sent in replies]
    rows = table.hold(call, (completion.session_id for _, completion in told))
    over: set[str] = set()
    for node_id, completion in told:
        row = rows.get(completion.session_id)
        if row is None or row.node_id != node_id:
            continue
        mailbox.finish(call, _messages(row))
        _keep_urls(call, row, completion)
        if row.session_id in over:
            continue
        over.add(row.session_id)
        failed = completion.final_status not in ("Success", "Cancelled")
        status = SessionStatus.FAILED if failed and not row.client_epoch else SessionStatus.TERMINATED
        end(call, row, status, completion.output, node_knows=True)
    return [None] * len(replies)


def _keep_urls(call: Call, row: Row[Any], completion: TaskCompleted) -> None:
    this = table.these(call, row.session_id)
    if completion.s3_bucket:
        url = f"https://s3.{row.region}.amazonaws.com/{completion.s3_bucket}/{completion.s3_url_suffix}"
        call.db.run(S3_URL, {**this, "url": url[:LONGEST_URL]})
    if completion.log_group:
        call.db.run(LOG_URL, {**this, "url": f"{completion.log_group}:{completion.log_stream}"[:LONGEST_URL]})


@ssm.reaction(NodeLeft)
def end_sessions_of(call: Call, event: NodeLeft) -> None:
    """A node that was deregistered has no sessions."""
    _end_all(call, event.node_id, "The node was deregistered.")


@ssm.reaction(NodeConflict)
def end_sessions_of_quarantined(call: Call, event: NodeConflict) -> None:
    """Two machines hold this node's key: nobody knows which of them a session is with."""
    _end_all(call, event.node_id, "The node was quarantined.")


def _end_all(call: Call, node_id: str, text: str) -> None:
    for row in table.hold(call, table.active_of_node(call, node_id)).values():
        end(call, row, SessionStatus.TERMINATED, text, node_knows=True)


@ssm.timer(every=timedelta(hours=1))
def forget(call: Call) -> bool:
    """Forget sessions after `keep_sessions` days, recorded ones with their recordings; True while there are more."""
    before = call.now - timedelta(days=call.settings.keep_sessions)
    recorded_before = min(before, call.now - timedelta(days=call.settings.keep_outputs))
    old = [*call.db.all(OLD, before=before), *call.db.all(OLD_RECORDED, before=recorded_before)]
    if not old:
        return False
    call.db.run(FORGET, {"keys": [tuple(key_of(row)) for row in old]})
    for row in old:
        if row.recording_key:
            jobs.start(call, "recording-delete", row.recording_key, {})
    return len(old) >= AT_ONCE


@ssm.job("recording-delete")
def delete_recording(call: Call, job: Job) -> Next:
    """Remove the bytes of a recording."""
    return Next("done", effects=(DeleteObject(job.key),)) if job.step == "start" else DONE
