"""The authorization decision: policies and a request in, allowed or denied out. No store, no clock, no I/O.

    PolicySet ── per action, once ──> the statements that speak of it, by kind of policy
        │                                  │
        │     nothing but the action matters: one decision, kept
        │     nothing but the resource matters: one decision per resource, kept (bounded)
        └───> else: resources and conditions of those statements only

Order, after the IAM user guide, "Policy evaluation logic": a Deny anywhere wins; then every level of service control
policies, the resource-based or the identity-based policies, the boundary and the session policies must each allow.
Ours: a grant by a resource-based policy is always limited by boundary and session policies, also where AWS lets a grant
to one user or session pass them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache

from fleetward.server.iam.patterns import MalformedPolicy, Values
from fleetward.server.iam.policy import Limits, Policy, Reach, Statement, compile_policy

__all__ = [
    "Decision",
    "Limits",
    "MalformedPolicy",
    "Outcome",
    "Policy",
    "PolicyKind",
    "PolicySet",
    "Request",
    "ResourceRule",
    "compile_policy",
    "condition_keys",
    "decide",
    "denied_message",
    "may_grant",
    "resource_policy",
]

_OF_RESOURCES = Limits(characters=32_768, statements=1024)
Context = Mapping[str, str | Sequence[str]]
"""Condition key -> its value or values, as a caller gives it."""

_KEPT_ACTIONS = 2048
_KEPT_RESOURCES = 1024
_KEPT_AGAINST = 64
_KEPT_POLICIES = 1024


class Outcome(Enum):
    """How a request was decided."""

    ALLOW = "allow"
    IMPLICIT_DENY = "implicit deny"
    EXPLICIT_DENY = "explicit deny"


class PolicyKind(Enum):
    """The place of a policy in the decision; values are AWS's words in denials."""

    IDENTITY = "identity-based policy"
    RESOURCE = "resource-based policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"
    SERVICE_CONTROL = "service control policy"


class ResourceRule(Enum):
    """What the policy of a resource means beside those of the caller."""

    MAY_GRANT = "may grant"
    """Same account: an Allow on either side is enough (S3 buckets)."""
    MUST_ALLOW = "must allow"
    """Same account, and nothing goes without it: KMS keys, trust policies of roles."""
    BOTH_MUST_ALLOW = "both must allow"
    """The resource belongs to another account."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome; `kind` is the kind of policy that granted, denied, or should have allowed and did not.

    `policy` and `sid` name the statement that granted or denied, and are empty for an implicit deny.
    """

    outcome: Outcome
    kind: PolicyKind
    policy: str = ""
    sid: str = ""

    @property
    def allowed(self) -> bool:
        """Whether the caller may."""
        return self.outcome is Outcome.ALLOW


@dataclass(frozen=True, slots=True)
class Request:
    """One action on one resource.

    `context` keys count without regard to case, names of tags included; two that differ in case only are one key with
    both values. `principals` are the names that resource-based policies may call the caller by, the most specific
    first: `AWS:arn:aws:sts::1:assumed-role/R/s`, `AWS:arn:aws:iam::1:role/R`, `AWS:arn:aws:iam::1:root`; or
    `Service:ssm.amazonaws.com`.
    """

    action: str
    resource: str
    context: Context = field(default_factory=dict)
    principals: tuple[str, ...] = ()


def _lowered(context: Context, wanted: frozenset[str]) -> Values:
    """The context by keys in lower case, as far as they are wanted."""
    values: dict[str, tuple[str, ...]] = {}
    for key, given in context.items():
        lower = key.lower()
        if lower not in wanted:
            continue
        found = (given,) if isinstance(given, str) else tuple(given)
        if found:
            values[lower] = values[lower] + found if lower in values else found
    return values


@dataclass(frozen=True, slots=True)
class _Gate:
    """What policies of one kind say about one action."""

    kind: PolicyKind
    denies: tuple[Statement, ...]
    allows: tuple[Statement, ...]

    def denial(self, resource: str, values: Values, principals: Sequence[str]) -> Statement | None:
        for statement in self.denies:
            named = statement.principals
            if named is not None and not named.reach(principals, allow=False):
                continue
            if statement.applies(resource, values):
                return statement
        return None

    def grant(self, resource: str, values: Values) -> Statement | None:
        """The first allow that applies. Statements often name the same resources, which are then compared once."""
        matcher, fits = None, False
        for statement in self.allows:
            fixed = statement.matcher
            if fixed is None:
                if statement.applies(resource, values):
                    return statement
                continue
            if fixed is not matcher:
                matcher, fits = fixed, fixed(resource)
            if fits and statement.holds(values):
                return statement
        return None

    def reach(self, resource: str, values: Values, principals: Sequence[str]) -> tuple[Reach, Statement | None]:
        """The furthest reaching grant of a resource-based policy."""
        best, by = Reach.NONE, None
        for statement in self.allows:
            assert statement.principals is not None
            reach = statement.principals.reach(principals, allow=True)
            if reach > best and statement.applies(resource, values):
                best, by = reach, statement
        return best, by


