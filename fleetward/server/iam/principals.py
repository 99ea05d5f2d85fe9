"""Principals: root, roles and access keys, their policies, and the epochs that revoke credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from fleetward.server.call import Call
from fleetward.server.iam import evaluate
from fleetward.server.iam.managed_policies import MANAGED_POLICIES, NODE_LIMIT, NODE_POLICY
from fleetward.server.key_rotation import SealedColumn
from fleetward.server.schema import Json, UtcDateTime, metadata

SSM_SERVICE = "ssm.amazonaws.com"

roles = Table(
    "iam_roles",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("path", String(512), nullable=False, default="/"),
    Column("role_id", String(32), nullable=False),
    Column("trust", Json, nullable=False),
    Column("managed_policies", Json, nullable=False),  # names
    Column("created_at", UtcDateTime, nullable=False),
)

access_keys = Table(
    "iam_access_keys",
    metadata,
    Column("access_key_id", String(32), primary_key=True),
    Column("account_id", String(12), nullable=False),
    Column("principal", Text, nullable=False),  # ARN
    Column("user_id", String(32), nullable=False),
    Column("secret", LargeBinary, nullable=False),  # sealed for access-key/<id>
    Column("status", String(8), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("iam_access_keys_principal", "principal"),
)

SEALED = (SealedColumn(access_keys, "secret", lambda row: f"access-key/{row.access_key_id}"),)
"""What key rotation wraps anew."""

epochs = Table(
    "iam_epochs",
    metadata,
    Column("principal", String(512), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("iam_epochs_changed", "changed_at"),
)

ADD_ROLE = insert(roles)
ROLE = select(roles).where(roles.c.account_id == bindparam("account"), roles.c.name == bindparam("role_name"))
ADD_KEY = insert(access_keys)
KEY = select(access_keys).where(access_keys.c.access_key_id == bindparam("key_id"))
ROOT_KEYS = select(access_keys.c.access_key_id).where(access_keys.c.principal == bindparam("of_principal"))
DISABLE_KEYS = update(access_keys).where(access_keys.c.principal == bindparam("of_principal")).values(status="Inactive")
DELETE_OTHER_KEYS = delete(access_keys).where(access_keys.c.principal != bindparam("of_principal"))
EPOCH = select(epochs.c.epoch).where(epochs.c.principal == bindparam("of_principal"))
ADD_EPOCH = insert(epochs)
RAISE_EPOCH = (
    update(epochs)
    .where(epochs.c.principal == bindparam("of_principal"))
    .values(epoch=epochs.c.epoch + 1, changed_at=bindparam("now"))
)
EPOCHS_SINCE = select(epochs).where(epochs.c.changed_at >= bindparam("since"))

EPOCHS_TOPIC = "iam/epochs"

_TRUST_SSM = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": SSM_SERVICE}, "Action": "sts:AssumeRole"}],
}


def _trust_account(account: str) -> dict[str, Any]:
    principal = {"AWS": f"arn:aws:iam::{account}:root"}
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
    }


FIRST_ROLES = {
    "SSMServiceRole": ("service-role", ("AmazonSSMManagedInstanceCore",)),
    "Administrator": ("account", ("AdministratorAccess",)),
    "ReadOnly": ("account", ("ReadOnlyAccess",)),
}
"""Roles that a new account starts with: one for nodes, two for operators to assume."""


_ASSUME = evaluate.compile_policy(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]},
    name="assume",
)


@dataclass(frozen=True, slots=True)
class Role:
    """A role; `trust` says who may assume it, `policies` what it may do."""

    name: str
    arn: str
    role_id: str
    trust: Mapping[str, Any]
    managed_policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A long-lived key with its secret."""

    access_key_id: str
    account: str
    principal: str
    user_id: str
    secret_access_key: str
    active: bool


def root_arn(account: str) -> str:
    """The ARN of an account's root."""
    return f"arn:aws:iam::{account}:root"


def node_arn(account: str, region: str, node_id: str) -> str:
    """The principal that a node's temporary keys act as, and the resource that the node is."""
    return f"arn:aws:ssm:{region}:{account}:managed-instance/{node_id}"


def find_role(call: Call, name: str) -> Role | None:
    """A role by name; a path in front of the name (`service-role/Name`) is not looked at."""
    row = call.db.first(ROLE, account=call.account, role_name=name.rsplit("/", 1)[-1])
    if row is None:
        return None
    arn = f"arn:aws:iam::{call.account}:role{row.path}{row.name}"
    return Role(row.name, arn, row.role_id, row.trust, tuple(row.managed_policies))


