"""Keys: made, described, listed, switched off and on, deleted for good after a wait."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from fleetward.server import regions
from fleetward.server.call import Call, Resource, service_context
from fleetward.server.errors import ValidationException
from fleetward.server.iam import evaluate
from fleetward.server.kms import kms
from fleetward.server.kms.ciphertexts import MATERIAL_BYTES
from fleetward.server.kms.errors import (
    KMSInvalidStateException,
    MalformedPolicyDocumentException,
    UnsupportedOperationException,
)
from fleetward.server.kms.policy_texts import check_policy, default_policy, managed_policy
from fleetward.server.kms.table import (
    AWS,
    CUSTOMER,
    DISABLED,
    ENABLED,
    GET_ALIAS,
    KEY_HERE,
    MANAGED_PREFIX,
    PAGE,
    PENDING_DELETION,
    THIS_KEY,
    Found,
    aliases,
    grants,
    key_arn,
    keys,
    marker,
    material_identity,
    materials,
    of_key,
    page,
    search,
    search_changeable,
    search_managed,
)
from fleetward.server.kms.tags import tag_mapping, tags_asked_for
from fleetward.server.schema import in_tenant

MANAGED = ("alias/aws/ssm", "alias/aws/s3")
"""Aliases of the keys that services use when they are told none; they are there from the server's start."""

SHORTEST_WAIT, LONGEST_WAIT = 7, 30
DELETED_AT_ONCE = 50

ADD_KEY = insert(keys)
ADD_MATERIAL = insert(materials)
ADD_MANAGED_ALIAS = insert(aliases)
LIST = (
    select(keys).where(*KEY_HERE, keys.c.key_id > bindparam("after")).order_by(keys.c.key_id).limit(bindparam("most"))
)
SET_DESCRIPTION = update(keys).where(*THIS_KEY).values(description=bindparam("text"))
SET_STATE = update(keys).where(*THIS_KEY).values(state=bindparam("to_state"), deletion_at=bindparam("at"))
DUE_DELETIONS = select(keys.c.account_id, keys.c.region).where(keys.c.deletion_at <= bindparam("now")).distinct()
DELETED = (
    select(keys.c.key_id)
    .where(*KEY_HERE, keys.c.deletion_at <= bindparam("now"))
    .order_by(keys.c.deletion_at)
    .limit(DELETED_AT_ONCE)
)
DELETE_KEY = delete(keys).where(*THIS_KEY)
DELETE_MATERIALS = delete(materials).where(*in_tenant(materials), materials.c.key_id == bindparam("key"))
DELETE_ALIASES = delete(aliases).where(*in_tenant(aliases), aliases.c.key_id == bindparam("key"))
DELETE_GRANTS = delete(grants).where(*in_tenant(grants), grants.c.key_id == bindparam("key"))


@kms.operation("CreateKey", conditions=tags_asked_for)
def create_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make a symmetric key with material of our own; every other kind is refused."""
    _require_symmetric(request)
    policy = request.get("Policy") or default_policy(call.account)
    key_id = call.new_id()
    tags = tag_mapping(request.get("Tags", ()))
    if tags:
        arn = Resource(key_arn(call, key_id))
        call.authorize("kms:TagResource", arn, tags_asked_for(call, request))
    if request.get("Policy"):
        require_policy(call, policy, lockout_is_fine=request.get("BypassPolicyLockoutSafetyCheck", False))
    add_key(call, key_id, description=request.get("Description", ""), policy=policy, tags=tags)
    return {"KeyMetadata": describe(call, search(call, key_id))}


@kms.operation("DescribeKey", resources=of_key, resource_policies=True, reads=True, audience="both")
def describe_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """All that is to know about a key but its material."""
    return {"KeyMetadata": describe(call, search(call, request["KeyId"]))}


@kms.operation("ListKeys", reads=True)
def list_keys(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Every key of account and region in order of id, AWS-managed ones among them."""
    limit = request.get("Limit", PAGE)
    (after,) = marker("ListKeys", request) or [""]
    rows = call.db.all(LIST, **call.here, after=after, most=limit + 1)
    shown, more = page("ListKeys", rows, limit, lambda row: [row.key_id])
    listed = [{"KeyId": row.key_id, "KeyArn": key_arn(call, row.key_id)} for row in shown]
    return {"Keys": listed, **more}


