"""Principals: what authentication needs of root, users, roles and access keys, and the epochs that revoke credentials.

What a user or role may do at present is its *standing*: the texts of all policies that count for it. Texts are read
anew when they may have changed (a second at most, at once where a change is waked); equal standings share one compiled
set of policies, so that decisions found out stay known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import orjson
from sqlalchemy import Row, and_, bindparam, delete, insert, select, update

from fleetward.server.call import Call
from fleetward.server.iam import evaluate, names
from fleetward.server.iam.managed_policies import AWS_POLICIES, NODE_LIMIT, NODE_POLICY, managed_policy_arn
from fleetward.server.iam.tables import (
    access_keys,
    attachments,
    epochs,
    inline_policies,
    memberships,
    mfa_devices,
    policies,
    policy_versions,
    roles,
    users,
)
from fleetward.server.key_rotation import SealedColumn

SSM_SERVICE = "ssm.amazonaws.com"

ADD_ROLE = insert(roles)
ROLE = select(roles).where(roles.c.account_id == bindparam("account"), roles.c.name == bindparam("role_name"))
ROLE_BY_ID = select(roles).where(roles.c.role_id == bindparam("unique_id"))
USER = select(users).where(users.c.account_id == bindparam("account"), users.c.name == bindparam("user_name"))
USER_BY_ID = select(users).where(users.c.user_id == bindparam("unique_id"))
GROUPS_OF = select(memberships.c.group_id).where(memberships.c.user_id == bindparam("unique_id"))
INLINE_OF = (
    select(inline_policies.c.owner_id, inline_policies.c.name, inline_policies.c.document)
    .where(inline_policies.c.owner_id.in_(bindparam("owners", expanding=True)))
    .order_by(inline_policies.c.owner_id, inline_policies.c.name)
)
ATTACHED_TO = (
    select(attachments.c.policy_arn)
    .where(attachments.c.owner_id.in_(bindparam("owners", expanding=True)))
    .distinct()
    .order_by(attachments.c.policy_arn)
)
DEFAULT_VERSIONS = (
    select(policies.c.account_id, policies.c.path, policies.c.name, policy_versions.c.document)
    .join(
        policy_versions,
        and_(
            policy_versions.c.policy_id == policies.c.policy_id,
            policy_versions.c.number == policies.c.default_version,
        ),
    )
    .where(
        policies.c.account_id == bindparam("account"), policies.c.name.in_(bindparam("policy_names", expanding=True))
    )
)
ATTACH = insert(attachments)
ADD_KEY = insert(access_keys)
KEY = select(access_keys).where(access_keys.c.access_key_id == bindparam("key_id"))
ROOT_KEYS = select(access_keys.c.access_key_id).where(access_keys.c.principal == bindparam("of_principal"))
DISABLE_KEYS = update(access_keys).where(access_keys.c.principal == bindparam("of_principal")).values(status="Inactive")
DELETE_OTHER_KEYS = delete(access_keys).where(access_keys.c.principal != bindparam("of_principal"))
KEY_USED = (
    update(access_keys)
    .where(access_keys.c.access_key_id == bindparam("key_id"))
    .values(used_at=bindparam("at"), used_region=bindparam("in_region"), used_service=bindparam("of_service"))
)
ROLE_USED = (
    update(roles)
    .where(roles.c.role_id == bindparam("unique_id"))
    .values(used_at=bindparam("at"), used_region=bindparam("in_region"))
)
EPOCH = select(epochs.c.epoch).where(epochs.c.principal == bindparam("of_principal"))
ADD_EPOCH = insert(epochs)
RAISE_EPOCH = (
    update(epochs)
    .where(epochs.c.principal == bindparam("of_principal"))
    .values(epoch=epochs.c.epoch + 1, changed_at=bindparam("now"))
)
EPOCHS_SINCE = select(epochs).where(epochs.c.changed_at >= bindparam("since"))

STORED = evaluate.Limits(characters=131_072, statements=1024)
"""What any document in the store may hold; quotas are checked when it is put."""

EPOCHS_TOPIC = "iam/epochs"
STANDINGS_TOPIC = "iam/standings"

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

AWS_ARNS: Mapping[str, str] = {policy.arn: name for name, policy in AWS_POLICIES.items()}
"""ARN -> name of the policies that every account has."""

SEALED = (
    SealedColumn(access_keys, "secret", lambda row: f"access-key/{row.access_key_id}"),
    SealedColumn(mfa_devices, "seed", lambda row: f"mfa/{names.entity_arn(row.account_id, 'mfa', row.path, row.name)}"),
)
"""What key rotation wraps anew."""

_ASSUME = evaluate.compile_policy(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]},
    name="assume",
)
_NOTHING = evaluate.compile_policy(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}, name="unreadable"
)

Texts = tuple[tuple[str, str], ...]
"""Policies as (name, JSON text)."""


@dataclass(frozen=True, slots=True)
class Role:
    """A role; `trust` says who may assume it."""

    name: str
    arn: str
    role_id: str
    account: str
    trust: Mapping[str, Any]
    trusted_ids: Mapping[str, str]
    longest_session: timedelta
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts at present for a user or role. `session` holds managed policies that a session was limited to."""

    arn: str
    name: str
    unique_id: str
    tags: tuple[tuple[str, str], ...]
    identity: Texts
    boundary: Texts | None
    session: Texts

    def policies(self, session_policy: str = "") -> evaluate.PolicySet:
        """All of them compiled, with the policy that came with the session itself (JSON text)."""
        given = (("session", session_policy),) if session_policy else ()
        session = (*self.session, *given)
        return policy_set(self.identity, self.boundary, session or None)


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


