"""History: commands and invocations as lists, and one invocation's result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy import Row, and_, bindparam, delete, exists, or_, select, tuple_

from fleetward.protocol.document import ACTION_PLATFORMS
from fleetward.protocol.status import CommandStatus, InvocationStatus, coarse, from_step_status
from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.schema import EPOCH, same_tenant
from fleetward.server.ssm import nodes, ssm
from fleetward.server.ssm.errors import (
    InvalidFilterKey,
    InvalidPluginName,
    InvocationDoesNotExist,
)
from fleetward.server.ssm.run_command import commands, table

PAGE = 50
OUTPUT_LIMIT = 24_000
ERROR_LIMIT = 8_000
COMBINED_LIMIT = 2_500
TRUNCATED = "--output truncated--"

FORGET_COMMANDS = delete(table.commands).where(
    tuple_(table.commands.c.account_id, table.commands.c.region, table.commands.c.command_id).in_(
        select(table.commands.c.account_id, table.commands.c.region, table.commands.c.command_id)
        .where(table.commands.c.requested_at < bindparam("before"))
        .limit(200)
    )
)
FORGET_INVOCATIONS = delete(table.invocations).where(
    tuple_(
        table.invocations.c.account_id,
        table.invocations.c.region,
        table.invocations.c.command_id,
        table.invocations.c.node_id,
    ).in_(
        select(
            table.invocations.c.account_id,
            table.invocations.c.region,
            table.invocations.c.command_id,
            table.invocations.c.node_id,
        )
        .where(table.invocations.c.requested_at < bindparam("before"))
        .limit(1000)
    )
)


def _invoked(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource("*"),)


@ssm.operation("ListCommands", reads=True, resources=_invoked)
def list_commands(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Commands, newest first."""
    c = table.commands.c
    query = select(table.commands).where(c.account_id == call.account, c.region == call.region)
    if request.get("CommandId"):
        commands.find(call, request["CommandId"])
        query = query.where(c.command_id == request["CommandId"])
    if request.get("InstanceId"):
        nodes.require(call, [request["InstanceId"]])
        query = query.where(_sent_to(request["InstanceId"]))
    for each in request.get("Filters", ()):
        query = query.where(_command_filter(each["key"], each["value"]))
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("ListCommands", request.get("NextToken"))
    if after is not None:
        query = query.where(_before((c.requested_at, c.command_id), after))
    rows = call.db.all(query.order_by(c.requested_at.desc(), c.command_id.desc()).limit(limit + 1))
    page, token = paging.page("ListCommands", rows, limit, lambda row: _key(row, "command_id"))
    return {"Commands": [commands.shape(row) for row in page], **token}


