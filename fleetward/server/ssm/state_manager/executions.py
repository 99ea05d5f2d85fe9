"""Executions: an association runs on all its targets, or on some; each is a command that State Manager carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, tuple_, update

from fleetward.protocol.status import CommandStatus
from fleetward.server import jobs
from fleetward.server.call import Call
from fleetward.server.errors import AwsError
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import change_calendar, documents, run_command, ssm
from fleetward.server.ssm.errors import (
    InvalidDocument,
    InvalidDocumentType,
    InvalidDocumentVersion,
    InvalidParameters,
    UnsupportedCalendarException,
)
from fleetward.server.ssm.run_command import reported
from fleetward.server.ssm.run_command.commands import CommandFinished, Targets
from fleetward.server.ssm.state_manager import table
from fleetward.server.ssm.state_manager.table import Overview

REACHED_WITHIN = timedelta(days=28)
"""How long a node may stay away and still run what was released for it, unless it is released anew before."""
LOOK_AT_NODE = "association-targets"
"""The job that holds a node against the associations whose targets may come and go (`live_targets`)."""
AT_ONCE_BY_DEFAULT = "50"

ADD = insert(table.executions)
END = (
    update(table.executions)
    .where(
        *in_tenant(table.executions),
        table.executions.c.association_id == bindparam("association"),
        table.executions.c.execution_id == bindparam("execution"),
    )
    .values(status=bindparam("to_status"), detailed_status=bindparam("to_detailed"), ended_at=bindparam("now"))
)
BEGUN = (
    update(table.executions)
    .where(
        *in_tenant(table.executions),
        table.executions.c.command_id == bindparam("command"),
        table.executions.c.detailed_status == table.PENDING,
    )
    .values(detailed_status=table.IN_PROGRESS)
)
SET_LAST = update(table.associations).where(*table.THIS).values(last_command_id=bindparam("command"))
_AGE = tuple(table.executions.primary_key)
FORGET = delete(table.executions).where(
    tuple_(*_AGE).in_(select(*_AGE).where(table.executions.c.created_at < bindparam("before")).limit(1000))
)


_CANNOT_BEGIN = (
    InvalidDocument,
    InvalidDocumentType,
    InvalidDocumentVersion,
    InvalidParameters,
    UnsupportedCalendarException,
)


class Cause(StrEnum):
    """Why an association runs."""

    CREATED = "created"
    UPDATED = "updated"
    SCHEDULE = "schedule"
    ONCE = "once"
    TARGET = "target"
    DOCUMENT = "document"
    PARAMETER = "parameter"
    REFRESH = "refresh"
    AGENT = "agent"


def begin(call: Call, association_id: str, cause: Cause, node_ids: Sequence[str] = ()) -> str | None:
    """Run an association on all its targets, or on the nodes given; the execution's id, None when it is gone.

    What of its last execution has not begun is dropped when all targets run again. While one of its calendars is closed
    nothing runs: the execution is Skipped, and nodes that have come to be targets are looked at when all open.
    """
    before = call.db.first(table.FIND, **table.key(call, association_id))
    if before is not None and before.last_command_id is not None:
        run_command.table.lock(call, [before.last_command_id])  # commands before associations, as everywhere
    row = table.lock(call, [association_id]).get(association_id)
    if row is None:
        return None
    definition: Mapping[str, Any] = row.definition
    execution_id = call.new_id()
    calendars: Sequence[str] = definition.get("CalendarNames", ())
    try:
        if not change_calendar.is_open(call, calendars, call.now):
            _skip(call, row, execution_id, cause, node_ids)
            return execution_id
        document = documents.resolve(call, definition["Name"], definition["DocumentVersion"])
        command = _command(call, row, document, execution_id, node_ids)
    except _CANNOT_BEGIN as fault:
        _cannot_begin(call, row, execution_id, cause, fault)
        return execution_id
    add(call, row, execution_id, cause, document_version=document.version, command_id=command["command_id"])
    overview = Overview(row)
    overview.open_executions += 1
    overview.executed_at = call.now
    overview.store(call)
    if not node_ids:
        if row.last_command_id is not None:
            run_command.commands.drop_waiting(call, row.last_command_id)
        call.db.run(SET_LAST, table.key(call, association_id, command=command["command_id"]))
    return execution_id


def add(
    call: Call,
    row: Row[Any],
    execution_id: str,
    cause: Cause,
    *,
    document_version: str = "",
    command_id: str | None = None,
    told: Mapping[str, Any] | None = None,
    ended: str | None = None,
) -> None:
    """Record an execution; `ended` is the DetailedStatus of one that is over already."""
    call.db.run(
        ADD,
        {
            **call.tenant,
            "association_id": row.association_id,
            "execution_id": execution_id,
            "version": row.version,
            "document_version": document_version,
            "cause": cause.value,
            "command_id": command_id,
            "told": told,
            "created_at": call.now,
            "status": table.coarse(ended or table.PENDING),
            "detailed_status": ended or table.PENDING,
            "ended_at": call.now if ended else None,
        },
    )


def begun(call: Call, command_ids: Sequence[str]) -> None:
    """Nodes have begun to run these commands."""
    call.db.run(BEGUN, [{**call.here, "command": command_id} for command_id in sorted(set(command_ids))])


def _command(
    call: Call, row: Row[Any], document: documents.ResolvedDocument, execution_id: str, node_ids: Sequence[str]
) -> dict[str, Any]:
    definition = row.definition
    location = definition.get("OutputLocation", {}).get("S3Location", {})
    named = all(each["Key"] == "InstanceIds" for each in definition["Targets"])
    options = {
        "Comment": f"{row.association_id}:{execution_id}",
        "DocumentVersion": definition["DocumentVersion"],
        "Parameters": definition.get("Parameters", {}),
        # Ours: the API reference says 100 %, the user guide 50 nodes where targets are not named one by one
        "MaxConcurrency": definition.get("MaxConcurrency", "100%" if named else AT_ONCE_BY_DEFAULT),
        "MaxErrors": definition.get("MaxErrors", "100%"),
        "OutputS3BucketName": location.get("OutputS3BucketName", ""),
        "OutputS3KeyPrefix": location.get("OutputS3KeyPrefix", ""),
    }
    hours = definition.get("Duration")
    within = timedelta(hours=hours) if hours and definition.get("ApplyOnlyAtCronInterval") else REACHED_WITHIN
    return run_command.commands.begin(
        call,
        document,
        Targets(tuple(node_ids), () if node_ids else tuple(definition["Targets"])),
        options,
        carrier=table.CARRIER,
        deliver_for=within,
    )


def _skip(call: Call, row: Row[Any], execution_id: str, cause: Cause, node_ids: Sequence[str]) -> None:
    """A calendar is closed (SEM: 4.4): kept in the history, and tried again at the next interval."""
    add(call, row, execution_id, cause, ended=table.SKIPPED)
    opens_at = change_calendar.next_transition(call, row.definition["CalendarNames"], call.now)
    if opens_at is not None:
        for node_id in node_ids:
            jobs.start(call, LOOK_AT_NODE, node_id, {"after": ""}, due_at=opens_at)


def _cannot_begin(call: Call, row: Row[Any], execution_id: str, cause: Cause, fault: AwsError) -> None:
    """The document or a calendar is gone, or its parameters are others now: a run that failed."""
    add(call, row, execution_id, cause, ended=fault.code[:24])
    overview = Overview(row)
    overview.executed_at = call.now
    overview.store(call)


@ssm.reaction(CommandFinished)
def finish(call: Call, event: CommandFinished) -> None:
    """All nodes of an execution have ended."""
    execution = call.db.first(table.EXECUTION_OF, **call.here, command=event.command_id)
    if execution is None or execution.ended_at is not None:
        return
    command = reported.counters(call, [event.command_id])[event.command_id]
    status, detailed = table.roll_up(table.in_detail(command.ended), running=False)
    if event.status is CommandStatus.NO_INSTANCES_IN_TAG:
        status, detailed = table.SUCCESS, table.SUCCESS
    values = {"execution": execution.execution_id, "to_status": status, "to_detailed": detailed, "now": call.now}
    call.db.run(END, table.key(call, execution.association_id, **values))
    row = table.lock(call, [execution.association_id]).get(execution.association_id)
    if row is not None:
        overview = Overview(row)
        overview.open_executions -= 1
        if status == table.SUCCESS:
            overview.succeeded_at = call.now
        overview.store(call)


@ssm.timer(every=timedelta(minutes=10))
def forget(call: Call) -> bool:
    """Remove executions older than `keep_commands`, some at a time; True while there are more."""
    before: datetime = call.now - timedelta(days=call.settings.keep_commands)
    return call.db.run(FORGET, {"before": before}) == 1000
