"""Call: all that an entry may know and do: who asks, when, in which tenant, and the rows."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from fleetward.server.db import Db
from fleetward.server.errors import AccessDeniedException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam import evaluate
from fleetward.server.iam.context import Conditions
from fleetward.server.keys import KeyRing
from fleetward.server.settings import Settings


class Resource(NamedTuple):
    """What an action touches, as the decision needs to know it.

    A bucket, key or role brings the policy it carries: `policy` is what `evaluate.resource_policy(text)` compiled, None
    where it carries none, and `rule` says what that policy means to callers of the account that owns the resource:

        Resource(arn, rule=ResourceRule.MAY_GRANT, policy=policy, owner=account)      S3: either side may allow
        Resource(arn, tags, rule=ResourceRule.MUST_ALLOW, policy=policy)              KMS, trust: nothing goes without

    Callers of other accounts need an Allow on both sides whatever the rule; anonymous ones a direct one of the policy.
    A Deny of the policy binds root too. Operations on such resources are registered with `resource_policies=True`, and
    with `audience="anyone"` where strangers may call.
    """

    arn: str
    tags: Mapping[str, str] | None = None
    """Seen by policies as `aws:ResourceTag/<key>` and `ssm:resourceTag/<key>`."""
    policy: evaluate.Policy | None = None
    rule: evaluate.ResourceRule | None = None
    """None: the resource has no policy of its own and cannot have one."""
    owner: str = ""
    """Account that owns it where `rule` is given; empty: the account in the ARN, else that of the call."""
    conditions: Conditions | None = None
    """Further condition keys of the resource: `kms:ResourceAliases`, `s3:ExistingObjectTag/<key>` …"""


ANY = (Resource("*"),)
"""For actions that have no resource type in AWS's authorization table."""


