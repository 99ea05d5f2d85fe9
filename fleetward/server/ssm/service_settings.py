"""Service settings: the account's choices inside Systems Manager, each with a default."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, String, Table, Text, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as insert_or_change

from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.schema import EPOCH, UtcDateTime, in_tenant, metadata, tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import ServiceSettingNotFound

ACTIVATION_TIER = "/ssm/managed-instance/activation-tier"

settings = Table(
    "service_settings",
    metadata,
    *tenant(),
    Column("setting_id", String(128), primary_key=True),
    Column("value", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", Text, nullable=False),  # ARN
)

_THIS = (*in_tenant(settings), settings.c.setting_id == bindparam("setting"))
FIND = select(settings).where(*_THIS)
ADD = insert_or_change(settings)
CHOOSE = ADD.on_conflict_do_update(
    index_elements=["account_id", "region", "setting_id"],
    set_={name: ADD.excluded[name] for name in ("value", "changed_at", "changed_by")},
)
REMOVE = delete(settings).where(*_THIS)


@dataclass(frozen=True, slots=True)
class Known:
    """A setting's default and, where the choice is closed, its allowed values."""

    default: str
    allowed: tuple[str, ...] = ()


KNOWN: Mapping[str, Known] = {
    "/ssm/automation/customer-script-log-destination": Known("None", ("None", "CloudWatch")),
    "/ssm/automation/customer-script-log-group-name": Known("/aws/ssm/automation/executeScript"),
    "/ssm/automation/enable-adaptive-concurrency": Known("False", ("True", "False")),
    "/ssm/documents/console/public-sharing-permission": Known("Enable", ("Enable", "Disable")),
    # Ours: nodes here are hybrid nodes, and sessions to them need this tier in AWS.
    ACTIVATION_TIER: Known("advanced", ("standard", "advanced")),
    "/ssm/managed-instance/default-ec2-instance-management-role": Known("None"),
    "/ssm/opsinsights/opscenter": Known("Disabled", ("Enabled", "Disabled")),
    "/ssm/parameter-store/default-parameter-tier": Known("Standard", ("Standard", "Advanced", "Intelligent-Tiering")),
    "/ssm/parameter-store/high-throughput-enabled": Known("false", ("true", "false")),
}


def value(call: Call, setting_id: str) -> str:
    """A setting's present value; `setting_id` is one of those in KNOWN."""
    row = call.db.first(FIND, **call.here, setting=setting_id)
    return KNOWN[setting_id].default if row is None else row.value


_guards: dict[str, Callable[[Call, str], None]] = {}


def guard(setting_id: str, check: Callable[[Call, str], None]) -> None:
    """Register `check(call, chosen value)`, which raises when what exists does not allow that value."""
    _guards[setting_id] = check


def arn(call: Call, setting_id: str) -> str:
    """`arn:aws:ssm:R:A:servicesetting/ssm/…`; the id's leading slash is the ARN's."""
    return call.arn(f"servicesetting{setting_id}")


def _setting(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return [Resource(arn(call, _id(request["SettingId"])))]


def _id(given: str) -> str:
    """The id in what a caller gave: the id itself or an ARN that ends in it."""
    return given.partition(":servicesetting")[2] if given.startswith("arn:") else given


def _known_id(call: Call, given: str) -> str:
    setting_id = _id(given)
    foreign = given.startswith("arn:") and given != arn(call, setting_id)
    if setting_id not in KNOWN or foreign:
        raise ServiceSettingNotFound(f"There is no service setting {given!r}.")
    return setting_id


def _shape(call: Call, setting_id: str) -> dict[str, Any]:
    row = call.db.first(FIND, **call.here, setting=setting_id)
    return {
        "SettingId": setting_id,
        "SettingValue": KNOWN[setting_id].default if row is None else row.value,
        "LastModifiedDate": EPOCH if row is None else row.changed_at,
        "LastModifiedUser": "System" if row is None else row.changed_by,
        "ARN": arn(call, setting_id),
        "Status": "Default" if row is None else "Customized",
    }


@ssm.operation("GetServiceSetting", resources=_setting, reads=True)
def get_service_setting(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A setting with its value and who changed it last."""
    return {"ServiceSetting": _shape(call, _known_id(call, request["SettingId"]))}


@ssm.operation("UpdateServiceSetting", resources=_setting)
def update_service_setting(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Choose a value; it counts at once (AWS may answer PendingUpdate for a while)."""
    setting_id, chosen = _known_id(call, request["SettingId"]), request["SettingValue"]
    allowed = KNOWN[setting_id].allowed
    if allowed and chosen not in allowed:
        raise ValidationException(f"{setting_id} can be {', '.join(allowed)}; not {chosen!r}.")
    if setting_id in _guards:
        _guards[setting_id](call, chosen)
    row = {"setting_id": setting_id, "value": chosen, "changed_at": call.now, "changed_by": call.caller.arn}
    call.db.run(CHOOSE, {**call.tenant, **row})
    return {}


@ssm.operation("ResetServiceSetting", resources=_setting)
def reset_service_setting(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return to the default."""
    setting_id = _known_id(call, request["SettingId"])
    if setting_id in _guards:
        _guards[setting_id](call, KNOWN[setting_id].default)
    call.db.run(REMOVE, {**call.here, "setting": setting_id})
    return {"ServiceSetting": _shape(call, setting_id)}
