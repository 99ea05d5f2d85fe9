"""Registration: how machines become nodes, prove who they are, change keys and leave."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from sqlalchemy import Row, bindparam, delete, func, insert, literal, select, update

from fleetward.server import mailbox, presence, resource_groups
from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException, AwsError, ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam import principals
from fleetward.server.keys import TemporaryCredentials, new_access_key_id, new_secret_access_key
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import service_settings, ssm, tags
from fleetward.server.ssm.errors import InvalidActivation, MachineFingerprintDoesNotMatch
from fleetward.server.ssm.nodes import trust
from fleetward.server.ssm.nodes.table import (
    HERE,
    RESOURCE_TYPE,
    THIS,
    WHOLE,
    FingerprintChanged,
    NodeConflict,
    NodeJoined,
    NodeLeft,
    arn,
    exists,
    lock,
    nodes,
    pings,
    require,
    scope,
    seen,
    tagged,
    unknown,
)

STANDARD_TIER_LIMIT = 1000
PREVIOUS_KEY_GOOD_FOR = timedelta(days=30)
REKEYED_AGAIN_WITHIN = timedelta(hours=24)
KEY_BITS = range(2048, 4097)
PREVIOUS_KEY = "fleetward:PreviousKey"
"""Condition key of calls that were signed with a rotated-out key."""

ADD = insert(nodes)
ADD_PING = insert(pings)
REGISTERED_KEY = select(nodes.c.node_id).where(
    *HERE, nodes.c.key_hash == bindparam("hashed"), nodes.c.activation_id == bindparam("activation")
)
KEYS = select(nodes.c.public_key, nodes.c.previous_public_key, nodes.c.previous_until).where(*THIS)
COUNT_TO_LIMIT = select(func.count()).select_from(
    select(literal(1).label("one")).select_from(nodes).where(*HERE).limit(bindparam("most")).subquery()
)
SWITCH_KEY = (
    update(nodes)
    .where(*THIS)
    .values(
        public_key=bindparam("to_key"),
        previous_public_key=bindparam("from_key"),
        previous_until=bindparam("until"),
        rekeyed_by_previous_at=bindparam("rekeyed_at"),
        rotation_requested=False,
    )
)
ASK_FOR_ROTATION = update(nodes).where(*THIS).values(rotation_requested=True)
REMEMBER_FINGERPRINT = (
    update(nodes)
    .where(*THIS)
    .values(
        fingerprint=bindparam("to_fingerprint"),
        fingerprint_state=bindparam("to_state"),
        other_fingerprint=bindparam("other"),
        fingerprint_changed_at=bindparam("changed_at"),
        fingerprint_returns=bindparam("returns"),
    )
)
QUARANTINE = update(nodes).where(*THIS).values(quarantined_at=bindparam("since"), quarantine_reason=bindparam("reason"))
CHANGE_ROLE = update(nodes).where(*THIS).values(iam_role=bindparam("to_role"))
REMOVE = delete(nodes).where(*THIS)
REMOVE_PING = delete(pings).where(*in_tenant(pings), pings.c.node_id == bindparam("node"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What an activation lets a machine become."""

    activation_id: str
    iam_role: str
    name: str
    tags: Mapping[str, str]
    public_key: bytes
    fingerprint: str


def read_public_key(text: str) -> bytes:
    """The DER bytes of a base64 SubjectPublicKeyInfo; raises ValidationException unless it is RSA, 2048 to 4096 bit."""
    try:
        der = base64.b64decode(text, validate=True)
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise ValidationException("The public key is not a base64 DER SubjectPublicKeyInfo.") from fault
    if not isinstance(key, RSAPublicKey) or key.key_size not in KEY_BITS:
        raise ValidationException("The public key must be RSA with 2048 to 4096 bit.")
    return der


def find_registered(call: Call, activation_id: str, public_key: bytes) -> str | None:
    """The node that this key already became by this activation: the answer to a registration that is repeated."""
    node_id: str | None = call.db.value(
        REGISTERED_KEY, **scope(call, hashed=_hash(public_key), activation=activation_id)
    )
    return node_id


def admit(call: Call, admission: Admission) -> str:
    """Make a node with a new id `mi-…`. Raises InvalidActivation when the standard tier's 1,000 nodes are reached."""
    standard = service_settings.value(call, service_settings.ACTIVATION_TIER) == "standard"
    if standard and _at_least(call, STANDARD_TIER_LIMIT):
        raise InvalidActivation(
            f"This account and Region has {STANDARD_TIER_LIMIT} nodes, the standard tier's limit;"
            f" set {service_settings.ACTIVATION_TIER} to advanced."
        )
    node_id = call.new_hex("mi-")
    row = {
        "node_id": node_id,
        "activation_id": admission.activation_id,
        "iam_role": admission.iam_role,
        "name": admission.name,
        "created_at": call.now,
        "public_key": admission.public_key,
        "key_hash": _hash(admission.public_key),
        "fingerprint": admission.fingerprint,
    }
    call.db.run(ADD, {**call.tenant, **row})
    call.db.run(ADD_PING, {**call.tenant, "node_id": node_id})
    tags.put(call, RESOURCE_TYPE, node_id, admission.tags)
    call.emit(NodeJoined(node_id))
    return node_id


