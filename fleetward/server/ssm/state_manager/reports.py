"""Reports: nodes tell how associations went; nothing that they tell names the run, so it is the open release's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, update

from fleetward.protocol.status import InvocationStatus
from fleetward.server.call import Call, Resource, Sent
from fleetward.server.errors import AccessDeniedException
from fleetward.server.schema import Json, UtcDateTime
from fleetward.server.service import BATCH
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import StatusUnchanged
from fleetward.server.ssm.run_command import reported
from fleetward.server.ssm.run_command.reported import Report
from fleetward.server.ssm.state_manager import associations, executions, releases, shapes, table
from fleetward.server.ssm.state_manager.executions import Cause
from fleetward.server.ssm.state_manager.table import Overview

ERROR_CODE_LIMIT = 64
SUMMARY_LIMIT = 512
_FINAL = {
    "Success": InvocationStatus.SUCCESS,
    "Skipped": InvocationStatus.SUCCESS,
    "Failed": InvocationStatus.FAILED,
    "TimedOut": InvocationStatus.EXECUTION_TIMED_OUT,
    "Cancelled": InvocationStatus.CANCELLED,
}
"""What ends a run; every other word means that it goes on."""

TELL = (
    update(table.releases)
    .where(*table.THIS_RELEASE)
    .values(
        open=bindparam("is_open"),
        detailed_status=bindparam("to_status"),
        executed_at=bindparam("executed", type_=UtcDateTime),
        summary=bindparam("text"),
        error_code=bindparam("code"),
        output_url=bindparam("url"),
        execution_id=bindparam("to_execution"),
    )
)
SET_TOLD = update(table.associations).where(*table.THIS).values(told_status=bindparam("told", type_=Json))


@dataclass(frozen=True, slots=True)
class Told:
    """One report of a node."""

    node_id: str
    association_id: str
    word: str
    executed_at: datetime
    summary: str
    error_code: str
    output_url: str

    @property
    def is_final(self) -> bool:
        """Whether the run is over."""
        return self.word in _FINAL

    @property
    def status(self) -> InvocationStatus:
        """The state of the invocation."""
        return _FINAL.get(self.word, InvocationStatus.IN_PROGRESS)

    @property
    def detailed(self) -> str:
        """The association's DetailedStatus on the node."""
        return table.SKIPPED if self.word == "Skipped" else table.detailed(self.status)


def _itself(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(call.caller.arn),)


@ssm.operation("UpdateInstanceAssociationStatus", audience="node", together=BATCH, resources=_itself)
def update_instance_association_status(call: Call, members: Sequence[Sent]) -> list[dict[str, Any] | Exception]:
    """Batch entry: the first report of a run makes it InProgress, a final one ends it. None is refused."""
    outputs: list[dict[str, Any] | Exception] = []
    told = []
    for context, request in members:
        if context.caller.node_id != request["InstanceId"]:
            outputs.append(AccessDeniedException(f"{context.caller.arn} may tell about itself only."))
            continue
        told.append(_told(request))
        outputs.append({})
    if told:
        record(call, told)
    return outputs


