"""Definition: what an association says, and what it must be to be accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from fleetward.protocol import document as documents_protocol
from fleetward.protocol import schedule
from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam import principals
from fleetward.server.ssm import change_calendar, documents, nodes
from fleetward.server.ssm.errors import (
    InvalidDocument,
    InvalidDocumentType,
    InvalidOutputLocation,
    InvalidParameters,
    InvalidSchedule,
    InvalidTarget,
    InvalidTargetMaps,
    UnsupportedCalendarException,
    UnsupportedPlatformType,
)

MEMBERS = (
    "Name",
    "DocumentVersion",
    "InstanceId",
    "Parameters",
    "Targets",
    "ScheduleExpression",
    "OutputLocation",
    "AssociationName",
    "AutomationTargetParameterName",
    "MaxErrors",
    "MaxConcurrency",
    "ComplianceSeverity",
    "SyncCompliance",
    "ApplyOnlyAtCronInterval",
    "CalendarNames",
    "ScheduleOffset",
    "Duration",
    "AlarmConfiguration",
    "AssociationDispatchAssumeRole",
)
_NOT_LEGACY = (
    "AssociationName",
    "DocumentVersion",
    "MaxErrors",
    "MaxConcurrency",
    "OutputLocation",
    "ScheduleExpression",
)
SHORTEST = timedelta(minutes=30)
LONGEST_RATE = timedelta(days=31)
TARGET_VALUES_LIMIT = 50
INVENTORY_ACTION = "aws:softwareInventory"
EVERY_NODE = "*"
LONGEST_SPREAD = timedelta(minutes=15)

Definition = dict[str, Any]


def read(call: Call, request: Mapping[str, Any]) -> tuple[Definition, documents.ResolvedDocument]:
    """What a request asks for, checked, and the document that it runs now."""
    definition = {name: request[name] for name in MEMBERS if request.get(name) not in (None, [], {})}
    document = documents.resolve(call, definition["Name"], definition.get("DocumentVersion"))
    if document.document_type not in ("Command", "Policy"):
        raise InvalidDocument(
            f"{document.name} is of type {document.document_type}; associations run Command and Policy documents."
        )
    if request.get("TargetMaps"):
        raise InvalidTargetMaps("TargetMaps are for Automation documents.")
    if request.get("TargetLocations"):
        raise InvalidTarget("TargetLocations are for Automation documents.")
    _check_calendars(call, definition.get("CalendarNames", ()))
    _check_legacy(definition, document)
    definition.setdefault("DocumentVersion", documents.DEFAULT)
    definition["Targets"] = targets(call, definition)
    _bind(document, definition)
    _check_output(definition)
    schedule_of(definition, call.now)
    role = definition.get("AssociationDispatchAssumeRole")
    if role:
        call.authorize("iam:PassRole", Resource(role), keys_of.passed_to(principals.SSM_SERVICE))
    return definition, document


def check_platform(call: Call, node_id: str, document: documents.ResolvedDocument) -> None:
    """The legacy form names a node: it must be there, and the document run on it."""
    (node,) = nodes.require(call, [node_id])
    if node.platform_type and node.platform_type not in document.platform_types:
        raise UnsupportedPlatformType(f"{document.name} does not run on {node.platform_type}, as {node_id} does.")


def is_inventory(document: documents.ResolvedDocument) -> bool:
    """Whether a document collects inventory: of those a node runs one association at most."""
    return any(step.action == INVENTORY_ACTION for step in document.document.steps)


def is_live(definition: Mapping[str, Any]) -> bool:
    """Whether nodes may come to be, or cease to be, its targets."""
    return any(each["Key"] != "InstanceIds" or EVERY_NODE in each["Values"] for each in definition["Targets"])


def schedule_of(definition: Mapping[str, Any], since: datetime) -> schedule.Schedule | None:
    """Its schedule, a rate counted from `since`; None without one. Raises InvalidSchedule."""
    expression, offset = definition.get("ScheduleExpression"), definition.get("ScheduleOffset", 0)
    only_then = definition.get("ApplyOnlyAtCronInterval", False)
    if expression is None:
        if offset or only_then:
            raise InvalidSchedule("ScheduleOffset and ApplyOnlyAtCronInterval take a ScheduleExpression.")
        return None
    if only_then and expression.strip().startswith("rate("):
        raise InvalidSchedule("ApplyOnlyAtCronInterval cannot be given with a rate expression.")
    if offset and not only_then:
        raise InvalidSchedule("ScheduleOffset takes ApplyOnlyAtCronInterval.")
    try:
        found = schedule.parse(expression, since=since, offset_days=offset)
    except schedule.ScheduleFault as fault:
        raise InvalidSchedule(str(fault)) from fault
    gap = found.shortest_gap()
    if gap is not None and gap < SHORTEST:
        raise InvalidSchedule(f"{expression} is due more often than every 30 minutes.")
    if isinstance(found, schedule.RateSchedule) and found.every >= LONGEST_RATE:
        raise InvalidSchedule(f"{expression} is due less often than every 31 days.")
    return found


def due_after(definition: Mapping[str, Any], association_id: str, since: datetime, now: datetime) -> datetime | None:
    """When its schedule, counted from `since`, starts it next; None for never.

    Ours: associations of one schedule are spread by hash over a tenth of the period, 15 minutes at most; `at` names its
    second and is kept to.
    """
    found = schedule_of(definition, since)
    if found is None:
        return None
    spread = timedelta(0)
    period = found.period(now)
    if period is not None:
        longest = min(period / 10, LONGEST_SPREAD)
        share = int.from_bytes(hashlib.sha256(association_id.encode()).digest()[:4]) / 2**32
        spread = timedelta(seconds=int(longest.total_seconds() * share))
    due, first = found.next_after(max(now - spread, since)), found.first_after(since)
    if due is None or first is None:
        return None
    return max(due, first) + spread


def checksum(association_id: str, definition: Mapping[str, Any], document_version: str) -> str:
    """Changes when what a node must do changes, and with nothing else (DESIGN, 3.6)."""
    told = [
        association_id,
        definition["Name"],
        document_version,
        definition.get("Parameters", {}),
        definition.get("ScheduleExpression"),
    ]
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _check_calendars(call: Call, names: Sequence[str]) -> None:
    """Each must be there and be a change calendar."""
    if len(names) > change_calendar.MOST_CALENDARS:
        raise ValidationException(f"CalendarNames takes {change_calendar.MOST_CALENDARS} names at most.")
    for name in names:
        try:
            change_calendar.timeline(call, name)
        except (InvalidDocumentType, UnsupportedCalendarException) as fault:
            raise InvalidDocument(fault.message) from fault


def _check_legacy(definition: Mapping[str, Any], document: documents.ResolvedDocument) -> None:
    legacy = definition.get("InstanceId")
    if legacy is None:
        return
    if "Targets" in definition:
        raise InvalidTarget("Give either InstanceId or Targets: one of them, not both.")
    beside = [name for name in _NOT_LEGACY if name in definition]
    if beside:
        raise ValidationException(f"{beside[0]} cannot be given with InstanceId; name the node in Targets.")


def targets(call: Call, definition: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The target expression of a definition, checked, with keys as the API has them. Raises InvalidTarget."""
    if "InstanceId" in definition:
        return [{"Key": "InstanceIds", "Values": [definition["InstanceId"]]}]
    given: Sequence[Mapping[str, Any]] = definition.get("Targets", ())
    if not given:
        raise InvalidTarget("Targets names no nodes: give InstanceIds, tag:<key>, tag-key or resource-groups:Name.")
    if wrong := nodes.targets_fault(call, given):
        raise InvalidTarget(wrong)
    return [_target(each["Key"], each["Values"]) for each in given]


def _target(name: str, values: Sequence[str]) -> dict[str, Any]:
    if len(values) > TARGET_VALUES_LIMIT:
        raise InvalidTarget(f"The target {name} takes {TARGET_VALUES_LIMIT} values at most.")
    if name.lower() != "instanceids":
        return {"Key": name, "Values": list(values)}
    if EVERY_NODE in values and len(values) > 1:
        raise InvalidTarget("The value * means every node: give it alone.")
    return {"Key": "InstanceIds", "Values": list(values)}


def _bind(document: documents.ResolvedDocument, definition: Mapping[str, Any]) -> None:
    try:
        documents_protocol.bind(document.document, definition.get("Parameters", {}), matches=documents.fits)
    except documents_protocol.ParameterFault as fault:
        raise InvalidParameters(f"{fault.name}: {fault.reason}") from fault


def _check_output(definition: Mapping[str, Any]) -> None:
    location = definition.get("OutputLocation", {}).get("S3Location", {})
    if location and not location.get("OutputS3BucketName"):
        raise InvalidOutputLocation("OutputLocation names no OutputS3BucketName.")
