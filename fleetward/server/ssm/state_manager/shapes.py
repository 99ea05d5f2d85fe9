"""Shapes: associations as AWS's API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row


def description(row: Row[Any]) -> dict[str, Any]:
    """AWS's AssociationDescription."""
    shown = {
        **row.definition,
        "AssociationId": row.association_id,
        "AssociationVersion": str(row.version),
        "Date": row.created_at,
        "LastUpdateAssociationDate": row.updated_at,
        "Status": _status(row),
        "Overview": _overview(row),
        **_instance(row.definition),
        **_times(row),
    }
    shown.setdefault("Parameters", {})
    return shown


def summary(row: Row[Any]) -> dict[str, Any]:
    """AWS's Association, as lists have it."""
    kept = ("Name", "DocumentVersion", "Targets", "ScheduleExpression", "AssociationName", "ScheduleOffset", "Duration")
    times = _times(row)
    times.pop("LastSuccessfulExecutionDate", None)
    return {
        **{name: row.definition[name] for name in kept if name in row.definition},
        "AssociationId": row.association_id,
        "AssociationVersion": str(row.version),
        "Overview": _overview(row),
        **_instance(row.definition),
        **times,
    }


def version(row: Row[Any]) -> dict[str, Any]:
    """AWS's AssociationVersionInfo."""
    left_out = ("InstanceId", "AutomationTargetParameterName", "AlarmConfiguration")
    return {
        **{name: value for name, value in row.definition.items() if name not in left_out},
        "AssociationId": row.association_id,
        "AssociationVersion": str(row.version),
        "CreatedDate": row.created_at,
    }


def _overview(row: Row[Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"Status": row.status, "DetailedStatus": row.detailed_status}
    if row.counts:
        shown["AssociationStatusAggregatedCount"] = row.counts
    return shown


def _instance(definition: Mapping[str, Any]) -> dict[str, str]:
    """The legacy InstanceId, which a single target of a single id fills as well."""
    targets = definition["Targets"]
    if len(targets) == 1 and targets[0]["Key"] == "InstanceIds" and len(targets[0]["Values"]) == 1:
        (only,) = targets[0]["Values"]
        return {} if only == "*" else {"InstanceId": only}
    return {}


def _times(row: Row[Any]) -> dict[str, Any]:
    times = {"LastExecutionDate": row.last_executed_at, "LastSuccessfulExecutionDate": row.last_succeeded_at}
    return {name: at for name, at in times.items() if at is not None}


def _status(row: Row[Any]) -> dict[str, Any]:
    if row.told_status is not None:
        return {**row.told_status, "Date": datetime.fromtimestamp(row.told_status["Date"], UTC)}
    name = row.definition["Name"]
    return {"Date": row.created_at, "Name": "Associated", "Message": f"Associated with {name}", "AdditionalInfo": ""}