def trusts(role: Role, *names: str) -> bool:
    """Whether the role's trust policy lets one of the principals (`AWS:<arn>`, `Service:<host>`) assume it."""
    trust = evaluate.compile_policy(role.trust, name=role.name, resource_based=True)
    policies = evaluate.PolicySet(identity=(_ASSUME,)).with_resource((trust,), evaluate.ResourceRule.MUST_ALLOW)
    return evaluate.decide(policies, evaluate.Request("sts:AssumeRole", role.arn, {}, names)).allowed


def trusts_service(role: Role, service: str = SSM_SERVICE) -> bool:
    """Whether the role lets an AWS service (`ssm.amazonaws.com`) assume it."""
    return trusts(role, f"Service:{service}")


def create_first_roles(call: Call) -> None:
    """The roles that a new account starts with; those that exist are left alone."""
    for name, (trust, policies) in FIRST_ROLES.items():
        if find_role(call, name) is None:
            call.db.run(
                ADD_ROLE,
                {
                    "account_id": call.account,
                    "name": name,
                    "path": "/",
                    "role_id": call.new_hex("AROA", 16).upper(),
                    "trust": _TRUST_SSM if trust == "service-role" else _trust_account(call.account),
                    "managed_policies": list(policies),
                    "created_at": call.now,
                },
            )


def add_access_key(call: Call, access_key_id: str, secret_access_key: str, principal: str, user_id: str) -> None:
    """Store a long-lived key of `principal`, its secret sealed."""
    call.db.run(
        ADD_KEY,
        {
            "access_key_id": access_key_id,
            "account_id": call.account,
            "principal": principal,
            "user_id": user_id,
            "secret": call.keys.seal(secret_access_key.encode(), f"access-key/{access_key_id}"),
            "status": "Active",
            "created_at": call.now,
        },
    )


def find_access_key(call: Call, access_key_id: str) -> AccessKey | None:
    """Entry: a long-lived key, whatever the tenant of the call."""
    row = call.db.first(KEY, key_id=access_key_id)
    if row is None:
        return None
    secret = call.keys.open(row.secret, f"access-key/{access_key_id}").decode()
    return AccessKey(access_key_id, row.account_id, row.principal, row.user_id, secret, row.status == "Active")


def keep_root_alone(call: Call) -> None:
    """Delete the access keys of everybody but the account's root."""
    call.db.run(DELETE_OTHER_KEYS, {"of_principal": root_arn(call.account)})


def epoch(call: Call, principal: str) -> int:
    """The principal's present epoch; credentials issued under a lower one are void."""
    return call.db.value(EPOCH, of_principal=principal) or 0


def revoke(call: Call, principal: str) -> None:
    """Make every temporary credential of the principal void, on every server within a second."""
    if not call.db.run(RAISE_EPOCH, {"of_principal": principal, "now": call.now}):
        call.db.run(ADD_EPOCH, {"principal": principal, "epoch": 1, "changed_at": call.now})
    call.wake(EPOCHS_TOPIC)


def epochs_since(call: Call, since: datetime) -> dict[str, int]:
    """Entry: epochs that changed since `since`, less a minute for transactions that were open then."""
    rows = call.db.all(EPOCHS_SINCE, since=since - timedelta(minutes=1))
    return {row.principal: row.epoch for row in rows}


@lru_cache(maxsize=4096)
def policy_set(managed: tuple[str, ...], session_policy: str = "") -> evaluate.PolicySet:
    """Compiled managed policies, bounded by a session policy (JSON text) where there is one."""
    identity = tuple(evaluate.compile_policy(MANAGED_POLICIES[name], name=name) for name in managed)
    session = (evaluate.compile_policy(session_policy, name="session"),) if session_policy else None
    return evaluate.PolicySet(identity=identity, boundary=None, session=session)


@lru_cache(maxsize=1024)
def node_policies(managed: tuple[str, ...] = ()) -> evaluate.PolicySet:
    """What a node's temporary keys may do: its own work, and what its role grants of other services and parameters."""
    own = evaluate.compile_policy(NODE_POLICY, name="node")
    role = tuple(evaluate.compile_policy(MANAGED_POLICIES[name], name=name) for name in managed)
    limit = evaluate.compile_policy(NODE_LIMIT, name="node-limit")
    return evaluate.PolicySet(identity=(own, *role), session=(limit,) if role else None)


def root_key_ids(call: Call) -> Sequence[str]:
    """The access keys of the account's root."""
    return call.db.values(ROOT_KEYS, of_principal=root_arn(call.account))