def find_role(call: Call, name: str, account: str = "") -> Role | None:
    """A role by name; a path in front of the name (`service-role/Name`) is not looked at."""
    row = call.db.first(ROLE, account=account or call.account, role_name=name.rsplit("/", 1)[-1])
    if row is None:
        return None
    arn = names.entity_arn(row.account_id, "role", row.path, row.name)
    longest = timedelta(seconds=row.longest_session)
    return Role(row.name, arn, row.role_id, row.account_id, row.trust, row.trusted_ids or {}, longest, row.tags or {})


def trust_policy(role: Role) -> evaluate.Policy:
    """The role's trust policy, compiled."""
    return evaluate.resource_policy(orjson.dumps(role.trust).decode(), role.name)


def trusts_service(call: Call, role: Role, service: str = SSM_SERVICE) -> bool:
    """Whether the role lets an AWS service (`ssm.amazonaws.com`) of this account and region assume it."""
    rule = evaluate.ResourceRule.MUST_ALLOW
    asked = evaluate.PolicySet(identity=(_ASSUME,)).with_resource((trust_policy(role),), rule)
    source = f"arn:aws:{service.partition('.')[0]}:{call.region}:{call.account}:*"
    context = {"aws:SourceAccount": call.account, "aws:SourceArn": source}
    request = evaluate.Request("sts:AssumeRole", role.arn, context, (f"Service:{service}",))
    return evaluate.decide(asked, request).allowed


def create_first_roles(call: Call) -> None:
    """The roles that a new account starts with; those that exist are left alone."""
    for name, (trust, managed) in FIRST_ROLES.items():
        if find_role(call, name) is None:
            role_id = names.new_unique_id("AROA")
            call.db.run(
                ADD_ROLE,
                {
                    "account_id": call.account,
                    "name": name,
                    "folded": name.lower(),
                    "path": "/",
                    "role_id": role_id,
                    "trust": _TRUST_SSM if trust == "service-role" else _trust_account(call.account),
                    "trusted_ids": {},
                    "description": "",
                    "longest_session": 3600,
                    "created_at": names.now(call),
                    "tags": {},
                },
            )
            arns = [managed_policy_arn(each) for each in managed]
            call.db.run(ATTACH, [{"owner_id": role_id, "policy_arn": arn, "account_id": call.account} for arn in arns])


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
            "created_at": names.now(call),
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


def standing(call: Call, request: tuple[str, tuple[str, ...]]) -> Standing | None:
    """Entry: what counts for the user or role with a unique id, limited to managed policies by ARN where any are given.

    None when there is no such user or role (any more).
    """
    unique_id, session_arns = request
    is_role = unique_id.startswith("AROA")
    row = call.db.first(ROLE_BY_ID if is_role else USER_BY_ID, unique_id=unique_id)
    return None if row is None else _standing(call, row, unique_id, is_role, session_arns)


def standing_of_role(call: Call, request: tuple[str, str]) -> Standing | None:
    """Entry: what counts for the role of an account that has this name."""
    account, name = request
    row = call.db.first(ROLE, account=account, role_name=name.rsplit("/", 1)[-1])
    return None if row is None else _standing(call, row, row.role_id, True, ())


def _standing(call: Call, row: Row[Any], unique_id: str, is_role: bool, session_arns: Iterable[str]) -> Standing:
    owners = [unique_id] if is_role else [unique_id, *call.db.values(GROUPS_OF, unique_id=unique_id)]
    return Standing(
        arn=names.entity_arn(row.account_id, "role" if is_role else "user", row.path, row.name),
        name=row.name,
        unique_id=unique_id,
        tags=tuple(sorted((row.tags or {}).items())),
        identity=identity_texts(call, row.account_id, owners),
        boundary=None if row.boundary is None else managed_texts(call, row.account_id, [row.boundary]),
        session=managed_texts(call, row.account_id, session_arns),
    )


