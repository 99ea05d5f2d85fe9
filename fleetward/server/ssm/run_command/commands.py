"""Sending and cancelling: SendCommand records, the job in `release` makes the invocations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Row, bindparam, delete, insert, select, update

from fleetward.protocol import control_channel
from fleetward.protocol import document as documents_protocol
from fleetward.protocol.status import CommandStatus, coarse
from fleetward.server import jobs, mailbox
from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam import principals
from fleetward.server.schema import EPOCH, in_tenant
from fleetward.server.ssm import documents, nodes, parameter_store, ssm
from fleetward.server.ssm.errors import (
    DuplicateInstanceId,
    InvalidCommandId,
    InvalidDocument,
    InvalidInstanceId,
    InvalidOutputFolder,
    InvalidParameters,
)
from fleetward.server.ssm.run_command import table

NO_NOTIFICATION = {"NotificationArn": "", "NotificationEvents": [], "NotificationType": ""}
DEFAULT_TIMEOUT = 3600
TARGETS_LIMIT = 5
COMMAND_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

ADD_COMMAND = insert(table.commands)
CANCEL = update(table.commands).where(*table.THIS_COMMAND).values(cancelled=True, status=CommandStatus.CANCELLING.value)
CONTENTS = select(table.commands.c.command_id, table.commands.c.content).where(
    *in_tenant(table.commands), table.commands.c.command_id.in_(bindparam("ids", expanding=True))
)
HALTED = select(table.halts).where(*in_tenant(table.halts))
ADD_HALT = insert(table.halts)
DROP_HALT = delete(table.halts).where(*in_tenant(table.halts))


@dataclass(frozen=True, slots=True)
class Targets:
    """Whom a command is for: ids as named, or the API's target expression."""

    instance_ids: tuple[str, ...] = ()
    expression: tuple[Mapping[str, Any], ...] = ()

    def select_by(self) -> list[Mapping[str, Any]]:
        """The expression that selects these nodes."""
        if self.instance_ids:
            return [{"Key": "InstanceIds", "Values": list(self.instance_ids)}]
        return list(self.expression)


@dataclass(frozen=True, slots=True)
class CommandFinished:
    """Event: a command ended."""

    command_id: str
    status: CommandStatus


