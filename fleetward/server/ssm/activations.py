"""Activations: permission for machines to register as nodes, by an id and a code, so many and so long."""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Index, Integer, Row, String, Table, bindparam, delete, insert, or_, select, update

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.keys import token_hash
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, tenant
from fleetward.server.service import nobody_is_denied
from fleetward.server.ssm import nodes, ssm, tags
from fleetward.server.ssm.errors import InvalidActivation, InvalidActivationId, InvalidFilter

LIFETIME = timedelta(hours=24)
PAGE = 50
CODE_CHARACTERS = string.ascii_letters + string.digits
CODE_LENGTH = 24
WRONG = "There is no such activation, or the activation code is wrong."
NO_HASH = token_hash("")

activations = Table(
    "activations",
    metadata,
    *tenant(),
    Column("activation_id", String(36), primary_key=True),
    Column("code_hash", String(64), nullable=False),
    Column("description", String(256)),
    Column("default_name", String(256)),
    Column("iam_role", String(64), nullable=False),
    Column("registration_limit", Integer, nullable=False),
    Column("registrations", Integer, nullable=False, default=0),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("tags", Json, nullable=False),  # given to each node; the activation itself cannot be tagged
    Column("registration_metadata", Json, nullable=False),
    Index("activations_created", "account_id", "region", "created_at", "activation_id"),
)

_HERE = in_tenant(activations)
_THIS = (*_HERE, activations.c.activation_id == bindparam("activation"))
ADD = insert(activations)
LOCK = select(activations).where(*_THIS).with_for_update()
REMOVE = delete(activations).where(*_THIS)
TAKE = (
    update(activations)
    .where(
        *_THIS,
        activations.c.registrations < activations.c.registration_limit,
        activations.c.expires_at > bindparam("now"),
    )
    .values(registrations=activations.c.registrations + 1)
)
FILTERS = {
    "ActivationIds": activations.c.activation_id,
    "DefaultInstanceName": activations.c.default_name,
    "IamRole": activations.c.iam_role,
}


def new_code() -> str:
    """An activation code of 142 bit: letters and digits, which no option parser takes for something else."""
    return "".join(secrets.choice(CODE_CHARACTERS) for _ in range(CODE_LENGTH))


@ssm.operation("CreateActivation", conditions=keys_of.tags_of("Tags"))
def create_activation(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make an activation; its code is answered once and kept as a hash. The caller must be allowed to pass the role.

    Ours: any expiry in the future will do, the year 9999 for never, unless `activation_lifetime_limit` says otherwise.
    """
    nodes.check_role(call, request["IamRole"])
    expires_at = _expiry(call, request.get("ExpirationDate"))
    activation_id, code = call.new_id(), new_code()
    row = {
        "activation_id": activation_id,
        "code_hash": token_hash(code),
        "description": request.get("Description"),
        "default_name": request.get("DefaultInstanceName"),
        "iam_role": request["IamRole"],
        "registration_limit": request.get("RegistrationLimit", 1),
        "expires_at": expires_at,
        "created_at": call.now,
        "tags": tags.mapping(request.get("Tags", ())),
        "registration_metadata": request.get("RegistrationMetadata", []),
    }
    call.db.run(ADD, {**call.tenant, **row})
    return {"ActivationId": activation_id, "ActivationCode": code}


@ssm.operation("DescribeActivations", reads=True)
def describe_activations(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Activations, newest first, expired ones too; never their codes."""
    limit = request.get("MaxResults", PAGE)
    after = paging.decode("DescribeActivations", request.get("NextToken"))
    created, identity = activations.c.created_at, activations.c.activation_id
    statement = select(activations).where(*_HERE).order_by(created.desc(), identity).limit(limit + 1)
    for each in request.get("Filters", ()):
        column = FILTERS.get(each.get("FilterKey", ""))
        if column is None or not each.get("FilterValues"):
            raise InvalidFilter(f"A filter needs a FilterKey of {', '.join(FILTERS)} and FilterValues.")
        statement = statement.where(column.in_(each["FilterValues"]))
    if after is not None:
        at = datetime.fromisoformat(after[0])
        statement = statement.where(or_(created < at, (created == at) & (identity > after[1])))
    rows, more = paging.page(
        "DescribeActivations",
        call.db.all(statement, **call.here),
        limit,
        lambda row: [row.created_at.isoformat(), row.activation_id],
    )
    return {"ActivationList": [_shape(call, row) for row in rows], **more}


@ssm.operation("DeleteActivation")
def delete_activation(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """No machine can register by it any more; nodes that did stay."""
    activation_id = request["ActivationId"]
    if not call.db.run(REMOVE, _key(call, activation_id)):
        raise InvalidActivationId(f"There is no activation {activation_id}.")
    return {}


@ssm.operation("RegisterManagedInstance", resources=nobody_is_denied, audience="anyone")
def register_managed_instance(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A machine becomes a node (AP 3.2). The call is unsigned: id and code are all it has to show.

    A repetition, by the same activation with the same public key, gets the same node and counts once.
    """
    row = _proven(call, request["ActivationId"], request["ActivationCode"])
    public_key = nodes.read_public_key(request["PublicKey"])
    node_id = nodes.find_registered(call, row.activation_id, public_key)
    if node_id is None:
        _take(call, row)
        node_id = nodes.admit(
            call,
            nodes.Admission(
                activation_id=row.activation_id,
                iam_role=row.iam_role,
                name=row.default_name or "",
                tags=row.tags,
                public_key=public_key,
                fingerprint=request["Fingerprint"],
            ),
        )
    return {"InstanceId": node_id, "Region": call.region}


def _expiry(call: Call, asked: datetime | None) -> datetime:
    expires_at = asked or call.now + LIFETIME
    if expires_at <= call.now:
        raise ValidationException("ExpirationDate is in the past.")
    days = call.settings.activation_lifetime_limit
    if days and expires_at > call.now + timedelta(days=days):
        raise ValidationException(f"ExpirationDate can be {days} days ahead at most (activation_lifetime_limit).")
    return expires_at


def _proven(call: Call, activation_id: str, code: str) -> Row[Any]:
    """The activation whose code this is. Unknown ids and wrong codes look the same, in text and in time."""
    row = call.db.first(LOCK, **_key(call, activation_id))
    right = hmac.compare_digest(row.code_hash if row is not None else NO_HASH, token_hash(code))
    if row is None or not right:
        raise InvalidActivation(WRONG)
    return row


def _take(call: Call, row: Row[Any]) -> None:
    """Count one registration, if there is one left: one statement, so that the limit holds under any concurrency."""
    if call.db.run(TAKE, {**_key(call, row.activation_id), "now": call.now}):
        return
    if row.expires_at <= call.now:
        raise InvalidActivation(f"The activation {row.activation_id} expired at {row.expires_at.isoformat()}.")
    raise InvalidActivation(f"The activation {row.activation_id} has reached its limit of {row.registration_limit}.")


def _key(call: Call, activation_id: str) -> dict[str, str]:
    return {**call.here, "activation": activation_id}


def _shape(call: Call, row: Row[Any]) -> dict[str, Any]:
    shown = {
        "ActivationId": row.activation_id,
        "Description": row.description,
        "DefaultInstanceName": row.default_name,
        "IamRole": row.iam_role,
        "RegistrationLimit": row.registration_limit,
        "RegistrationsCount": row.registrations,
        "ExpirationDate": row.expires_at,
        "Expired": row.expires_at <= call.now,
        "CreatedDate": row.created_at,
        "Tags": tags.shape(row.tags),
    }
    return {member: value for member, value in shown.items() if value is not None}