@ssm.operation("UpdateAssociationStatus", audience="both", resources=associations.named)
def update_association_status(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Set the status of an association in the legacy form, as agents of old do."""
    if call.caller.kind == "node" and request["InstanceId"] != call.caller.node_id:
        raise AccessDeniedException(f"{call.caller.node_id} may only tell about itself.")
    row = associations.require(call, request)
    told = request["AssociationStatus"]
    kept = {**told, "Date": told["Date"].timestamp()}
    if row.told_status == kept:
        raise StatusUnchanged("The status is what it was.")
    call.db.run(SET_TOLD, table.key(call, row.association_id, told=kept))
    at, text = told["Date"], told["Message"][:SUMMARY_LIMIT]
    record(call, [Told(request["InstanceId"], row.association_id, told["Name"], at, text, "", "")])
    return {"AssociationDescription": shapes.description(table.find(call, row.association_id))}


def record(call: Call, told: Sequence[Told]) -> None:
    """Apply reports in their order."""
    pairs = {"nodes": list({each.node_id for each in told}), "ids": list({each.association_id for each in told})}
    peeked = _by_pair(call.db.all(table.OF_PAIRS, **call.here, **pairs))
    news = [
        Report(row.command_id, each.node_id, each.status, each.summary)
        for each in told
        if (row := peeked.get((each.node_id, each.association_id))) is not None and row.open and row.command_id
    ]
    if news:
        reported.record(call, news, grace=releases.GRACE)
        executions.begun(call, [each.command_id for each in news])
    overviews = {association_id: Overview(row) for association_id, row in table.lock(call, pairs["ids"]).items()}
    rows = _by_pair(call.db.all(table.OF_PAIRS, **call.here, **pairs))
    last: dict[tuple[str, str], Told] = {}
    ended: dict[tuple[str, str], Row[Any]] = {}
    for each in told:
        pair = (each.node_id, each.association_id)
        row = rows.get(pair)
        if each.association_id not in overviews:
            continue  # it is deleted
        if row is None or not row.open or pair in ended:
            if each.is_final and pair not in ended and not _repeats(row, each):
                _started_by_agent(call, overviews[each.association_id], row, each)
            continue
        last[pair] = each
        if each.is_final:
            ended[pair] = row
    for pair, each in last.items():
        overviews[pair[1]].move(rows[pair].detailed_status, each.detailed)
    call.db.run(TELL, [_change(call, rows[pair].execution_id, each) for pair, each in last.items()])
    releases.take_back(call, list(ended.values()))
    releases.go_on(call, list(ended.values()), overviews)
    for overview in overviews.values():
        overview.store(call)


def _started_by_agent(call: Call, overview: Overview, row: Row[Any] | None, told: Told) -> None:
    """A run that nothing was released for: an old list in the agent's memory, or an operator's tools (AP 16.1)."""
    execution_id = call.new_id()
    kept = {"node": told.node_id, "executed_at": told.executed_at.isoformat()}
    executions.add(call, overview.row, execution_id, Cause.AGENT, told=kept, ended=told.detailed)
    overview.move(None if row is None else row.detailed_status, told.detailed)
    if row is not None:
        call.db.run(TELL, _change(call, execution_id, told))
        return
    call.db.run(
        table.ADD_RELEASE,
        {
            **call.tenant,
            "node_id": told.node_id,
            "association_id": told.association_id,
            "version": overview.row.version,
            "execution_id": execution_id,
            "command_id": None,
            "open": False,
            "detailed_status": told.detailed,
            "released_at": call.now,
            "announced_as": None,
            "executed_at": told.executed_at,
            "summary": told.summary,
            "error_code": told.error_code,
            "output_url": told.output_url,
            "following": None,
        },
    )


def _repeats(row: Row[Any] | None, told: Told) -> bool:
    """Whether this end is known already: told again because its answer was lost."""
    return row is not None and row.executed_at == told.executed_at and row.detailed_status == told.detailed


def _by_pair(rows: Iterable[Row[Any]]) -> dict[tuple[str, str], Row[Any]]:
    return {(row.node_id, row.association_id): row for row in rows}


def _change(call: Call, execution_id: str, told: Told) -> dict[str, Any]:
    return table.key(
        call,
        told.association_id,
        node=told.node_id,
        is_open=not told.is_final,
        to_status=told.detailed,
        executed=told.executed_at,
        text=told.summary,
        code=told.error_code,
        url=told.output_url,
        to_execution=execution_id,
    )


def _told(request: Mapping[str, Any]) -> Told:
    result = request["ExecutionResult"]
    url = result.get("OutputUrl", {}).get("S3OutputUrl", {}).get("OutputUrl", "")
    return Told(
        request["InstanceId"],
        request["AssociationId"].lower(),
        result["Status"],
        result["ExecutionDate"],
        _plain(result.get("ExecutionSummary", ""))[:SUMMARY_LIMIT],
        _plain(result.get("ErrorCode", ""))[:ERROR_CODE_LIMIT],
        _plain(url)[:1024],
    )


def _plain(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