def check_role(call: Call, name: str) -> principals.Role:
    """The role that nodes are to act as; ValidationException unless it exists and trusts Systems Manager.

    The caller must also be allowed to pass it (iam:PassRole).
    """
    role = principals.find_role(call, name)
    if role is None:
        raise ValidationException(f"Not existing role: arn:aws:iam::{call.account}:role/{name}")
    call.authorize("iam:PassRole", Resource(role.arn), keys_of.passed_to(principals.SSM_SERVICE))
    if not principals.trusts_service(call, role):
        raise ValidationException(f"The role {role.arn} does not trust {principals.SSM_SERVICE}.")
    return role


def signing_keys(call: Call, node_id: str) -> tuple[bytes, bytes | None] | None:
    """Entry: the node's public key and, for 30 days, the one before it (DER); None when it is not registered."""
    row = call.db.first(KEYS, **scope(call, node=node_id))
    if row is None:
        return None
    good = row.previous_until is not None and row.previous_until > call.now
    return row.public_key, row.previous_public_key if good else None


def request_key_rotation(call: Call, node_id: str) -> None:
    """Have the node make a new key when it next asks for a token; raises InvalidInstanceId."""
    if not call.db.run(ASK_FOR_ROTATION, scope(call, node=node_id)):
        raise unknown([node_id])


def approve_fingerprint(call: Call, node_id: str) -> None:
    """An operator accepts the fingerprint that waits for approval (or was refused); raises InvalidInstanceId."""
    row = lock(call, node_id)
    if row.fingerprint_state in (trust.State.WAITING, trust.State.REFUSED):
        _remember(call, node_id, trust.Known(row.other_fingerprint))


def quarantine(call: Call, node_id: str, reason: str) -> None:
    """Two machines hold the node's key: it gets no more credentials and those it has end, until `release`."""
    call.db.run(QUARANTINE, scope(call, node=node_id, since=call.now, reason=reason[:256]))
    principals.revoke(call, arn(call, node_id))
    presence.forget(call, node_id)
    call.wake_node(node_id)
    call.emit(NodeConflict(node_id, reason))


def trust_of(call: Call, node_id: str) -> dict[str, Any]:
    """How a node's identity stands, for an operator: fingerprint state, quarantine; raises InvalidInstanceId."""
    row = call.db.first(WHOLE, **scope(call, node=node_id))
    if row is None:
        raise unknown([node_id])
    return {
        "InstanceId": node_id,
        "FingerprintState": row.fingerprint_state,
        "Quarantined": row.quarantined_at is not None,
        "Reason": row.quarantine_reason or "",
        "KeyRotationRequested": bool(row.rotation_requested),
    }


def release(call: Call, node_id: str) -> None:
    """An operator has seen to the conflict: the present holder of the key is the node; raises InvalidInstanceId."""
    row = lock(call, node_id)
    call.db.run(QUARANTINE, scope(call, node=node_id, since=None, reason=None))
    _remember(call, node_id, trust.Known(row.fingerprint))


def _own(call: Call, request: Mapping[str, Any]) -> list[Resource]:
    return [Resource(arn(call, call.caller.node_id))]


@ssm.operation("RequestManagedInstanceRoleToken", resources=_own, audience="node", signature="rsa")
def request_managed_instance_role_token(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | AwsError:
    """Temporary keys of the node's role. An error is returned, not raised, where what was learned must be kept."""
    node_id = call.caller.node_id
    row = lock(call, node_id)
    _refuse_quarantined(row)
    if call.caller.context.get(PREVIOUS_KEY):
        raise AccessDeniedException(
            f"The key of {node_id} was rotated out; it is good for UpdateManagedInstancePublicKey."
        )
    refusal = _check_fingerprint(call, row, request["Fingerprint"])
    if refusal is not None:
        return refusal
    seen(call, [node_id])
    return _token(call, row)


@ssm.operation("UpdateManagedInstancePublicKey", resources=_own, audience="node", signature="rsa", audit=True)
def update_managed_instance_public_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any] | AwsError:
    """Switch to a new key at once; the old one stays good for switching alone, for 30 days."""
    node_id = call.caller.node_id
    row = lock(call, node_id)
    _refuse_quarantined(row)
    fresh = read_public_key(request["NewPublicKey"])
    if fresh == row.public_key:
        return {}  # the answer to the first try was lost
    by_previous = bool(call.caller.context.get(PREVIOUS_KEY))
    last = row.rekeyed_by_previous_at
    if by_previous and last is not None and call.now - last < REKEYED_AGAIN_WITHIN:
        # Ours: a reverted snapshot does this once; two holders of the same former key keep doing it
        quarantine(call, node_id, "holders of the same rotated-out key keep replacing each other's key")
        return _quarantined(node_id)
    call.db.run(
        SWITCH_KEY,
        scope(
            call,
            node=node_id,
            to_key=fresh,
            from_key=row.public_key,
            until=call.now + PREVIOUS_KEY_GOOD_FOR,
            rekeyed_at=call.now if by_previous else last,
        ),
    )
    return {}