@kms.operation("UpdateKeyDescription", resources=of_key, resource_policies=True)
def update_key_description(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Say something else of a key."""
    found = search_changeable(call, request["KeyId"])
    call.db.run(SET_DESCRIPTION, {**call.here, "key": found.row.key_id, "text": request["Description"]})
    return {}


@kms.operation("EnableKey", resources=of_key, resource_policies=True)
def enable_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Let a key be used again."""
    found = search_changeable(call, request["KeyId"])
    _set_state(call, found, ENABLED)
    return {}


@kms.operation("DisableKey", resources=of_key, resource_policies=True)
def disable_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Let nobody use a key until it is enabled again."""
    found = search_changeable(call, request["KeyId"])
    _set_state(call, found, DISABLED)
    return {}


def _deletion_conditions(call: Call, request: Mapping[str, Any]) -> dict[str, str]:
    return {"kms:ScheduleKeyDeletionPendingWindowInDays": str(request.get("PendingWindowInDays", LONGEST_WAIT))}


@kms.operation("ScheduleKeyDeletion", resources=of_key, resource_policies=True, conditions=_deletion_conditions)
def schedule_key_deletion(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Stop a key and delete it after a wait; what was encrypted under it is lost then."""
    days = request.get("PendingWindowInDays", LONGEST_WAIT)
    if not SHORTEST_WAIT <= days <= LONGEST_WAIT:
        raise ValidationException(
            f"PendingWindowInDays must be between {SHORTEST_WAIT} and {LONGEST_WAIT}, not {days}."
        )
    found = search_changeable(call, request["KeyId"])
    at = call.now + timedelta(days=days)
    call.db.run(SET_STATE, {**call.here, "key": found.row.key_id, "to_state": PENDING_DELETION, "at": at})
    return {"KeyId": found.arn, "DeletionDate": at, "KeyState": PENDING_DELETION, "PendingWindowInDays": days}


@kms.operation("CancelKeyDeletion", resources=of_key, resource_policies=True)
def cancel_key_deletion(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a key after all; it stays disabled until it is enabled."""
    found = search_managed(call, request["KeyId"])
    if found.row.state != PENDING_DELETION:
        raise KMSInvalidStateException(f"{found.arn} is not pending deletion.")
    _set_state(call, found, DISABLED)
    return {"KeyId": found.arn}


@kms.timer(every=timedelta(minutes=1), due=DUE_DELETIONS)
def delete_due(call: Call) -> bool:
    """Delete the keys whose wait is over, with material, aliases and grants; whether there may be more."""
    gone = call.db.values(DELETED, **call.here, now=call.now)
    which = [{**call.here, "key": key_id} for key_id in gone]
    for statement in (DELETE_GRANTS, DELETE_ALIASES, DELETE_MATERIALS, DELETE_KEY):
        call.db.run(statement, which)
    return len(gone) == DELETED_AT_ONCE


def add_key(
    call: Call, key_id: str, *, description: str, policy: str, tags: Mapping[str, str], manager: str = CUSTOMER
) -> None:
    """A key with its first material."""
    call.db.run(
        ADD_KEY,
        {
            **call.tenant,
            "key_id": key_id,
            "description": description,
            "state": ENABLED,
            "manager": manager,
            "policy": policy,
            "tags": dict(tags),
            "material": 1,
            "created_at": call.now,
            "deletion_at": None,
            "rotation_days": None if manager == CUSTOMER else 365,
            "rotates_at": None if manager == CUSTOMER else call.now + timedelta(days=365),
        },
    )
    add_material(call, key_id, 1, None)


def add_material(call: Call, key_id: str, number: int, rotation: str | None) -> None:
    """New random material of a key, sealed so that it opens as this one alone."""
    sealed = call.keys.seal(secrets.token_bytes(MATERIAL_BYTES), material_identity(call, key_id, number))
    call.db.run(
        ADD_MATERIAL,
        {
            **call.tenant,
            "key_id": key_id,
            "number": number,
            "material_id": secrets.token_hex(32),
            "sealed": sealed,
            "rotation": rotation,
            "created_at": call.now,
        },
    )


@kms.timer(every=timedelta(seconds=30))
def create_managed_keys(call: Call) -> None:
    """Entry: the AWS-managed keys of every region served; those that exist are left alone."""
    for region in regions.listed(call):
        context = service_context(call.account, region.name)
        there = Call(context, now=call.now, db=call.db, settings=call.settings, keys=call.keys)
        for alias in MANAGED:
            create_managed_key(there, alias)


def create_managed_key(call: Call, alias: str) -> None:
    """One AWS-managed key, unless it exists."""
    if call.db.first(GET_ALIAS, **call.here, alias=alias) is not None:
        return
    service = alias.removeprefix(MANAGED_PREFIX)
    key_id = call.new_id()
    add_key(
        call,
        key_id,
        description=f"Protects what {service} keeps encrypted when no other key is named",
        policy=managed_policy(call.account, call.region, service),
        tags={},
        manager=AWS,
    )
    row = {"name": alias, "key_id": key_id, "created_at": call.now, "changed_at": call.now}
    call.db.run(ADD_MANAGED_ALIAS, {**call.tenant, **row})


def require_policy(call: Call, text: str, *, lockout_is_fine: bool) -> None:
    """Refuse a key policy that cannot be read, or that would leave the caller unable to change it again."""
    try:
        policy = check_policy(text)
    except evaluate.MalformedPolicy as fault:
        raise MalformedPolicyDocumentException(f"The key policy cannot be used: {fault}") from fault
    if lockout_is_fine or call.caller.kind == "service":
        return
    own = call.caller.policies or evaluate.PolicySet(identity=(_EVERYTHING,))
    request = evaluate.Request("kms:PutKeyPolicy", "*", _lasting(call), call.caller.names)
    decided = evaluate.decide(own.with_resource((policy,), evaluate.ResourceRule.MUST_ALLOW), request)
    if not decided.allowed:
        raise MalformedPolicyDocumentException(
            "The new key policy will not allow you to update the key policy in the future."
        )


_EVERYTHING = evaluate.compile_policy(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}, name="everything"
)


def _lasting(call: Call) -> dict[str, Any]:
    return {**call.caller.context, "kms:CallerAccount": call.caller.account}


def describe(call: Call, found: Found) -> dict[str, Any]:
    """KeyMetadata of a key."""
    row = found.row
    current = call.db.value(MATERIAL_ID, **call.here, key=row.key_id, number=row.material)
    shown = {
        "AWSAccountId": call.account,
        "KeyId": row.key_id,
        "Arn": found.arn,
        "CreationDate": row.created_at,
        "Enabled": row.state == ENABLED,
        "Description": row.description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": row.state,
        "DeletionDate": row.deletion_at,
        "Origin": "AWS_KMS",
        "KeyManager": row.manager,
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": False,
        "CurrentKeyMaterialId": current,
    }
    return {name: value for name, value in shown.items() if value is not None}


MATERIAL_ID = select(materials.c.material_id).where(
    *in_tenant(materials), materials.c.key_id == bindparam("key"), materials.c.number == bindparam("number")
)


def _set_state(call: Call, found: Found, state: str) -> None:
    call.db.run(SET_STATE, {**call.here, "key": found.row.key_id, "to_state": state, "at": None})


def _require_symmetric(request: Mapping[str, Any]) -> None:
    spec = request.get("KeySpec") or request.get("CustomerMasterKeySpec") or "SYMMETRIC_DEFAULT"
    for member, value, only in (
        ("KeySpec", spec, "SYMMETRIC_DEFAULT"),
        ("KeyUsage", request.get("KeyUsage", "ENCRYPT_DECRYPT"), "ENCRYPT_DECRYPT"),
        ("Origin", request.get("Origin", "AWS_KMS"), "AWS_KMS"),
    ):
        if value != only:
            raise UnsupportedOperationException(f"{member} {value} is not offered by this server; only {only} is.")
    for member in ("CustomKeyStoreId", "XksKeyId"):
        if request.get(member):
            raise UnsupportedOperationException(f"{member}: key stores are not offered by this server.")
    if request.get("MultiRegion"):
        raise UnsupportedOperationException("MultiRegion: multi-Region keys are not offered by this server.")
    if request.get("KeySpec") and request.get("CustomerMasterKeySpec"):
        raise ValidationException("You cannot specify KeySpec and CustomerMasterKeySpec in the same request.")
