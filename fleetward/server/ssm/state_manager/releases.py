"""Releases: what nodes are to run now: announced by a message, shown to a node that asks, until its end is told.

An association stands on a node in one row. While its run goes, a later one waits behind it; one that has not begun
gives way to the later (DESIGN, 3.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import Row, and_, bindparam, select, update

from fleetward.protocol import control_channel
from fleetward.protocol.status import InvocationStatus
from fleetward.server import jobs, mailbox, paging
from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException
from fleetward.server.jobs import DONE, Job, Next
from fleetward.server.schema import Json, in_tenant, microseconds, same_tenant
from fleetward.server.ssm import documents, run_command, ssm
from fleetward.server.ssm.library import refresh_association
from fleetward.server.ssm.run_command import reported
from fleetward.server.ssm.run_command.reported import Report
from fleetward.server.ssm.run_command.table import InvocationsEnded, InvocationsReleased
from fleetward.server.ssm.state_manager import definition as definitions
from fleetward.server.ssm.state_manager import executions, table
from fleetward.server.ssm.state_manager.table import Overview

GRACE = timedelta(hours=2)
"""What a node has on top of its document's time to tell the end; then the run is TimedOut, its result unknown."""
REFRESH = "association-refresh"
AT_ONCE = 100
PAGE = 50
MOST_OPEN = 500
SUPERSEDED = "A later run of the association took its place before the node began."

_EXECUTION = (
    *same_tenant(table.executions, table.releases),
    table.executions.c.association_id == table.releases.c.association_id,
    table.executions.c.execution_id == table.releases.c.execution_id,
)
_ASSOCIATION = (
    *same_tenant(table.associations, table.releases),
    table.associations.c.association_id == table.releases.c.association_id,
)
_VERSION = (
    *same_tenant(table.versions, table.releases),
    table.versions.c.association_id == table.releases.c.association_id,
    table.versions.c.version == table.releases.c.version,
)
OPEN_OF_NODE = (
    select(
        table.releases,
        table.executions.c.document_version,
        table.versions.c.definition,
        table.associations.c.inventory,
    )
    .join(table.executions, and_(*_EXECUTION))
    .join(table.associations, and_(*_ASSOCIATION))
    .join(table.versions, and_(*_VERSION))
    .where(*in_tenant(table.releases), table.releases.c.node_id == bindparam("node"), table.releases.c.open)
    .order_by(table.releases.c.released_at, table.releases.c.association_id)
    .limit(MOST_OPEN)
)
RENEW = (
    update(table.releases)
    .where(*table.THIS_RELEASE)
    .values(
        version=bindparam("to_version"),
        execution_id=bindparam("to_execution"),
        command_id=bindparam("to_command"),
        open=True,
        detailed_status=table.PENDING,
        released_at=bindparam("now"),
        announced_as=bindparam("announced"),
        summary="",
        error_code="",
        output_url="",
        following=None,
    )
)
QUEUE = update(table.releases).where(*table.THIS_RELEASE).values(following=bindparam("to_following", type_=Json))
CLOSE = (
    update(table.releases)
    .where(*table.THIS_RELEASE)
    .values(open=False, detailed_status=bindparam("to_status"), summary=bindparam("text"))
)


def _itself(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(call.caller.arn),)


