"""Call: all that an entry may know and do: who asks, when, in which tenant, and the rows."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from fleetward.server.db import Db
from fleetward.server.errors import AccessDeniedException
from fleetward.server.iam import evaluate
from fleetward.server.keys import KeyRing
from fleetward.server.settings import Settings


class Resource(NamedTuple):
    """What an action touches: its ARN and, where it has some, its tags."""

    arn: str
    tags: Mapping[str, str] | None = None


ANY = (Resource("*"),)
"""For actions that have no resource type in AWS's authorization table."""


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
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    """Condition keys that hold for the whole request: aws:username, aws:SourceIp …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a call comes from: tenant, caller, request id and the address it was sent from."""

    account: str
    region: str
    caller: Caller
    request_id: str = ""
    source_ip: str = ""
    user_agent: str = ""
    waiting_since: datetime | None = None
    """When a parked request was first run; None at that first run."""


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

    def new_id(self) -> str:
        """A random UUID in lower case."""
        return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))

    def new_hex(self, prefix: str, digits: int = 17) -> str:
        """`prefix` and random lower-case hex digits: `mi-…`, `pb-…`."""
        return prefix + secrets.token_hex((digits + 1) // 2)[:digits]

    def arn(self, resource: str, *, service: str = "ssm", owned_by_aws: bool = False) -> str:
        """The ARN of one of this tenant's resources; AWS-owned ones have no account."""
        return f"arn:aws:{service}:{self.region}:{'' if owned_by_aws else self.account}:{resource}"

    def authorize(self, action: str, resource: Resource) -> None:
        """Raise AccessDeniedException unless the caller may do `action` on `resource`."""
        decision = self.decide(action, resource)
        if decision is not None and not decision.allowed:
            raise AccessDeniedException(evaluate.denied_message(self.caller.arn, action, resource.arn, decision))

    def decide(self, action: str, resource: Resource) -> evaluate.Decision | None:
        """The policies' word on `action`; None for callers who have no policies because they may do everything."""
        policies = self.caller.policies
        if policies is None:
            return None
        context: Mapping[str, str | Sequence[str]] = self.caller.context
        if resource.tags:
            tags = {f"aws:ResourceTag/{key}": value for key, value in resource.tags.items()}
            tags |= {f"ssm:resourceTag/{key}": value for key, value in resource.tags.items()}
            context = {**context, **tags}
        return evaluate.decide(policies, evaluate.Request(action, resource.arn, context))

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
