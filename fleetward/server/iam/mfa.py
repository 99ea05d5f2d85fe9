"""MFA: virtual devices that show codes which change every 30 seconds (RFC 6238), and whether a code is right."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException, AwsError
from fleetward.server.iam import limits, names, principals, tags, users
from fleetward.server.iam.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    InvalidAuthenticationCodeException,
    NoSuchEntityException,
)
from fleetward.server.iam.service import iam, request_conditions
from fleetward.server.iam.tables import mfa_devices

SEED_BYTES = 40
"""What AWS hands out: 64 letters of base 32."""
STEP_SECONDS = 30
DIGITS = 6
DRIFT = 1
"""Steps that a device's clock may be before or behind ours."""
MOST_FAILURES = 5
PAUSE = timedelta(minutes=1)
"""Ours: after so many wrong codes in a row a device accepts none for this long."""

ADD = insert(mfa_devices)
_THIS = (mfa_devices.c.account_id == bindparam("account"), mfa_devices.c.name == bindparam("device_name"))
DEVICE = select(mfa_devices).where(*_THIS)
SAME_NAME = select(mfa_devices.c.name).where(
    mfa_devices.c.account_id == bindparam("account"), mfa_devices.c.folded == bindparam("in_lower_case")
)
OF_USER = select(mfa_devices).where(mfa_devices.c.user_id == bindparam("of_user"))
LIST = (
    select(mfa_devices)
    .where(mfa_devices.c.account_id == bindparam("account"), mfa_devices.c.folded > bindparam("after"))
    .order_by(mfa_devices.c.folded)
    .limit(bindparam("most"))
)
LIST_ASSIGNED = LIST.where(mfa_devices.c.enabled_at.is_not(None))
LIST_UNASSIGNED = LIST.where(mfa_devices.c.enabled_at.is_(None))
LISTS = {"Assigned": LIST_ASSIGNED, "Unassigned": LIST_UNASSIGNED, "Any": LIST}
ENABLE = (
    update(mfa_devices)
    .where(*_THIS)
    .values(user_id=bindparam("to_user"), enabled_at=bindparam("at"), counter=bindparam("to_counter"))
)
COUNT_FAILURE = update(mfa_devices).where(*_THIS).values(failures=bindparam("number"), paused_until=bindparam("until"))
ACCEPT = update(mfa_devices).where(*_THIS).values(counter=bindparam("to_counter"), failures=0, paused_until=None)
REMOVE = delete(mfa_devices).where(*_THIS)
SET_TAGS = tags.set_tags(mfa_devices, "name")