def _gate(kind: PolicyKind, policies: Sequence[Policy], action: str) -> _Gate:
    found = [statement for policy in policies for statement in policy.covering(action)]
    return _Gate(
        kind,
        tuple(statement for statement in found if not statement.allow),
        tuple(statement for statement in found if statement.allow),
    )


@dataclass(frozen=True, slots=True)
class _Gates:
    """All that speaks of one action: levels of service control, resource, identity, then boundary and session."""

    levels: tuple[_Gate, ...]
    resource: _Gate | None
    rule: ResourceRule
    identity: _Gate
    limits: tuple[_Gate, ...]

    def all(self) -> tuple[_Gate, ...]:
        resource = () if self.resource is None else (self.resource,)
        return (*self.levels, *resource, self.identity, *self.limits)

    def statements(self) -> list[Statement]:
        return [statement for gate in self.all() for statement in (*gate.denies, *gate.allows)]

    def possible(self) -> bool:
        """Whether there is an Allow wherever one is needed, and no Deny of everything."""
        if any(statement.unconditional for gate in self.all() for statement in gate.denies):
            return False
        granting = bool(self.identity.allows) or (self.resource is not None and bool(self.resource.allows))
        return granting and all(gate.allows for gate in (*self.levels, *self.limits))

    def judge(self, resource: str, values: Values, principals: Sequence[str]) -> Decision:
        for gate in self.all():
            denial = gate.denial(resource, values, principals)
            if denial is not None:
                return Decision(Outcome.EXPLICIT_DENY, gate.kind, denial.policy, denial.sid)
        for gate in self.levels:
            if gate.grant(resource, values) is None:
                return Decision(Outcome.IMPLICIT_DENY, gate.kind)
        granted = self._granted(resource, values, principals)
        if not granted.allowed:
            return granted
        for gate in self.limits:
            if gate.grant(resource, values) is None:
                return Decision(Outcome.IMPLICIT_DENY, gate.kind)
        return granted

    def _granted(self, resource: str, values: Values, principals: Sequence[str]) -> Decision:
        """What resource-based and identity-based policies grant together."""
        reach, by = Reach.NONE, None
        if self.resource is not None:
            reach, by = self.resource.reach(resource, values, principals)
        if reach is Reach.NONE and self.rule is not ResourceRule.MAY_GRANT:
            return Decision(Outcome.IMPLICIT_DENY, PolicyKind.RESOURCE)
        if reach is Reach.DIRECT and by is not None and self.rule is not ResourceRule.BOTH_MUST_ALLOW:
            return Decision(Outcome.ALLOW, PolicyKind.RESOURCE, by.policy, by.sid)
        own = self.identity.grant(resource, values)
        if own is None:
            return Decision(Outcome.IMPLICIT_DENY, PolicyKind.IDENTITY)
        return Decision(Outcome.ALLOW, PolicyKind.IDENTITY, own.policy, own.sid)


class _Plan:
    """One action's gates, and the decisions that need no context."""

    __slots__ = ("by_resource", "fixed", "gates", "kept", "keys", "possible")

    def __init__(self, gates: _Gates) -> None:
        statements = gates.statements()
        self.gates = gates
        self.possible = gates.possible()
        self.keys = frozenset[str]().union(*(statement.keys for statement in statements))
        self.by_resource = any(statement.resources is not None for statement in statements)
        static = gates.resource is None and not any(statement.conditions or statement.keys for statement in statements)
        self.fixed = gates.judge("", {}, ()) if static and not self.by_resource else None
        self.kept: dict[str, Decision] | None = {} if static else None

    def decide(self, request: Request) -> Decision:
        if self.fixed is not None:
            return self.fixed
        if self.kept is None:
            values = _lowered(request.context, self.keys)
            return self.gates.judge(request.resource, values, request.principals)
        decision = self.kept.get(request.resource)
        if decision is None:
            decision = self.gates.judge(request.resource, {}, ())
            if len(self.kept) >= _KEPT_RESOURCES:
                self.kept.clear()
            self.kept[request.resource] = decision
        return decision