@ssm.operation("ListInstanceAssociations", reads=True, audience="node", resources=_itself)
def list_instance_associations(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """What is released for the calling node or runs there, in that order; at most one that collects inventory, last."""
    if request["InstanceId"] != call.caller.node_id:
        raise AccessDeniedException(f"{call.caller.node_id} may only ask about itself.")
    rows = call.db.all(OPEN_OF_NODE, **call.here, node=call.caller.node_id)
    inventory = sorted((row for row in rows if row.inventory), key=lambda row: row.detailed_status != table.IN_PROGRESS)
    shown = sorted([*(row for row in rows if not row.inventory), *inventory[:1]], key=_place)
    after = paging.decode("ListInstanceAssociations", request.get("NextToken"))
    if after is not None:
        shown = [row for row in shown if _place(row) > after]
    page, token = paging.page("ListInstanceAssociations", shown, request.get("MaxResults", PAGE), _place)
    return {"Associations": [_told(row) for row in page], **token}


@ssm.message(REFRESH)
def render_refresh(call: Call, refresh_ids: Sequence[str]) -> dict[str, mailbox.Rendered]:
    """Have nodes ask what is released: the one id named is the message's own, so that nothing is forced (AP 16.1)."""
    document = documents.resolve(call, refresh_association.NAME)
    return {refresh_id: _refresh(document, refresh_id) for refresh_id in refresh_ids}


@ssm.reaction(InvocationsReleased)
def released(call: Call, event: InvocationsReleased) -> None:
    """Rate control lets nodes of an execution go."""
    if event.carrier != table.CARRIER:
        return
    if len(event.node_ids) <= AT_ONCE:
        release(call, event.command_id, event.node_ids)
    else:
        jobs.start(call, "association-release", event.command_id, {"nodes": list(event.node_ids)})


@ssm.job("association-release")
def release_some(call: Call, job: Job) -> Next:
    """Release for many nodes, some at a time, where one entry would have been too large."""
    node_ids = job.state["nodes"]
    release(call, job.key, node_ids[:AT_ONCE])
    return Next("start", {"nodes": node_ids[AT_ONCE:]}) if len(node_ids) > AT_ONCE else DONE


def release(call: Call, command_id: str, node_ids: Sequence[str]) -> None:
    """Open runs on these nodes and tell them; where the association runs already, the new run waits behind."""
    execution = call.db.first(table.EXECUTION_OF, **call.here, command=command_id)
    if execution is None:
        return
    pairs = {"nodes": list(node_ids), "ids": [execution.association_id]}
    before = call.db.all(table.OF_PAIRS, **call.here, **pairs)
    run_command.table.lock(call, commands_of(before))  # commands before associations, as everywhere
    association = table.lock(call, [execution.association_id]).get(execution.association_id)
    if association is None:
        return
    known = {row.node_id: row for row in call.db.all(table.OF_PAIRS, **call.here, **pairs)}
    overview = Overview(association)
    opened, waiting, replaced = [], [], []
    for node_id in node_ids:
        row = known.get(node_id)
        if row is not None and row.open and row.command_id == command_id:
            continue
        if row is not None and row.open and row.detailed_status == table.IN_PROGRESS:
            waiting.append(node_id)
            if row.following is not None:
                replaced.append((row.following["command_id"], node_id))
            continue
        opened.append(node_id)
        overview.move(None if row is None else row.detailed_status, table.PENDING)
        if row is not None and row.open:
            replaced.append((row.command_id, node_id))
    overview.store(call)
    run = {"execution_id": execution.execution_id, "command_id": command_id, "version": execution.version}
    open_runs(call, association.association_id, run, opened, known)
    call.db.run(
        QUEUE, [table.key(call, association.association_id, node=node_id, to_following=run) for node_id in waiting]
    )
    gone = [
        Report(command, node_id, InvocationStatus.DELIVERY_TIMED_OUT, SUPERSEDED)
        for command, node_id in replaced
        if command is not None
    ]
    if gone:
        reported.record(call, gone, grace=GRACE)


def open_runs(
    call: Call,
    association_id: str,
    run: Mapping[str, Any],
    node_ids: Sequence[str],
    known: Mapping[str, Row[Any]],
) -> None:
    """Write the rows of runs that nodes may begin, and announce them; `known` are the rows that are there."""
    refresh_id = call.new_id()
    call.db.run(
        table.ADD_RELEASE,
        [
            {
                **call.tenant,
                "node_id": node_id,
                "association_id": association_id,
                **run,
                "open": True,
                "detailed_status": table.PENDING,
                "released_at": call.now,
                "announced_as": refresh_id,
                "executed_at": None,
                "summary": "",
                "error_code": "",
                "output_url": "",
                "following": None,
            }
            for node_id in node_ids
            if node_id not in known
        ],
    )
    renewed = {
        "to_version": run["version"],
        "to_execution": run["execution_id"],
        "to_command": run["command_id"],
        "announced": refresh_id,
        "now": call.now,
    }
    again = [node_id for node_id in node_ids if node_id in known]
    call.db.run(RENEW, [table.key(call, association_id, node=node_id, **renewed) for node_id in again])
    take_back(call, [known[node_id] for node_id in again])
    announce(call, refresh_id, node_ids)


def announce(call: Call, refresh_id: str, node_ids: Sequence[str]) -> None:
    """Have nodes ask what is released for them; their regular poll is the fallback."""
    mailbox.post(
        call,
        [
            mailbox.Message(
                node_id,
                control_channel.job_id(refresh_id, node_id),
                REFRESH,
                refresh_id,
                expires_at=call.now + executions.REACHED_WITHIN,
                lane=mailbox.Lane.ASSOCIATION,
            )
            for node_id in node_ids
        ],
    )


def take_back(call: Call, rows: Sequence[Row[Any]]) -> None:
    """Announcements of these releases that have not gone out need not any more."""
    told = [(row.node_id, row.announced_as) for row in rows if row.announced_as is not None]
    mailbox.recall(call, [(node_id, control_channel.job_id(announced, node_id)) for node_id, announced in told])


def go_on(call: Call, rows: Sequence[Row[Any]], overviews: Mapping[str, Overview]) -> None:
    """Runs ended: open those that waited behind them. The associations are held."""
    for row in rows:
        if row.following is not None:
            overview = overviews[row.association_id]
            current = call.db.first(table.OF_PAIRS, **call.here, nodes=[row.node_id], ids=[row.association_id])
            assert current is not None
            overview.move(current.detailed_status, table.PENDING)
            open_runs(call, row.association_id, row.following, [row.node_id], {row.node_id: row})


@ssm.reaction(InvocationsEnded)
def ended(call: Call, event: InvocationsEnded) -> None:
    """The server gave up on nodes, or an operator cancelled: their releases are closed."""
    if event.carrier != table.CARRIER:
        return
    execution = call.db.first(table.EXECUTION_OF, **call.here, command=event.command_id)
    association = execution and table.lock(call, [execution.association_id]).get(execution.association_id)
    if association is None:
        return
    pairs = {"nodes": list(event.node_ids), "ids": [association.association_id]}
    overview, status = Overview(association), table.detailed(event.status)
    closed = []
    for row in call.db.all(table.OF_PAIRS, **call.here, **pairs):
        if row.open and row.command_id == event.command_id:
            closed.append(row)
            overview.move(row.detailed_status, status)
        elif row.following is not None and row.following["command_id"] == event.command_id:
            call.db.run(QUEUE, table.key(call, row.association_id, node=row.node_id, to_following=None))
    text = "No news of its end: the result is unknown." if status == "TimedOut" else ""
    call.db.run(
        CLOSE,
        [table.key(call, row.association_id, node=row.node_id, to_status=status, text=text) for row in closed],
    )
    take_back(call, closed)
    go_on(call, closed, {association.association_id: overview})
    overview.store(call)


def commands_of(rows: Iterable[Row[Any]]) -> set[str]:
    """The commands behind open releases, and behind those that wait."""
    found = {row.command_id for row in rows if row.open and row.command_id is not None}
    return found | {row.following["command_id"] for row in rows if row.following is not None}


def _place(row: Row[Any]) -> list[Any]:
    return [int(row.inventory), microseconds(row.released_at), row.association_id]


def _told(row: Row[Any]) -> dict[str, Any]:
    """AWS's InstanceAssociationSummary: never a schedule, for then the agent would be a second scheduler."""
    definition = row.definition
    version = row.document_version
    told = {
        "AssociationId": row.association_id,
        "AssociationVersion": str(row.version),
        "Name": definition["Name"],
        "DocumentVersion": version,
        "InstanceId": row.node_id,
        "Checksum": definitions.checksum(row.association_id, definition, version),
        "Parameters": definition.get("Parameters", {}),
        "Status": row.detailed_status,
        "DetailedStatus": row.detailed_status,
    }
    if "OutputLocation" in definition:
        told["OutputLocation"] = definition["OutputLocation"]
    return told


def _refresh(document: documents.ResolvedDocument, refresh_id: str) -> mailbox.Rendered:
    content = {
        "Parameters": {"associationIds": [refresh_id]},
        "DocumentContent": document.content,
        "CommandId": refresh_id,
        "DocumentName": document.name,
        "OutputS3KeyPrefix": "",
        "OutputS3BucketName": "",
        "CloudWatchLogGroupName": "",
        "CloudWatchOutputEnabled": "false",
    }
    return mailbox.Rendered(control_channel.SEND_COMMAND, orjson.dumps(content).decode())