def identity_texts(call: Call, account: str, owners: Sequence[str]) -> Texts:
    """The policies, inline and attached, of a role, or of a user and its groups."""
    inline = tuple((row.name, row.document) for row in call.db.all(INLINE_OF, owners=owners))
    return (*inline, *managed_texts(call, account, call.db.values(ATTACHED_TO, owners=owners)))


def managed_texts(call: Call, account: str, arns: Iterable[str]) -> Texts:
    """The default versions of managed policies, AWS's and the account's own; ARNs of none are left out."""
    wanted = list(arns)
    found = {arn: (AWS_ARNS[arn], aws_document(AWS_ARNS[arn])) for arn in wanted if arn in AWS_ARNS}
    parsed = [names.parse_arn(arn, "policy") for arn in wanted if arn not in found]
    own = [each[2] for each in parsed if each is not None and each[0] == account]
    if own:
        for row in call.db.all(DEFAULT_VERSIONS, account=account, policy_names=own):
            found[names.entity_arn(account, "policy", row.path, row.name)] = (row.name, row.document)
    return tuple(found[arn] for arn in wanted if arn in found)


@cache
def aws_document(name: str) -> str:
    """The JSON text of a policy that every account has, by its name."""
    return orjson.dumps(AWS_POLICIES[name].document).decode()


def epoch(call: Call, principal: str) -> int:
    """The principal's present epoch; credentials issued under a lower one are void."""
    return call.db.value(EPOCH, of_principal=principal) or 0


def revoke(call: Call, principal: str) -> None:
    """Make every temporary credential of the principal void, on every server within a second."""
    if not call.db.run(RAISE_EPOCH, {"of_principal": principal, "now": call.now}):
        call.db.run(ADD_EPOCH, {"principal": principal, "epoch": 1, "changed_at": call.now})
    call.wake(EPOCHS_TOPIC)


def changed(call: Call) -> None:
    """Something about keys or policies is different: every server looks anew, at the wake or within a second."""
    call.wake(STANDINGS_TOPIC)


def epochs_since(call: Call, since: datetime) -> dict[str, int]:
    """Entry: epochs that changed since `since`, less a minute for transactions that were open then."""
    rows = call.db.all(EPOCHS_SINCE, since=since - timedelta(minutes=1))
    return {row.principal: row.epoch for row in rows}


@dataclass(frozen=True, slots=True)
class Use:
    """When and where a long-lived key (`AKIA…`) or a role (`AROA…`) was last used."""

    name: str
    at: datetime
    region: str
    service: str


def record_uses(call: Call, uses: Sequence[Use]) -> None:
    """Entry: remember the last uses that the edge has gathered."""
    keys = [use for use in uses if not use.name.startswith("AROA")]
    call.db.run(
        KEY_USED,
        [
            {"key_id": use.name, "at": use.at, "in_region": use.region[:32], "of_service": use.service[:32]}
            for use in keys
        ],
    )
    played = [use for use in uses if use.name.startswith("AROA")]
    call.db.run(ROLE_USED, [{"unique_id": use.name, "at": use.at, "in_region": use.region[:32]} for use in played])


@lru_cache(maxsize=4096)
def policy_set(identity: Texts, boundary: Texts | None = None, session: Texts | None = None) -> evaluate.PolicySet:
    """Compiled policies of a principal; the same object for the same texts."""
    return evaluate.PolicySet(
        identity=_all_compiled(identity),
        boundary=None if boundary is None else _all_compiled(boundary),
        session=None if session is None else _all_compiled(session),
    )


def _all_compiled(texts: Texts) -> tuple[evaluate.Policy, ...]:
    return tuple(_compiled(name, text) for name, text in texts)


@lru_cache(maxsize=4096)
def _compiled(name: str, text: str) -> evaluate.Policy:
    """Checked when it was put; one that this version cannot read any more denies everything rather than less."""
    try:
        return evaluate.compile_policy(text, name=name, limits=STORED)
    except evaluate.MalformedPolicy:
        return _NOTHING


@lru_cache(maxsize=1024)
def node_policies(role: Texts = (), boundary: Texts | None = None) -> evaluate.PolicySet:
    """What a node's temporary keys may do: its own work, and what its role grants of other services and parameters.

    The role's permissions boundary bounds what the role grants, not the node's own work.
    """
    own = evaluate.compile_policy(NODE_POLICY, name="node")
    limit = evaluate.compile_policy(NODE_LIMIT, name="node-limit")
    return evaluate.PolicySet(
        identity=(own, *_all_compiled(role)),
        boundary=None if boundary is None else (own, *_all_compiled(boundary)),
        session=(limit,) if role else None,
    )


def root_key_ids(call: Call) -> Sequence[str]:
    """The access keys of the account's root."""
    return call.db.values(ROOT_KEYS, of_principal=root_arn(call.account))


def user_by_id(call: Call, user_id: str) -> Row[Any] | None:
    """A user's row by its unique id."""
    return call.db.first(USER_BY_ID, unique_id=user_id)