@dataclass(frozen=True)
class PolicySet:
    """Every policy that counts for one principal, to be kept for as long as these are the ones.

    `boundary`, `session`: None where there is none; an empty tuple allows nothing. `service_control`: one tuple per
    level from the organization's root to the account, each of which must allow. `resource`: the policy of the resource
    asked for, usually put in by `with_resource`. Raises ValueError for a policy in a place that is not its own.
    """

    identity: tuple[Policy, ...]
    boundary: tuple[Policy, ...] | None = None
    session: tuple[Policy, ...] | None = None
    service_control: tuple[tuple[Policy, ...], ...] | None = None
    resource: tuple[Policy, ...] = ()
    resource_rule: ResourceRule = ResourceRule.MAY_GRANT
    _own: dict[str, _Gates] = field(default_factory=dict, init=False, repr=False, compare=False)
    _plans: dict[str, _Plan] = field(default_factory=dict, init=False, repr=False, compare=False)
    _against: dict[tuple[tuple[Policy, ...], ResourceRule], PolicySet] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        levels = [policy for level in self.service_control or () for policy in level]
        own = [*self.identity, *(self.boundary or ()), *(self.session or ()), *levels]
        if any(policy.resource_based for policy in own) or not all(policy.resource_based for policy in self.resource):
            raise ValueError("resource-based policies, and only they, belong in `resource`")

    def with_resource(self, resource: tuple[Policy, ...], rule: ResourceRule = ResourceRule.MAY_GRANT) -> PolicySet:
        """The same principal against a resource with policies of its own; what was found out so far is shared."""
        key = (resource, rule)
        changed = self._against.get(key)
        if changed is None:
            changed = replace(self, resource=resource, resource_rule=rule)
            object.__setattr__(changed, "_own", self._own)
            if len(self._against) >= _KEPT_AGAINST:
                self._against.clear()
            self._against[key] = changed
        return changed

    def plan(self, action: str) -> _Plan:
        """What counts for an action, found at the first question."""
        plan = self._plans.get(action)
        if plan is None:
            plan = _Plan(self._gates(action.lower()))
            if len(self._plans) >= _KEPT_ACTIONS:
                self._plans.clear()
            self._plans[action] = plan
        return plan

    def _gates(self, action: str) -> _Gates:
        own = self._own.get(action)
        if own is None:
            own = self._principal_gates(action)
            if len(self._own) >= _KEPT_ACTIONS:
                self._own.clear()
            self._own[action] = own
        if not self.resource and self.resource_rule is ResourceRule.MAY_GRANT:
            return own
        return replace(own, resource=_gate(PolicyKind.RESOURCE, self.resource, action), rule=self.resource_rule)

    def _principal_gates(self, action: str) -> _Gates:
        limits = ((PolicyKind.BOUNDARY, self.boundary), (PolicyKind.SESSION, self.session))
        return _Gates(
            levels=tuple(_gate(PolicyKind.SERVICE_CONTROL, level, action) for level in self.service_control or ()),
            resource=None,
            rule=ResourceRule.MAY_GRANT,
            identity=_gate(PolicyKind.IDENTITY, self.identity, action),
            limits=tuple(_gate(kind, policies, action) for kind, policies in limits if policies is not None),
        )


@lru_cache(maxsize=_KEPT_POLICIES)
def resource_policy(document: str, name: str = "") -> Policy:
    """The compiled policy that a resource carries, given as JSON text and kept; raises MalformedPolicy.

    Bucket policies hold 20 KiB, key policies 32 KiB (quotas of S3 and KMS); what is stricter is checked when it is put.
    """
    return compile_policy(document, name=name, resource_based=True, limits=_OF_RESOURCES)


def decide(policies: PolicySet, request: Request) -> Decision:
    """Whether the request is allowed, and by or for want of which kind of policy."""
    return policies.plan(request.action).decide(request)


def may_grant(policies: PolicySet, action: str) -> bool:
    """False when `action` is denied on every resource in every context, so that nothing about it need be said.

    Asks the set as it stands: a resource's own policy counts when it was put in with `with_resource`.
    """
    return policies.plan(action).possible


def condition_keys(policies: PolicySet, action: str) -> frozenset[str]:
    """Lower-cased context keys on which a decision about `action` can depend, such as `aws:resourcetag/env`.

    Whoever asks need give no others.
    """
    return policies.plan(action).keys


def denied_message(principal_arn: str, action: str, resource: str, decision: Decision) -> str:
    """The text of AccessDenied in AWS's pattern (IAM user guide, "Troubleshoot access denied error messages")."""
    kind = decision.kind.value
    if decision.outcome is Outcome.EXPLICIT_DENY:
        reason = f"with an explicit deny in {'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    else:
        reason = f"because no {kind} allows the {action} action"
    return f"User: {principal_arn} is not authorized to perform: {action} on resource: {resource} {reason}"