NOBODY = evaluate.PolicySet(identity=())
"""The policies of callers who have none: only a resource's own policy can grant them anything."""
_ROOT = evaluate.PolicySet(
    identity=(
        evaluate.compile_policy(
            {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}, name="root"
        ),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `policies` is None for root (everything in its account) and for the server itself."""

    kind: str
    """root, user, role, node, service or anonymous."""
    arn: str
    account: str
    user_id: str = ""
    access_key_id: str = ""
    policies: evaluate.PolicySet | None = None
    node_id: str = ""
    context: Conditions = field(default_factory=dict)
    """Condition keys that its credentials give: aws:username, aws:PrincipalTag/<key> … (iam.context.of_principal)"""

    @property
    def names(self) -> tuple[str, ...]:
        """How policies of resources may name the caller, the most specific first (evaluate.Request); none: a stranger.

        A session of a role is called by the session, the role and the account.
        """
        if self.kind == "anonymous":
            return ()
        found = (self.arn, str(self.context.get("aws:PrincipalArn", self.arn)), f"arn:aws:iam::{self.account}:root")
        return tuple(dict.fromkeys(f"AWS:{arn}" for arn in found))


def anonymous(account: str) -> Caller:
    """Who signs nothing; `account` is whose door he knocks at."""
    context = {"aws:PrincipalType": keys_of.PRINCIPAL_TYPES["anonymous"], "aws:userid": "anonymous"}
    return Caller(kind="anonymous", arn="anonymous", account=account, policies=NOBODY, context=context)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a call comes from: tenant, caller, request id and the address it was sent from."""

    account: str
    region: str
    caller: Caller
    request_id: str = ""
    source_ip: str = ""
    user_agent: str = ""
    secure: bool = True
    """Whether it came over TLS."""
    referer: str = ""
    session_token: str = field(default="", repr=False)
    """The token of the caller's temporary keys: what a session that he opens is held against later."""
    waiting_since: datetime | None = None
    """When a parked request was first run; None at that first run."""
    outcomes: tuple[Any, ...] = ()
    """What the effects came to that the entry has asked for so far."""


class Sent(NamedTuple):
    """One member of a batch entry: who sent it, and what."""

    context: Context
    request: Any


def service_context(account: str, region: str, request_id: str = "") -> Context:
    """The server acting by itself in one tenant: timers, jobs, replies."""
    return Context(
        account=account,
        region=region,
        caller=Caller(kind="service", arn=f"arn:aws:iam::{account}:service/fleetward", account=account),
        request_id=request_id,
    )


class Call:
    """One entry's view of the world. Everything it changes is in the one transaction of `db`."""

    __slots__ = ("account", "caller", "context", "db", "events", "keys", "now", "region", "settings", "wakes")

    def __init__(self, context: Context, *, now: datetime, db: Db, settings: Settings, keys: KeyRing) -> None:
        self.context = context
        self.account = context.account
        self.region = context.region
        self.caller = context.caller
        self.now = now
        self.db = db
        self.settings = settings
        self.keys = keys
        self.events: list[Any] = []
        self.wakes: list[str] = []

    @property
    def tenant(self) -> dict[str, str]:
        """The two values that lead every key."""
        return {"account_id": self.account, "region": self.region}

    @property
    def here(self) -> dict[str, str]:
        """The same two as the parameters of statements that look `in_tenant` (schema)."""
        return {"account": self.account, "in_region": self.region}

    def new_id(self) -> str:
        """A random UUID in lower case."""
        return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))

    def new_hex(self, prefix: str, digits: int = 17) -> str:
        """`prefix` and random lower-case hex digits: `mi-…`, `pb-…`."""
        return prefix + secrets.token_hex((digits + 1) // 2)[:digits]

    def arn(self, resource: str, *, service: str = "ssm", owned_by_aws: bool = False) -> str:
        """The ARN of one of this tenant's resources; AWS-owned ones have no account."""
        return f"arn:aws:{service}:{self.region}:{'' if owned_by_aws else self.account}:{resource}"

    def authorize(self, action: str, resource: Resource, conditions: Conditions | None = None) -> None:
        """Raise AccessDeniedException unless the caller may do `action` on `resource`.

        `conditions` are keys that the request gives: `iam:PassedToService`, `aws:RequestTag/<key>` …
        """
        decision = self.decide(action, resource, conditions)
        if decision is not None and not decision.allowed:
            raise AccessDeniedException(evaluate.denied_message(self.caller.arn, action, resource.arn, decision))

    def authorize_somewhere(self, action: str) -> None:
        """Raise AccessDeniedException when the caller could not do `action` on any resource."""
        policies = self.caller.policies
        if policies is not None and not evaluate.may_grant(policies, action):
            self.authorize(action, ANY[0])

    def decide(self, action: str, resource: Resource, conditions: Conditions | None = None) -> evaluate.Decision | None:
        """The policies' word on `action`; None for callers who have no policies because they may do everything."""
        policies = self.caller.policies
        if policies is None:
            if self.caller.kind == "service" or resource.rule is None:
                return None
            policies = _ROOT
        if resource.rule is not None:
            own = () if resource.policy is None else (resource.policy,)
            policies = policies.with_resource(own, self._rule(resource))
        context = self._conditions(evaluate.condition_keys(policies, action), resource, conditions)
        names = () if resource.rule is None else self.caller.names
        return evaluate.decide(policies, evaluate.Request(action, resource.arn, context, names))

    def _conditions(self, asked: frozenset[str], resource: Resource, conditions: Conditions | None) -> Conditions:
        """The condition keys of a decision, as far as policies ask for them (`asked`, lower-cased)."""
        found = self.caller.context
        if not asked.isdisjoint(keys_of.REQUEST_KEYS):
            context = self.context
            request = keys_of.of_request(
                now=self.now,
                region=self.region,
                source_ip=context.source_ip,
                secure=context.secure,
                user_agent=context.user_agent,
                referer=context.referer,
            )
            found = {**request, "aws:ResourceAccount": self._owner(resource), **found}
        if asked and (resource.tags or resource.conditions or conditions):
            tags = keys_of.of_tags(resource.tags or {})
            found = {**found, **tags, **(resource.conditions or {}), **(conditions or {})}
        return found

    def _rule(self, resource: Resource) -> evaluate.ResourceRule:
        """What a resource's policy means to this caller."""
        assert resource.rule is not None
        if self.caller.kind == "anonymous":
            return evaluate.ResourceRule.MUST_ALLOW
        own = self._owner(resource) == self.caller.account
        return resource.rule if own else evaluate.ResourceRule.BOTH_MUST_ALLOW

    def _owner(self, resource: Resource) -> str:
        """The account that a resource belongs to."""
        account = resource.arn.split(":", 5)[4] if resource.arn.count(":") >= 5 else ""
        return resource.owner or account or self.account

    def emit(self, event: Any) -> None:
        """Tell later capabilities; their reactions run in this transaction, after this entry."""
        self.events.append(event)

    def wake(self, topic: str) -> None:
        """After the commit, have whoever waits for `topic` look again, on every server."""
        self.wakes.append(topic)

    def wake_node(self, node_id: str) -> None:
        """Wake whoever holds the node's channel or long poll."""
        self.wakes.append(node_topic(self.account, self.region, node_id))


def node_topic(account: str, region: str, node_id: str) -> str:
    """The topic of one node's mailbox."""
    return f"node/{account}/{region}/{node_id}"