def code_at(seed: bytes, counter: int) -> str:
    """The code of one step, six digits (RFC 4226, section 5.3)."""
    digest = hmac.digest(seed, counter.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_at(moment: datetime) -> int:
    """The number of the 30-second step that `moment` lies in."""
    return int(moment.timestamp()) // STEP_SECONDS


def matching_step(seed: bytes, code: str, present: int, after: int) -> int | None:
    """The step whose code this is, one step around the present, later than `after`; None for a wrong or used code."""
    found = None
    for step in range(present - DRIFT, present + DRIFT + 1):
        if hmac.compare_digest(code_at(seed, step).encode(), code.encode()) and step > after:
            found = step
    return found


def serial_of(row: Row[Any]) -> str:
    """A virtual device's serial number: its ARN."""
    return names.entity_arn(row.account_id, "mfa", row.path, row.name)


def look_up(call: Call, serial: str) -> Row[Any] | None:
    """A device by its serial number, or None."""
    parsed = names.parse_arn(serial, "mfa")
    if parsed is None or parsed[0] != call.account:
        return None
    row = call.db.first(DEVICE, account=call.account, device_name=parsed[2])
    return None if row is None or row.path != parsed[1] else row


def find(call: Call, serial: str) -> Row[Any]:
    """A device's row; NoSuchEntity."""
    row = look_up(call, serial)
    if row is None:
        raise NoSuchEntityException(f"VirtualMFADevice with serial number {serial} doesn't exist.")
    return row


def of_user(call: Call, user_id: str) -> list[Row[Any]]:
    """The devices that a user (root: its account's number) signs in with."""
    return [row for row in call.db.all(OF_USER, of_user=user_id) if row.enabled_at is not None]


def verify(call: Call, user_id: str, serial: str, code: str) -> AwsError | None:
    """Use up a code of a user's device; the error to *return* when it is wrong, so that the failure stays counted."""
    row = look_up(call, serial)
    if row is None or row.user_id != user_id or row.enabled_at is None:
        return AccessDeniedException("MultiFactorAuthentication failed, unable to validate MFA code.")
    this = {"account": call.account, "device_name": row.name}
    if row.paused_until is not None and row.paused_until > call.now:
        return AccessDeniedException("MultiFactorAuthentication failed: too many wrong codes, try again in a minute.")
    step = matching_step(_seed(call, row), code, step_at(call.now), row.counter)
    if step is None:
        number = row.failures + 1
        until = call.now + PAUSE if number >= MOST_FAILURES else None
        call.db.run(COUNT_FAILURE, {**this, "number": 0 if until else number, "until": until})
        return AccessDeniedException("MultiFactorAuthentication failed with invalid MFA one time pass code.")
    call.db.run(ACCEPT, {**this, "to_counter": step})
    return None


def fits(call: Call, serial: str, code: str) -> bool:
    """Whether a code is one that the device shows at present, used or not; nothing is counted."""
    row = look_up(call, serial)
    return row is not None and matching_step(_seed(call, row), code, step_at(call.now), -1) is not None


def _seed(call: Call, row: Row[Any]) -> bytes:
    return call.keys.open(row.seed, f"mfa/{serial_of(row)}")


def resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the device."""
    row = look_up(call, request["SerialNumber"])
    return (Resource(request["SerialNumber"], row.tags if row is not None else None),)


def _new_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    path, name = request.get("Path", "/"), request["VirtualMFADeviceName"]
    return (Resource(names.entity_arn(call.account, "mfa", path, name)),)


@iam.operation("CreateVirtualMFADevice", resources=_new_resource, conditions=request_conditions)
def create_virtual_mfa_device(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A device that belongs to nobody yet; this answer alone shows the seed that goes into the authenticator."""
    path, name = request.get("Path", "/"), request["VirtualMFADeviceName"]
    if call.db.value(SAME_NAME, account=call.account, in_lower_case=name.lower()) is not None:
        raise EntityAlreadyExistsException("MFADevice entity at the same path and name already exists.")
    seed, serial = secrets.token_bytes(SEED_BYTES), names.entity_arn(call.account, "mfa", path, name)
    row = {
        "account_id": call.account,
        "name": name,
        "folded": name.lower(),
        "path": path,
        "seed": call.keys.seal(seed, f"mfa/{serial}"),
        "counter": 0,
        "failures": 0,
        "tags": names.tag_mapping(request.get("Tags", ())),
        "created_at": names.now(call),
    }
    call.db.run(ADD, row)
    return {"VirtualMFADevice": {"SerialNumber": serial, "Base32StringSeed": base64.b32encode(seed)}}


@iam.operation("EnableMFADevice", resources=users.resource)
def enable_mfa_device(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give a device to a user, who proves with two consecutive codes that the seed has arrived."""
    owner, row = _owner(call, request["UserName"]), find(call, request["SerialNumber"])
    if row.enabled_at is not None:
        raise EntityAlreadyExistsException("MFA Device is already in use.")
    limits.exceeded("MFADevicesPerUser", len(of_user(call, owner.user_id)))
    step = _two_codes(call, row, request)
    values = {"to_user": owner.user_id, "at": names.now(call), "to_counter": step}
    call.db.run(ENABLE, {"account": call.account, "device_name": row.name, **values})
    return {}


@iam.operation("ResyncMFADevice", resources=users.resource)
def resync_mfa_device(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Two consecutive codes show that the device still holds its seed; what was used up before stays so."""
    owner, row = _owner(call, request["UserName"]), find(call, request["SerialNumber"])
    if row.user_id != owner.user_id:
        raise NoSuchEntityException(f"Device {request['SerialNumber']} does not belong to {owner.name}.")
    step = _two_codes(call, row, request)
    call.db.run(ACCEPT, {"account": call.account, "device_name": row.name, "to_counter": step})
    return {}


def _two_codes(call: Call, row: Row[Any], request: Mapping[str, Any]) -> int:
    """The second of two consecutive codes' steps; the pair may be ten steps off, since two codes are hard to guess."""
    seed, present = _seed(call, row), step_at(call.now)
    first, second = request["AuthenticationCode1"], request["AuthenticationCode2"]
    for step in range(present - 10, present + 10):
        codes = code_at(seed, step), code_at(seed, step + 1)
        if hmac.compare_digest("".join(codes), first + second) and step + 1 > row.counter:
            return step + 1
    raise InvalidAuthenticationCodeException("Authentication code for device is not valid.")


def _owner(call: Call, name: str) -> users.Owner:
    if name == users.ROOT and call.caller.kind == "root":
        return users.owner(call, {})
    return users.owner(call, {"UserName": name})


@iam.operation("DeactivateMFADevice", resources=users.resource)
def deactivate_mfa_device(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The user signs in without this device again; the device can be given to somebody."""
    owner, row = users.owner(call, request), find(call, request["SerialNumber"])
    if row.user_id != owner.user_id:
        raise NoSuchEntityException(f"Device {request['SerialNumber']} does not belong to {owner.name}.")
    values = {"to_user": None, "at": None, "to_counter": row.counter}
    call.db.run(ENABLE, {"account": call.account, "device_name": row.name, **values})
    return {}


@iam.operation("DeleteVirtualMFADevice", resources=resource)
def delete_virtual_mfa_device(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a device that belongs to nobody."""
    row = find(call, request["SerialNumber"])
    if row.enabled_at is not None:
        raise DeleteConflictException("MFA VirtualDevice in use. Must deactivate first.")
    call.db.run(REMOVE, {"account": call.account, "device_name": row.name})
    return {}


def _user_name(call: Call, user_id: str) -> str:
    row = principals.user_by_id(call, user_id)
    return users.ROOT if row is None else str(row.name)


@iam.operation("GetMFADevice", resources=users.resource, reads=True)
def get_mfa_device(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Whose a device is and since when."""
    row = find(call, request["SerialNumber"])
    wanted = users.owner(call, request).user_id if "UserName" in request else row.user_id
    if row.enabled_at is None or wanted != row.user_id:
        raise NoSuchEntityException(f"MFA device {request['SerialNumber']} is not enabled for this user.")
    return {"UserName": _user_name(call, row.user_id), "SerialNumber": serial_of(row), "EnableDate": row.enabled_at}


@iam.operation("ListMFADevices", resources=users.resource, reads=True)
def list_mfa_devices(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The devices of a user."""
    owner = users.owner(call, request)
    shown, more = names.paged("ListMFADevices", of_user(call, owner.user_id), request, lambda row: str(row.folded))
    listed = [{"UserName": owner.name, "SerialNumber": serial_of(row), "EnableDate": row.enabled_at} for row in shown]
    return {"MFADevices": listed, **more}


@iam.operation("ListVirtualMFADevices", reads=True)
def list_virtual_mfa_devices(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """All devices of the account, those in use or those not."""
    statement = LISTS[request.get("AssignmentStatus", "Any")]
    after, most = names.text_after("ListVirtualMFADevices", request), names.size_of(request) + 1
    rows = call.db.all(statement, account=call.account, after=after, most=most)
    shown, more = names.page("ListVirtualMFADevices", rows, request, lambda row: str(row.folded))
    return {"VirtualMFADevices": [_virtual_shape(call, row) for row in shown], **more}


def _virtual_shape(call: Call, row: Row[Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"SerialNumber": serial_of(row), **names.tagged(row.tags)}
    if row.enabled_at is None:
        return shown
    user = principals.user_by_id(call, row.user_id)
    if user is not None:
        shown["User"] = users.shape(user, whole=False)
    else:
        arn, since = principals.root_arn(call.account), row.created_at
        shown["User"] = {"Path": "/", "UserName": users.ROOT, "UserId": call.account, "Arn": arn, "CreateDate": since}
    return {**shown, "EnableDate": row.enabled_at}


tags.register(tags.Carrier("MFADevice", "SerialNumber", find, find, resource, "name", SET_TAGS))