def documents_and_targets(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """SendCommand is decided on the document and on every target: by id, or once for each distinct set of tags."""
    yield documents.resource(call, request["DocumentName"])
    instance_ids = request.get("InstanceIds", ())
    if instance_ids:
        for row in nodes.require(call, list(dict.fromkeys(instance_ids))):
            yield nodes.table.tagged(call, row.node_id)
    elif request.get("Targets"):
        for tag_set in nodes.tag_sets(call, request["Targets"]):
            yield Resource(nodes.arn(call, "*"), tag_set.content)


@ssm.operation("SendCommand", resources=documents_and_targets, grows=True)
def send_command(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Record a command; its job makes the invocations and posts them as rate control allows."""
    targets = _targets(call, request)
    document = documents.resolve(call, request["DocumentName"], request.get("DocumentVersion"))
    if document.document_type not in ("Command", "Policy"):
        raise InvalidDocument(
            f"{document.name} is of type {document.document_type}; SendCommand runs Command documents."
        )
    _check_hash(document, request)
    if request.get("ServiceRoleArn"):
        call.authorize("iam:PassRole", Resource(request["ServiceRoleArn"]), keys_of.passed_to(principals.SSM_SERVICE))
    if request.get("OutputS3KeyPrefix") and not request.get("OutputS3BucketName"):
        raise InvalidOutputFolder("OutputS3KeyPrefix needs OutputS3BucketName.")
    row = begin(call, document, targets, request)
    return {"Command": shape(row)}


def begin(
    call: Call,
    document: documents.ResolvedDocument,
    targets: Targets,
    options: Mapping[str, Any],
    *,
    carrier: str | None = None,
    deliver_for: timedelta | None = None,
) -> dict[str, Any]:
    """SendCommand for capabilities that run commands; `options` has its optional members. Returns the row.

    With `carrier` the capability of that name tells nodes by itself (InvocationsReleased) and takes what they report
    (`reported.record`); `deliver_for` is how long a node may stay away then.
    """
    parameters = options.get("Parameters", {})
    try:
        bound = documents_protocol.bind(document.document, parameters, matches=documents.fits)
    except documents_protocol.ParameterFault as fault:
        raise InvalidParameters(f"{fault.name}: {fault.reason}") from fault
    parameter_store.references.check(call, [parameters, dict(document.content)])
    command_id = call.new_id()
    timeout = deliver_for or timedelta(seconds=options.get("TimeoutSeconds", DEFAULT_TIMEOUT))
    execution = timedelta(seconds=documents_protocol.execution_seconds(document.document, bound))
    row = {
        **call.tenant,
        "command_id": command_id,
        "document_name": document.name,
        "document_version": str(options.get("DocumentVersion") or "$DEFAULT"),
        "platform_types": list(document.platform_types),
        "step_count": len(document.document.steps),
        "options": _kept_options(options, targets),
        "content": "" if carrier else _content(command_id, document, bound, options),
        "requested_at": call.now,
        "deliver_until": call.now + timeout,
        "expires_at": call.now + timeout + execution,
        "status": CommandStatus.PENDING.value,
        "resolved": False,
        "cancelled": False,
        "target_count": len(targets.instance_ids),
        "released_count": 0,
        "concurrency_limit": 1,
        "error_limit": 0,
        "ended": {},
        "ended_released": 0,
        "caller_arn": call.caller.arn,
        "carrier": carrier,
    }
    call.db.run(ADD_COMMAND, row)
    jobs.start(call, "command", command_id, {"after": ""})
    return row


@ssm.operation("CancelCommand", resources=lambda call, request: (Resource("*"),))
def cancel_command(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Cancel a whole command or some of its nodes, as far as they have not finished."""
    row = find(call, request["CommandId"])
    instance_ids = request.get("InstanceIds") or []
    if len(set(instance_ids)) < len(instance_ids):
        raise DuplicateInstanceId("InstanceIds names a node twice.")
    coming = () if row.resolved else row.options["InstanceIds"]
    for node_id in instance_ids:
        known = node_id in coming or call.db.first(table.INVOCATION, **table.key(call, row.command_id, node_id))
        if not known:
            raise InvalidInstanceId(f"The command was not sent to {node_id}.")
    if row.resolved and sum(row.ended.values()) >= row.target_count:
        return {}
    if not instance_ids:
        call.db.run(CANCEL, table.key(call, row.command_id))
    jobs.start(call, "command-cancel", row.command_id, {"nodes": list(instance_ids), "after": ""})
    return {}


@ssm.message("command")
def render(call: Call, command_ids: Sequence[str]) -> dict[str, mailbox.Rendered]:
    """What nodes are sent: the same content for every node of a command."""
    rows = call.db.all(CONTENTS, **call.here, ids=list(command_ids))
    return {row.command_id: mailbox.Rendered(control_channel.SEND_COMMAND, row.content) for row in rows}


@ssm.message("cancel")
def render_cancel(call: Call, job_ids: Sequence[str]) -> dict[str, mailbox.Rendered]:
    """The order to cancel the job that the subject names."""
    return {
        job_id: mailbox.Rendered(control_channel.CANCEL_COMMAND, orjson.dumps({"CancelMessageId": job_id}).decode())
        for job_id in job_ids
    }


def find(call: Call, command_id: str) -> Row[Any]:
    """A command's row; InvalidCommandId when there is none."""
    row = call.db.first(table.COMMAND, **table.key(call, command_id)) if COMMAND_ID.fullmatch(command_id) else None
    if row is None:
        raise InvalidCommandId(f"There is no command {command_id}.")
    return row


def drop_waiting(call: Call, command_id: str) -> None:
    """Let no more of a command's nodes begin; those that were told go on."""
    row = table.lock(call, [command_id]).get(command_id)
    if row is not None and (not row.resolved or table.Tally(row).waiting > 0):
        call.db.run(CANCEL, table.key(call, command_id))
        jobs.start(call, "command-stop", command_id, {})


def cancel(call: Call, command_id: str) -> None:
    """Cancel a whole command, as far as it has not finished."""
    row = table.lock(call, [command_id]).get(command_id)
    if row is not None and not (row.resolved and table.Tally(row).ended_total >= row.target_count):
        call.db.run(CANCEL, table.key(call, command_id))
        jobs.start(call, "command-cancel", command_id, {"nodes": [], "after": ""})


def cancel_on(call: Call, command_id: str, node_ids: Sequence[str]) -> None:
    """Cancel a command on some of its nodes, as far as they have not finished."""
    jobs.start(call, "command-cancel", command_id, {"nodes": list(node_ids), "after": ""})


def halt(call: Call, reason: str) -> dict[str, Any]:
    """Release nothing new in this account and region until `resume`; what runs goes on."""
    if call.db.first(HALTED, **call.here) is None:
        call.db.run(ADD_HALT, {**call.tenant, "since": call.now, "reason": reason, "caller_arn": call.caller.arn})
    return halted(call) or {}


def resume(call: Call) -> None:
    """Let commands go again."""
    call.db.run(DROP_HALT, call.here)
    jobs.start(call, "command-resume", "all", {"after": ""})


def halted(call: Call) -> dict[str, Any] | None:
    """Since when, why and by whom commands are held back, or None."""
    row = call.db.first(HALTED, **call.here)
    return None if row is None else {"Since": row.since, "Reason": row.reason, "CallerArn": row.caller_arn}


def shape(row: Any) -> dict[str, Any]:
    """AWS's Command of a row (a mapping or a result row)."""
    values: Mapping[str, Any] = row if isinstance(row, dict) else row._mapping
    options, ended = values["options"], values["ended"]
    status = CommandStatus(values["status"])
    return {
        "CommandId": values["command_id"],
        "DocumentName": values["document_name"],
        "DocumentVersion": values["document_version"],
        "Comment": options.get("Comment", ""),
        "ExpiresAfter": values["expires_at"],
        "Parameters": options.get("Parameters", {}),
        "InstanceIds": options.get("InstanceIds", []),
        "Targets": options.get("Targets", []),
        "RequestedDateTime": values["requested_at"],
        "Status": coarse(status),
        "StatusDetails": status.value,
        "OutputS3BucketName": options.get("OutputS3BucketName", ""),
        "OutputS3KeyPrefix": options.get("OutputS3KeyPrefix", ""),
        "MaxConcurrency": options.get("MaxConcurrency", "50"),
        "MaxErrors": options.get("MaxErrors", "0"),
        "TargetCount": values["target_count"],
        "CompletedCount": sum(ended.values()),
        "ErrorCount": ended.get("Failed", 0) + ended.get("ExecutionTimedOut", 0),
        "DeliveryTimedOutCount": ended.get("DeliveryTimedOut", 0),
        "ServiceRole": options.get("ServiceRoleArn", ""),
        "NotificationConfig": {**NO_NOTIFICATION, **options.get("NotificationConfig", {})},
        "CloudWatchOutputConfig": options.get(
            "CloudWatchOutputConfig", {"CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": False}
        ),
        "TimeoutSeconds": options.get("TimeoutSeconds", DEFAULT_TIMEOUT),
    }


def _targets(call: Call, request: Mapping[str, Any]) -> Targets:
    instance_ids, expression = request.get("InstanceIds") or [], request.get("Targets") or []
    if bool(instance_ids) == bool(expression):
        raise ValidationException("Give either InstanceIds or Targets: one of them, not both.")
    if len(set(instance_ids)) < len(instance_ids):
        raise DuplicateInstanceId("InstanceIds names a node twice.")
    if instance_ids:
        nodes.require(call, instance_ids)
    if len(expression) > TARGETS_LIMIT:
        raise ValidationException(f"Targets has more than {TARGETS_LIMIT} keys.")
    nodes.check_targets(call, expression)
    return Targets(tuple(instance_ids), tuple(expression))


def _check_hash(document: documents.ResolvedDocument, request: Mapping[str, Any]) -> None:
    expected = request.get("DocumentHash")
    if not expected:
        return
    actual = document.sha1 if request.get("DocumentHashType") == "Sha1" else document.sha256
    if expected.lower() != actual:
        raise InvalidDocument(f"The content of {document.name} does not have the hash {expected}.")


def _kept_options(options: Mapping[str, Any], targets: Targets) -> dict[str, Any]:
    names = (
        "Comment",
        "Parameters",
        "MaxConcurrency",
        "MaxErrors",
        "OutputS3BucketName",
        "OutputS3KeyPrefix",
        "ServiceRoleArn",
        "NotificationConfig",
        "CloudWatchOutputConfig",
        "TimeoutSeconds",
        "AlarmConfiguration",
    )
    kept = {name: options[name] for name in names if name in options}
    return {**kept, "InstanceIds": list(targets.instance_ids), "Targets": list(targets.expression)}


def _content(
    command_id: str, document: documents.ResolvedDocument, bound: Mapping[str, Any], options: Mapping[str, Any]
) -> str:
    """The job's content (agent-protocol, chapter 8.1)."""
    logs = options.get("CloudWatchOutputConfig", {})
    return orjson.dumps(
        {
            "Parameters": documents_protocol.wire_parameters(document.document, bound),
            "DocumentContent": document.content,
            "CommandId": command_id,
            "DocumentName": document.name,
            "OutputS3KeyPrefix": options.get("OutputS3KeyPrefix", ""),
            "OutputS3BucketName": options.get("OutputS3BucketName", ""),
            "CloudWatchLogGroupName": logs.get("CloudWatchLogGroupName", ""),
            "CloudWatchOutputEnabled": "true" if logs.get("CloudWatchOutputEnabled") else "false",
        }
    ).decode()


def since_epoch(moment: datetime) -> int:
    """Whole microseconds since 1970, as page keys carry times."""
    return (moment - EPOCH) // timedelta(microseconds=1)
