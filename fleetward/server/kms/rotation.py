"""Rotation: new material for a key, by itself or when told; what older material encrypted stays readable."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, select, update

from fleetward.server.call import Call
from fleetward.server.kms import kms
from fleetward.server.kms.errors import LimitExceededException
from fleetward.server.kms.keys import add_material
from fleetward.server.kms.table import (
    ENABLED,
    KEY_HERE,
    PAGE,
    PENDING_DELETION,
    THIS_KEY,
    keys,
    marker,
    materials,
    of_key,
    page,
    require_usable,
    search,
    search_managed,
)
from fleetward.server.schema import in_tenant

YEAR = 365
MOST_ON_DEMAND = 25
"""Rotations on demand of one key (KMS developer guide, "Resource quotas")."""
AT_ONCE = 100

SET_ROTATION = update(keys).where(*THIS_KEY).values(rotation_days=bindparam("days"), rotates_at=bindparam("at"))
SET_MATERIAL = update(keys).where(*THIS_KEY).values(material=bindparam("number"))
DUE_TENANTS = (
    select(keys.c.account_id, keys.c.region)
    .where(keys.c.rotates_at <= bindparam("now"), keys.c.state == ENABLED)
    .distinct()
)
DUE = (
    select(keys)
    .where(*KEY_HERE, keys.c.rotates_at <= bindparam("now"), keys.c.state == ENABLED)
    .order_by(keys.c.rotates_at)
    .limit(AT_ONCE)
    .with_for_update()
)
_OF_KEY = (*in_tenant(materials), materials.c.key_id == bindparam("key"))
COUNT_ON_DEMAND = select(func.count()).select_from(materials).where(*_OF_KEY, materials.c.rotation == "ON_DEMAND")
LIST = (
    select(materials)
    .where(*_OF_KEY, materials.c.number > bindparam("after"))
    .order_by(materials.c.number)
    .limit(bindparam("most"))
)


def _conditions(call: Call, request: Mapping[str, Any]) -> dict[str, str]:
    return {"kms:RotationPeriodInDays": str(request.get("RotationPeriodInDays", YEAR))}


@kms.operation("EnableKeyRotation", resources=of_key, resource_policies=True, conditions=_conditions)
def enable_key_rotation(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have a key get new material every so many days from now on, by default 365."""
    found = search_managed(call, request["KeyId"])
    require_usable(found)
    days = request.get("RotationPeriodInDays", YEAR)
    at = call.now + timedelta(days=days)
    call.db.run(SET_ROTATION, {**call.here, "key": found.row.key_id, "days": days, "at": at})
    return {}


@kms.operation("DisableKeyRotation", resources=of_key, resource_policies=True)
def disable_key_rotation(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Let a key keep its material."""
    found = search_managed(call, request["KeyId"])
    require_usable(found)
    call.db.run(SET_ROTATION, {**call.here, "key": found.row.key_id, "days": None, "at": None})
    return {}


@kms.operation("GetKeyRotationStatus", resources=of_key, resource_policies=True, reads=True)
def get_key_rotation_status(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Whether, how often and when next a key gets new material."""
    found = search(call, request["KeyId"], by_alias=False)
    row = found.row
    if row.rotation_days is None or row.state == PENDING_DELETION:
        return {"KeyId": found.arn, "KeyRotationEnabled": False}
    return {
        "KeyId": found.arn,
        "KeyRotationEnabled": True,
        "RotationPeriodInDays": row.rotation_days,
        "NextRotationDate": row.rotates_at,
    }


@kms.operation("RotateKeyOnDemand", resources=of_key, resource_policies=True)
def rotate_key_on_demand(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give a key new material now; the dates of its own rotation stay."""
    found = search_managed(call, request["KeyId"])
    require_usable(found)
    if call.db.value(COUNT_ON_DEMAND, **call.here, key=found.row.key_id) >= MOST_ON_DEMAND:
        raise LimitExceededException(f"A key can be rotated on demand {MOST_ON_DEMAND} times.")
    _rotate(call, found.row.key_id, found.row.material, "ON_DEMAND")
    return {"KeyId": found.arn}


@kms.operation("ListKeyRotations", resources=of_key, resource_policies=True, reads=True)
def list_key_rotations(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The rotations of a key, oldest first; with ALL_KEY_MATERIAL its first material too."""
    found = search(call, request["KeyId"], by_alias=False)
    everything = request.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
    limit = request.get("Limit", PAGE)
    (after,) = marker("ListKeyRotations", request) or [0 if everything else 1]
    rows = call.db.all(LIST, **call.here, key=found.row.key_id, after=after, most=limit + 1)
    shown, more = page("ListKeyRotations", rows, limit, lambda row: [row.number])
    listed = []
    for row in shown:
        entry = {
            "KeyId": found.arn,
            "KeyMaterialId": row.material_id,
            "KeyMaterialState": "CURRENT" if row.number == found.row.material else "NON_CURRENT",
        }
        listed.append(entry | ({"RotationDate": row.created_at, "RotationType": row.rotation} if row.rotation else {}))
    return {"Rotations": listed, **more}


@kms.timer(every=timedelta(minutes=10), due=DUE_TENANTS)
def rotate_due(call: Call) -> bool:
    """Rotate the keys whose day has come; one that was disabled meanwhile is rotated once, when it is enabled."""
    rows = call.db.all(DUE, **call.here, now=call.now)
    for row in rows:
        _rotate(call, row.key_id, row.material, "AUTOMATIC")
        at = _next(row.rotates_at, row.rotation_days, call.now)
        call.db.run(SET_ROTATION, {**call.here, "key": row.key_id, "days": row.rotation_days, "at": at})
    return len(rows) == AT_ONCE


def _next(due: datetime, days: int, now: datetime) -> datetime:
    missed = (now - due) // timedelta(days=days)
    return due + timedelta(days=days) * (missed + 1)


def _rotate(call: Call, key_id: str, current: int, kind: str) -> None:
    add_material(call, key_id, current + 1, kind)
    call.db.run(SET_MATERIAL, {**call.here, "key": key_id, "number": current + 1})