@ssm.operation("ListCommandInvocations", reads=True, resources=_invoked)
def list_command_invocations(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Invocations, newest first; an unknown command simply has none."""
    c = table.invocations.c
    query = select(table.invocations).where(c.account_id == call.account, c.region == call.region)
    if request.get("CommandId"):
        query = query.where(c.command_id == request["CommandId"])
    if request.get("InstanceId"):
        nodes.require(call, [request["InstanceId"]])
        query = query.where(c.node_id == request["InstanceId"])
    for each in request.get("Filters", ()):
        query = query.where(_invocation_filter(each["key"], each["value"]))
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("ListCommandInvocations", request.get("NextToken"))
    if after is not None:
        query = query.where(_before((c.requested_at, c.command_id, c.node_id), after))
    ordered = query.order_by(c.requested_at.desc(), c.command_id.desc(), c.node_id.desc()).limit(limit + 1)
    rows = call.db.all(ordered)
    page, token = paging.page("ListCommandInvocations", rows, limit, lambda row: _key(row, "command_id", "node_id"))
    owners = _commands_of(call, page)
    details = bool(request.get("Details"))
    return {"CommandInvocations": [_shape(call, owners[row.command_id], row, details) for row in page], **token}


@ssm.operation("GetCommandInvocation", reads=True, resources=_invoked)
def get_command_invocation(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """One node's result of one step; the step must be named when the document has several."""
    command_id, node_id = request["CommandId"], request["InstanceId"]
    command = call.db.first(table.COMMAND, **table.key(call, command_id))
    row = call.db.first(table.INVOCATION, **table.key(call, command_id, node_id))
    if command is None or row is None:
        raise InvocationDoesNotExist(f"There is no invocation of command {command_id} on {node_id}.")
    name, step = _asked_step(command, row, request.get("PluginName", ""))
    status = InvocationStatus(row.status)
    shown = status
    if step is not None and request.get("PluginName") and command.step_count > 1:
        shown = _step_status(step)
    result = {
        "CommandId": command_id,
        "InstanceId": node_id,
        "Comment": command.options.get("Comment", ""),
        "DocumentName": command.document_name,
        "DocumentVersion": command.document_version,
        "PluginName": name,
        "ResponseCode": step["code"] if step is not None else -1,
        "ExecutionStartDateTime": "",
        "ExecutionElapsedTime": "",
        "ExecutionEndDateTime": "",
        "Status": coarse(shown),
        "StatusDetails": shown.value,
        "StandardOutputContent": "",
        "StandardOutputUrl": "",
        "StandardErrorContent": "",
        "StandardErrorUrl": "",
        "CloudWatchOutputConfig": commands.shape(command)["CloudWatchOutputConfig"],
    }
    if step is None:
        result["StandardErrorContent"] = row.trace[:ERROR_LIMIT]
        return result
    started, ended = _moment(step["started_at"]), _moment(step["ended_at"])
    return result | {
        "ExecutionStartDateTime": _iso(started),
        "ExecutionElapsedTime": _elapsed(started, ended),
        "ExecutionEndDateTime": _iso(ended),
        "StandardOutputContent": cut(step["stdout"], OUTPUT_LIMIT),
        "StandardErrorContent": cut(step["stderr"] or row.trace, ERROR_LIMIT),
        **_urls(call, step),
    }


@ssm.timer(every=timedelta(minutes=10))
def forget(call: Call) -> None:
    """Remove commands and invocations older than `keep_commands`, some at a time."""
    before = call.now - timedelta(days=call.settings.keep_commands)
    call.db.run(FORGET_INVOCATIONS, {"before": before})
    call.db.run(FORGET_COMMANDS, {"before": before})


def cut(text: str, limit: int) -> str:
    """At most `limit` characters; what is cut says so."""
    return text if len(text) <= limit else text[: limit - len(TRUNCATED)] + TRUNCATED


def _commands_of(call: Call, rows: Sequence[Row[Any]]) -> dict[str, Row[Any]]:
    found = {}
    for command_id in {row.command_id for row in rows}:
        found[command_id] = call.db.first(table.COMMAND, **table.key(call, command_id))
    return {command_id: row for command_id, row in found.items() if row is not None}


def _asked_step(command: Row[Any], row: Row[Any], name: str) -> tuple[str, Mapping[str, Any] | None]:
    """The step that `PluginName` means (a step's name, or an action that only one step has) and its report."""
    steps: Mapping[str, Mapping[str, Any]] = row.steps
    if name:
        if name in steps:
            return name, steps[name]
        by_action = [key for key, step in steps.items() if step["action"] == name]
        if len(by_action) == 1:
            return by_action[0], steps[by_action[0]]
        if table.is_over(row.status):
            raise InvalidPluginName(f"The document has no step {name}.")
        return name, None
    if command.step_count > 1:
        raise InvalidPluginName("The document has several steps: name one of them as PluginName.")
    if not steps:
        return "", None
    ((only, step), *_) = steps.items()
    return _shown_name(only, step), step


def _shown_name(name: str, step: Mapping[str, Any]) -> str:
    """Schema 1.2 steps go by their action."""
    action: str = step["action"]
    return action if name in ("", action.removeprefix("aws:")) and f"aws:{name}" in ACTION_PLATFORMS else name


def _step_status(step: Mapping[str, Any]) -> InvocationStatus:
    try:
        return from_step_status(step["status"])
    except ValueError:
        return InvocationStatus.FAILED


def _shape(call: Call, command: Row[Any], row: Row[Any], details: bool) -> dict[str, Any]:
    status = InvocationStatus(row.status)
    whole = commands.shape(command)
    combined = next((step["output"] for step in row.steps.values() if step["output"]), row.trace)
    return {
        "CommandId": row.command_id,
        "InstanceId": row.node_id,
        "InstanceName": row.node_name,
        "Comment": whole["Comment"],
        "DocumentName": command.document_name,
        "DocumentVersion": command.document_version,
        "RequestedDateTime": row.requested_at,
        "Status": coarse(status),
        "StatusDetails": status.value,
        "TraceOutput": combined[:COMBINED_LIMIT],
        **_urls(call, next(iter(row.steps.values()), {})),
        "CommandPlugins": [_plugin(call, name, step) for name, step in row.steps.items()] if details else [],
        "ServiceRole": whole["ServiceRole"],
        "NotificationConfig": whole["NotificationConfig"],
        "CloudWatchOutputConfig": whole["CloudWatchOutputConfig"],
    }


def _plugin(call: Call, name: str, step: Mapping[str, Any]) -> dict[str, Any]:
    status = _step_status(step)
    plugin: dict[str, Any] = {
        "Name": _shown_name(name, step),
        "Status": coarse(status),
        "StatusDetails": status.value,
        "ResponseCode": step["code"],
        "Output": step["output"][:COMBINED_LIMIT],
        **_urls(call, step),
        "OutputS3Region": call.region,
        "OutputS3BucketName": step["bucket"],
        "OutputS3KeyPrefix": step["prefix"],
    }
    started, ended = _moment(step["started_at"]), _moment(step["ended_at"])
    if started is not None:
        plugin["ResponseStartDateTime"] = started
    if ended is not None:
        plugin["ResponseFinishDateTime"] = ended
    return plugin


def _urls(call: Call, step: Mapping[str, Any]) -> dict[str, str]:
    """Where the node put a step's streams in S3; empty without a bucket (API reference, StandardOutputUrl).

    Ours: the addresses are this server's own, which serves the buckets.
    """
    if not step.get("bucket"):
        return {"StandardOutputUrl": "", "StandardErrorUrl": ""}
    folder = quote("/".join(part for part in (step["bucket"], step["prefix"], step["step"]) if part))
    return {
        "StandardOutputUrl": f"{call.settings.own_url}/{folder}/stdout",
        "StandardErrorUrl": f"{call.settings.own_url}/{folder}/stderr",
    }


def _command_filter(key: str, value: str) -> Any:
    c = table.commands.c
    if key == "InvokedAfter":
        return c.requested_at >= _asked_time(value)
    if key == "InvokedBefore":
        return c.requested_at < _asked_time(value)
    if key == "DocumentName":
        return c.document_name == value
    if key == "Status":
        return c.status.in_(_details(value, CommandStatus))
    if key == "ExecutionStage":
        open_states = ["Pending", "InProgress", "Delayed", "Cancelling"]
        if value not in ("Executing", "Complete"):
            raise ValidationException("ExecutionStage is Executing or Complete.")
        return c.status.in_(open_states) if value == "Executing" else c.status.not_in(open_states)
    raise InvalidFilterKey(f"{key} is not a filter of this operation.")


def _invocation_filter(key: str, value: str) -> Any:
    c = table.invocations.c
    if key == "InvokedAfter":
        return c.requested_at >= _asked_time(value)
    if key == "InvokedBefore":
        return c.requested_at < _asked_time(value)
    if key == "Status":
        return c.status.in_(_details(value, InvocationStatus))
    if key == "DocumentName":
        cc = table.commands.c
        one = same_tenant(table.commands, table.invocations)
        return exists().where(*one, cc.command_id == c.command_id, cc.document_name == value)
    raise InvalidFilterKey(f"{key} is not a filter of this operation.")


def _details(value: str, kind: type[CommandStatus] | type[InvocationStatus]) -> list[str]:
    """StatusDetails that a filter's Status means: the detail itself, or all that show under that Status."""
    if value == "LimitExceeded":
        return ["RateExceeded"]
    return [each.value for each in kind if value in (each.value, coarse(each))]


def _asked_time(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as fault:
        raise ValidationException(f"{value!r} is not a time of the form 2030-01-31T00:00:00Z.") from fault
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _sent_to(node_id: str) -> Any:
    c, i = table.commands.c, table.invocations.c
    one = same_tenant(table.invocations, table.commands)
    return exists().where(*one, i.command_id == c.command_id, i.node_id == node_id)


def _before(columns: Sequence[Any], after: Sequence[Any]) -> Any:
    """Rows that come after the page's last one in an order from newest to oldest."""
    if len(after) != len(columns) or not isinstance(after[0], int):
        raise paging.InvalidNextToken("The NextToken is not one that this operation handed out.")
    moment = EPOCH + timedelta(microseconds=after[0])
    values = [moment, *(str(each) for each in after[1:])]
    clauses = []
    for index, column in enumerate(columns):
        equal = [earlier == value for earlier, value in zip(columns[:index], values, strict=False)]
        clauses.append(and_(*equal, column < values[index]))
    return or_(*clauses)


def _key(row: Row[Any], *names: str) -> list[Any]:
    return [commands.since_epoch(row.requested_at), *(getattr(row, name) for name in names)]


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _elapsed(started: datetime | None, ended: datetime | None) -> str:
    """ISO 8601 duration, `PT0.5S`."""
    if started is None or ended is None:
        return ""
    seconds = max((ended - started).total_seconds(), 0)
    return f"PT{seconds:.3f}".rstrip("0").rstrip(".") + "S"