def _node(call: Call, request: Mapping[str, Any]) -> list[Resource]:
    return [tagged(call, request["InstanceId"])]


@ssm.operation("DeregisterManagedInstance", resources=_node, audience="both")
def deregister_managed_instance(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Forget a node: its credentials, channel and waiting work end at once; its history stays.

    Ours: a node that leaves may deregister itself.
    """
    node_id = request["InstanceId"]
    (row,) = require(call, [node_id])
    facts = {str(name): value for name, value in row._asdict().items()}
    call.db.run(REMOVE, scope(call, node=node_id))
    call.db.run(REMOVE_PING, scope(call, node=node_id))
    principals.revoke(call, arn(call, node_id))
    tags.drop(call, RESOURCE_TYPE, node_id)
    resource_groups.forget(call, RESOURCE_TYPE, node_id)
    mailbox.clear(call, node_id)
    presence.forget(call, node_id)
    call.wake_node(node_id)
    call.emit(NodeLeft(node_id, facts))
    return {}


@ssm.operation("UpdateManagedInstanceRole", resources=_node)
def update_managed_instance_role(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give a node another role. Ours: keys it has already stay as they are until they expire, as those of AWS do."""
    if not exists(call, request["InstanceId"]):
        raise unknown([request["InstanceId"]])
    check_role(call, request["IamRole"])
    call.db.run(CHANGE_ROLE, scope(call, node=request["InstanceId"], to_role=request["IamRole"]))
    return {}


def _keep_standard_tier(call: Call, chosen: str) -> None:
    if chosen == "standard" and _at_least(call, STANDARD_TIER_LIMIT + 1):
        raise ValidationException(
            f"More than {STANDARD_TIER_LIMIT} nodes are registered; the standard tier allows no more."
        )


service_settings.guard(service_settings.ACTIVATION_TIER, _keep_standard_tier)


def _at_least(call: Call, number: int) -> bool:
    """Whether there are so many nodes; looks at no more than that."""
    found: int = call.db.value(COUNT_TO_LIMIT, **scope(call, most=number))
    return found >= number


def _hash(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()


def _refuse_quarantined(row: Row[Any]) -> None:
    if row.quarantined_at is not None:
        raise _quarantined(row.node_id)


def _quarantined(node_id: str) -> AccessDeniedException:
    return AccessDeniedException(
        f"{node_id} is quarantined: two machines hold its key. Register the copy anew, then release the node."
    )


def _check_fingerprint(call: Call, row: Row[Any], shown: str) -> AwsError | None:
    """Remember what the fingerprint tells; the error to answer, None when the machine is accepted."""
    known = trust.Known(
        row.fingerprint,
        trust.State(row.fingerprint_state),
        row.other_fingerprint,
        row.fingerprint_changed_at,
        row.fingerprint_returns,
    )
    window = timedelta(seconds=call.settings.node_token_lifetime)
    verdict, then = trust.judge(known, shown, call.settings.fingerprint_policy, call.now, window)
    if then != known:
        _remember(call, row.node_id, then)
        if (then.state, then.other) != (known.state, known.other) and then.state != trust.State.KNOWN:
            call.emit(FingerprintChanged(row.node_id, then.state.value))
    if verdict == trust.Verdict.CONFLICT:
        quarantine(call, row.node_id, "two machines with different fingerprints take turns with its key")
        return _quarantined(row.node_id)
    if verdict == trust.Verdict.WAIT:
        return AccessDeniedException(f"The fingerprint of {row.node_id} changed; an operator must approve it.")
    if verdict == trust.Verdict.REFUSE:
        return MachineFingerprintDoesNotMatch(f"The fingerprint is not the one that {row.node_id} registered with.")
    return None


def _remember(call: Call, node_id: str, known: trust.Known) -> None:
    call.db.run(
        REMEMBER_FINGERPRINT,
        scope(
            call,
            node=node_id,
            to_fingerprint=known.fingerprint,
            to_state=known.state.value,
            other=known.other,
            changed_at=known.changed_at,
            returns=known.returns,
        ),
    )


def _token(call: Call, row: Row[Any]) -> dict[str, Any]:
    """All five members, always: agents look at each without asking whether it is there (AP 3.4)."""
    principal = arn(call, row.node_id)
    expires_at = call.now.replace(microsecond=0) + timedelta(seconds=call.settings.node_token_lifetime)
    credentials = TemporaryCredentials(
        access_key_id=new_access_key_id("ASIA"),
        secret_access_key=new_secret_access_key(),
        principal=principal,
        kind="node",
        expires_at=expires_at,
        epoch=principals.epoch(call, principal),
        context={"role": row.iam_role, "node_id": row.node_id},
    )
    return {
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "SessionToken": call.keys.seal_token(credentials),
        "TokenExpirationDate": expires_at,
        "UpdateKeyPair": row.rotation_requested,
    }
