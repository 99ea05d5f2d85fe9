"""The decision: examples of AWS's evaluation order, and a second, naive evaluator that must agree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.iam.evaluate import (
    Decision,
    Limits,
    MalformedPolicy,
    Outcome,
    Policy,
    PolicyKind,
    PolicySet,
    Request,
    ResourceRule,
    compile_policy,
    condition_keys,
    decide,
    denied_message,
    may_grant,
)

NODE = "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-1"
OTHER = "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-2"
USER = "arn:aws:iam::123456789012:user/alice"
CALLER = (f"AWS:{USER}", "AWS:arn:aws:iam::123456789012:root")


def statement(effect: str, action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def policy(*statements: Mapping[str, Any], name: str = "p", resource_based: bool = False) -> Policy:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return compile_policy(document, name=name, resource_based=resource_based)


ALL, DENY = policy(statement("Allow"), name="all"), policy(statement("Deny", Sid="no"), name="deny")
NONE = policy(statement("Allow", "iam:GetUser"), name="little")
SEND = Request("ssm:SendCommand", NODE)


def resource_policy(principal: Any, effect: str = "Allow") -> Policy:
    return policy(statement(effect, "ssm:*", Principal=principal), name="resource", resource_based=True)


# --- one identity-based policy

ONE: list[tuple[dict[str, Any], str, str, dict[str, Any], bool]] = [
    (statement("Allow", "ssm:SendCommand", NODE), "ssm:SendCommand", NODE, {}, True),
    (statement("Allow", "ssm:SendCommand", NODE), "ssm:SendCommand", OTHER, {}, False),
    (statement("Allow", "SSM:sendcommand", NODE), "ssm:SendCommand", NODE, {}, True),
    (statement("Allow", "ssm:Send?ommand"), "SSM:SendCommand", NODE, {}, True),
    (statement("Allow", "ssm:Send*"), "ssm:ListCommands", NODE, {}, False),
    (statement("Allow", "ssm:*"), "ssmmessages:OpenDataChannel", "*", {}, False),
    (statement("Allow", "ssm:*", NODE.replace("mi-1", "MI-1")), "ssm:SendCommand", NODE, {}, False),
    (statement("Allow", "ssm:*", "arn:aws:ssm:*:*:managed-instance/*"), "ssm:SendCommand", NODE, {}, True),
    (statement("Allow", "ssm:*", "arn:aws:ssm"), "ssm:SendCommand", NODE, {}, True),
    (statement("Allow", "ssm:*", "arn:aws:*:us-east-1"), "ssm:SendCommand", NODE, {}, True),
    (statement("Allow", "ssm:*", "arn:aws:*:mi-1"), "ssm:SendCommand", NODE, {}, False),
    (statement("Allow", "ssm:*", "arn:aws:*:managed-instance/mi-1"), "ssm:SendCommand", NODE, {}, True),
    (statement("Allow", "ssm:*", "arn:aws:s3"), "ssm:SendCommand", NODE, {}, False),
    (statement("Allow", "ssm:*", [OTHER, NODE]), "ssm:SendCommand", NODE, {}, True),
    ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, "ssm:SendCommand", NODE, {}, True),
    ({"Effect": "Allow", "NotAction": ["iam:*", "ssm:Send*"], "Resource": "*"}, "ssm:SendCommand", NODE, {}, False),
    ({"Effect": "Allow", "Action": "*", "NotResource": OTHER}, "ssm:SendCommand", NODE, {}, True),
    ({"Effect": "Allow", "Action": "*", "NotResource": [NODE]}, "ssm:SendCommand", NODE, {}, False),
    ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::${aws:none}"}, "ssm:SendCommand", NODE, {}, False),
    (
        statement("Allow", "ssm:*", "arn:aws:ssm:*:*:session/${aws:username}-*"),
        "ssm:TerminateSession",
        "arn:aws:ssm:us-east-1:123456789012:session/alice-0a1b",
        {"aws:username": "alice"},
        True,
    ),
    (
        statement("Allow", "ssm:*", "arn:aws:ssm:*:*:session/${aws:username}-*"),
        "ssm:TerminateSession",
        "arn:aws:ssm:us-east-1:123456789012:session/bob-0a1b",
        {"aws:username": "*"},
        False,
    ),
    (
        statement("Allow", "ssm:*", Condition={"StringEquals": {"AWS:resourcetag/Env": "prod"}}),
        "ssm:SendCommand",
        NODE,
        {"aws:ResourceTag/env": "prod"},
        True,
    ),
    (
        statement("Allow", "ssm:*", Condition={"StringEquals": {"aws:a": "1", "aws:b": "2"}}),
        "ssm:SendCommand",
        NODE,
        {"aws:a": "1", "aws:b": "3"},
        False,
    ),
    (
        statement("Allow", "ssm:*", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}),
        "ssm:AddTagsToResource",
        NODE,
        {"aws:TagKeys": ["a", "b"]},
        True,
    ),
    (
        statement("Allow", "ssm:*", Condition={"Null": {"aws:TagKeys": "true"}}),
        "ssm:AddTagsToResource",
        NODE,
        {"aws:TagKeys": []},
        True,
    ),
]


@pytest.mark.parametrize(("one", "action", "resource", "context", "allowed"), ONE)
def test_a_statement_allows_what_it_names(
    one: dict[str, Any], action: str, resource: str, context: dict[str, Any], allowed: bool
) -> None:
    policies = PolicySet((policy(one),))
    for _ in range(2):  # the second time from what was kept
        assert decide(policies, Request(action, resource, context)).allowed is allowed


def test_the_old_version_does_not_know_variables() -> None:
    old = compile_policy({"Statement": statement("Allow", "ssm:*", "arn:aws:ssm:::session/${aws:username}")})
    context = {"aws:username": "alice"}
    assert not decide(PolicySet((old,)), Request("ssm:A", "arn:aws:ssm:::session/alice", context)).allowed
    assert decide(PolicySet((old,)), Request("ssm:A", "arn:aws:ssm:::session/${aws:username}", context)).allowed


# --- kinds of policies together

ALLOWED, IMPLICIT, EXPLICIT = Outcome.ALLOW, Outcome.IMPLICIT_DENY, Outcome.EXPLICIT_DENY
IDENTITY, RESOURCE, BOUNDARY = PolicyKind.IDENTITY, PolicyKind.RESOURCE, PolicyKind.BOUNDARY
SESSION, CONTROL = PolicyKind.SESSION, PolicyKind.SERVICE_CONTROL
MUST, BOTH = ResourceRule.MUST_ALLOW, ResourceRule.BOTH_MUST_ALLOW
TO_USER, TO_ACCOUNT, TO_ALL = (
    resource_policy({"AWS": USER}),
    resource_policy({"AWS": "123456789012"}),
    resource_policy("*"),
)
TO_OTHER = resource_policy({"AWS": "arn:aws:iam::123456789012:user/bob"})
NOT_USER = resource_policy({"AWS": USER}, "Deny")

TOGETHER: list[tuple[PolicySet, Outcome, PolicyKind]] = [
    (PolicySet(()), IMPLICIT, IDENTITY),
    (PolicySet((NONE,)), IMPLICIT, IDENTITY),
    (PolicySet((NONE, ALL)), ALLOWED, IDENTITY),
    (PolicySet((ALL, DENY)), EXPLICIT, IDENTITY),
    (PolicySet((DENY,), boundary=()), EXPLICIT, IDENTITY),
    (PolicySet((ALL,), boundary=()), IMPLICIT, BOUNDARY),
    (PolicySet((ALL,), boundary=(NONE,)), IMPLICIT, BOUNDARY),
    (PolicySet((ALL,), boundary=(ALL,)), ALLOWED, IDENTITY),
    (PolicySet((ALL,), boundary=(ALL, DENY)), EXPLICIT, BOUNDARY),
    (PolicySet((NONE,), boundary=(ALL,)), IMPLICIT, IDENTITY),
    (PolicySet((ALL,), session=(NONE,)), IMPLICIT, SESSION),
    (PolicySet((ALL,), session=(NONE, ALL)), ALLOWED, IDENTITY),
    (PolicySet((ALL,), session=(DENY,)), EXPLICIT, SESSION),
    (PolicySet((ALL,), boundary=(ALL,), session=(ALL,)), ALLOWED, IDENTITY),
    (PolicySet((ALL,), service_control=()), ALLOWED, IDENTITY),
    (PolicySet((ALL,), service_control=((ALL,), (ALL, NONE))), ALLOWED, IDENTITY),
    (PolicySet((ALL,), service_control=((ALL,), (NONE,))), IMPLICIT, CONTROL),
    (PolicySet((ALL,), service_control=((ALL,), ())), IMPLICIT, CONTROL),
    (PolicySet((ALL, DENY), service_control=((DENY,),)), EXPLICIT, CONTROL),
    (PolicySet((), resource=(TO_USER,)), ALLOWED, RESOURCE),
    (PolicySet((), resource=(TO_ALL,)), ALLOWED, RESOURCE),
    (PolicySet((), resource=(TO_OTHER,)), IMPLICIT, IDENTITY),
    (PolicySet((), resource=(TO_ACCOUNT,)), IMPLICIT, IDENTITY),
    (PolicySet((ALL,), resource=(TO_OTHER,)), ALLOWED, IDENTITY),
    (PolicySet((ALL,), resource=(NOT_USER,)), EXPLICIT, RESOURCE),
    (PolicySet((DENY,), resource=(TO_USER,)), EXPLICIT, IDENTITY),
    (PolicySet((), boundary=(NONE,), resource=(TO_USER,)), IMPLICIT, BOUNDARY),
    (PolicySet((), session=(NONE,), resource=(TO_USER,)), IMPLICIT, SESSION),
    (PolicySet((), resource=(TO_USER,), resource_rule=MUST), ALLOWED, RESOURCE),
    (PolicySet((ALL,), resource=(TO_OTHER,), resource_rule=MUST), IMPLICIT, RESOURCE),
    (PolicySet((ALL,), resource=(), resource_rule=MUST), IMPLICIT, RESOURCE),
    (PolicySet((ALL,), resource=(TO_ACCOUNT,), resource_rule=MUST), ALLOWED, IDENTITY),
    (PolicySet((NONE,), resource=(TO_ACCOUNT,), resource_rule=MUST), IMPLICIT, IDENTITY),
    (PolicySet((ALL,), resource=(TO_USER,), resource_rule=BOTH), ALLOWED, IDENTITY),
    (PolicySet((NONE,), resource=(TO_USER,), resource_rule=BOTH), IMPLICIT, IDENTITY),
    (PolicySet((ALL,), resource=(TO_OTHER,), resource_rule=BOTH), IMPLICIT, RESOURCE),
]


@pytest.mark.parametrize(("policies", "outcome", "kind"), TOGETHER)
def test_kinds_of_policies_combine_in_awss_order(policies: PolicySet, outcome: Outcome, kind: PolicyKind) -> None:
    decision = decide(policies, Request("ssm:SendCommand", NODE, {}, CALLER))
    assert (decision.outcome, decision.kind) == (outcome, kind)
    assert decision.allowed is (outcome is ALLOWED)


def test_a_decision_names_its_statement() -> None:
    assert decide(PolicySet((ALL, DENY)), SEND) == Decision(EXPLICIT, IDENTITY, "deny", "no")
    assert decide(PolicySet((NONE, ALL)), SEND) == Decision(ALLOWED, IDENTITY, "all", "")


def test_a_resources_policy_is_put_in_without_touching_the_callers_set() -> None:
    caller = PolicySet((NONE,))
    request = Request("ssm:SendCommand", NODE, {}, CALLER)
    assert decide(caller.with_resource((TO_USER,)), request).allowed
    assert not decide(caller, request).allowed
    assert not decide(caller.with_resource((TO_USER,), BOTH), request).allowed


@pytest.mark.parametrize("place", ["identity", "boundary", "session", "service_control", "resource"])
def test_a_policy_in_a_wrong_place_is_refused(place: str) -> None:
    wrong: Any = {"service_control": ((TO_USER,),), "resource": (ALL,)}.get(place, (TO_USER,))
    with pytest.raises(ValueError):
        PolicySet(**({"identity": ()} | {place: wrong}))


@pytest.mark.parametrize(
    ("decision", "end"),
    [
        (Decision(IMPLICIT, IDENTITY), "because no identity-based policy allows the ssm:SendCommand action"),
        (Decision(IMPLICIT, BOUNDARY), "because no permissions boundary allows the ssm:SendCommand action"),
        (Decision(EXPLICIT, IDENTITY, "p"), "with an explicit deny in an identity-based policy"),
        (Decision(EXPLICIT, CONTROL, "p"), "with an explicit deny in a service control policy"),
    ],
)
def test_a_denial_names_caller_action_resource_and_reason(decision: Decision, end: str) -> None:
    start = f"User: {USER} is not authorized to perform: ssm:SendCommand on resource: {NODE} "
    assert denied_message(USER, "ssm:SendCommand", NODE, decision) == start + end


def test_condition_keys_are_those_of_statements_about_the_action() -> None:
    policies = PolicySet(
        (
            policy(statement("Allow", "ssm:Send*", Condition={"StringLike": {"ssm:resourceTag/Env": "${aws:userid}"}})),
            policy(statement("Deny", "iam:*", Condition={"Bool": {"aws:MultiFactorAuthPresent": "false"}})),
            policy(statement("Allow", "ssm:Get*", "arn:aws:ssm:::document/${aws:username}")),
        )
    )
    assert condition_keys(policies, "ssm:SendCommand") == {"ssm:resourcetag/env", "aws:userid"}
    assert condition_keys(policies, "ssm:GetDocument") == {"aws:username"}
    assert condition_keys(policies, "ssm:ListNodes") == frozenset()


@pytest.mark.parametrize(
    ("policies", "possible"),
    [
        (PolicySet(()), False),
        (PolicySet((NONE,)), False),
        (PolicySet((policy(statement("Allow", "ssm:*", OTHER)),)), True),
        (PolicySet((policy(statement("Allow", Condition={"Null": {"aws:a": "false"}})),)), True),
        (PolicySet((ALL, DENY)), False),
        (PolicySet((ALL, policy(statement("Deny", "*", OTHER)))), True),
        (PolicySet((ALL,), boundary=(NONE,)), False),
        (PolicySet((ALL,), service_control=((ALL,), ())), False),
        (PolicySet((), resource=(TO_USER,)), True),
    ],
)
def test_an_action_may_be_granted_when_some_resource_in_some_context_could_be(
    policies: PolicySet, possible: bool
) -> None:
    assert may_grant(policies, "ssm:SendCommand") is possible


def test_many_actions_and_resources_do_not_grow_what_is_kept_without_end() -> None:
    policies = PolicySet((policy(statement("Allow", "ssm:*", NODE)),))
    for number in range(5000):
        assert not decide(policies, Request("ssm:SendCommand", f"{NODE}{number}")).allowed
        assert not decide(policies, Request(f"ssm:A{number}", OTHER)).allowed
    kept = policies.plan("ssm:SendCommand").kept
    assert kept is not None
    assert len(kept) <= 1024
    assert len(policies._plans) <= 2048
    assert len(policies._own) <= 2048


# --- a second evaluator: slow, plain, written from the manual, sharing no code


def naive_like(pattern: str, text: str, user: str = "") -> bool:
    parts = [
        "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in part)
        for part in pattern.split("${aws:username}")
    ]
    return re.fullmatch(re.escape(user).join(parts), text, re.DOTALL) is not None


def naive_condition(block: Mapping[str, Mapping[str, Sequence[str]]], context: Mapping[str, Sequence[str]]) -> bool:
    for name, lines in block.items():
        quantifier, _, word = name.rpartition(":")
        for key, wanted in lines.items():
            values = [value for given, found in context.items() if given.lower() == key.lower() for value in found]
            if word == "Null":
                truth = any((not values) == (text == "true") for text in wanted)
            elif not values and word.endswith("IfExists"):
                truth = True
            else:
                like = "Like" in word
                hits = [any(naive_like(w, v) if like else w == v for w in wanted) for v in values]
                negative = "Not" in word
                if quantifier == "ForAllValues":
                    truth = all(hit is not negative for hit in hits)
                elif quantifier == "ForAnyValue":
                    truth = any(hit is not negative for hit in hits)
                else:
                    truth = not any(hits) if negative else any(hits)
            if not truth:
                return False
    return True


def naive_applies(one: Mapping[str, Any], request: Request) -> bool:
    actions, resources = one.get("Action", one.get("NotAction")), one.get("Resource", one.get("NotResource"))
    action_named = any(naive_like(pattern.lower(), request.action.lower()) for pattern in actions)
    user = str(request.context.get("aws:username", [None])[0])
    resolvable = "aws:username" in request.context
    texts = [text for text in resources if resolvable or "${" not in text]
    complete = len(texts) == len(resources)
    texts += [f"{text}:*" for text in resources if text.startswith("arn:") and text.count(":") < 5]
    resource_named = any(naive_like(pattern, request.resource, user) for pattern in texts)
    if "NotResource" in one and one["Effect"] == "Allow" and not complete:
        return False
    if action_named == ("NotAction" in one) or resource_named == ("NotResource" in one):
        return False
    return naive_condition(one.get("Condition", {}), request.context)


def naive_outcome(groups: Sequence[Sequence[Mapping[str, Any]]], request: Request) -> Outcome:
    applying = [[one["Effect"] for one in group if naive_applies(one, request)] for group in groups]
    if any("Deny" in effects for effects in applying):
        return EXPLICIT
    return ALLOWED if all("Allow" in effects for effects in applying) else IMPLICIT


WORDS = ["a", "b", "ab", "*", "a*", "?"]
ACTIONS = st.lists(
    st.sampled_from(["*", "ssm:*", "ssm:Get*", "SSM:GetA", "ssm:?etB", "iam:GetA", "*:*"]), min_size=1, max_size=3
)
RESOURCES = st.lists(
    st.sampled_from(["*", "arn:a:b:c:d:x", "arn:a:b:c:d:?", "arn:a:*:y", "arn:*:x*", "arn:a:b:c:d:${aws:username}"]),
    min_size=1,
    max_size=3,
)
OPERATORS = ["StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIfExists"]
OPERATORS += [f"{quantifier}:{word}" for quantifier in ("ForAllValues", "ForAnyValue") for word in OPERATORS[:4]]
KEYS = st.sampled_from(["aws:a", "aws:ResourceTag/b", "aws:resourcetag/B"])
LINES = st.dictionaries(KEYS, st.lists(st.sampled_from(WORDS), max_size=3), max_size=2)
NULLS = st.dictionaries(KEYS, st.lists(st.sampled_from(["true", "false"]), min_size=1, max_size=2), max_size=2)
CONDITIONS = st.dictionaries(st.sampled_from(OPERATORS), LINES, max_size=2) | NULLS.map(lambda lines: {"Null": lines})


@st.composite
def statements(draw: st.DrawFn, effect: str | None = None) -> dict[str, Any]:
    one = {"Effect": effect or draw(st.sampled_from(["Allow", "Allow", "Deny"]))}
    return one | {
        draw(st.sampled_from(["Action", "Action", "Action", "NotAction"])): draw(ACTIONS),
        draw(st.sampled_from(["Resource", "Resource", "Resource", "NotResource"])): draw(RESOURCES),
        "Condition": draw(st.just({}) | CONDITIONS),
    }


GROUPS = st.lists(statements(), min_size=1, max_size=4)
REQUESTS = st.builds(
    Request,
    st.sampled_from(["ssm:GetA", "ssm:GetB", "ssm:PutA", "iam:GetA"]),
    st.sampled_from(["*", "arn:a:b:c:d:x", "arn:a:b:c:d:y", "arn:a:b:c:d:xx", "arn:a:b:c:d:*"]),
    st.fixed_dictionaries(
        {},
        optional={
            "aws:username": st.sampled_from(["x", "*", "?"]).map(lambda name: [name]),
            "AWS:A": st.lists(st.sampled_from(["a", "b", "ab", "c"]), max_size=2),
            "aws:ResourceTag/b": st.lists(st.sampled_from(["a", "b", "ab", "c"]), max_size=2),
        },
    ),
)


def policy_set(identity: Sequence[dict[str, Any]], boundary: Sequence[dict[str, Any]] | None = None) -> PolicySet:
    """One policy per statement: how statements are spread over policies must not matter."""
    return PolicySet(tuple(map(policy, identity)), None if boundary is None else (policy(*boundary),))


@given(GROUPS, GROUPS | st.none(), st.lists(REQUESTS, min_size=1, max_size=6))
def test_decisions_equal_those_of_the_naive_evaluator(
    identity: list[dict[str, Any]], boundary: list[dict[str, Any]] | None, requests: list[Request]
) -> None:
    policies = policy_set(identity, boundary)
    groups = [identity] if boundary is None else [identity, boundary]
    for request in requests:
        assert decide(policies, request).outcome is naive_outcome(groups, request)


@given(GROUPS, GROUPS | st.none(), st.lists(REQUESTS, min_size=1, max_size=6))
def test_what_may_not_be_granted_never_is(
    identity: list[dict[str, Any]], boundary: list[dict[str, Any]] | None, requests: list[Request]
) -> None:
    policies = policy_set(identity, boundary)
    for request in requests:
        assert may_grant(policies, request.action) or not decide(policies, request).allowed


@given(GROUPS, statements("Allow"), REQUESTS)
def test_another_allow_never_takes_a_permission(
    identity: list[dict[str, Any]], added: dict[str, Any], request: Request
) -> None:
    before, after = decide(policy_set(identity), request), decide(policy_set([*identity, added]), request)
    assert after.allowed or not before.allowed


@given(GROUPS, statements("Deny"), REQUESTS)
def test_another_deny_never_gives_a_permission(
    identity: list[dict[str, Any]], added: dict[str, Any], request: Request
) -> None:
    before, after = decide(policy_set(identity), request), decide(policy_set([*identity, added]), request)
    assert before.allowed or not after.allowed


@given(GROUPS, GROUPS, REQUESTS)
def test_a_boundary_never_gives_a_permission(
    identity: list[dict[str, Any]], boundary: list[dict[str, Any]], request: Request
) -> None:
    assert decide(policy_set(identity), request).allowed or not decide(policy_set(identity, boundary), request).allowed


@given(GROUPS, GROUPS | st.none(), REQUESTS)
def test_a_decision_needs_the_condition_keys_only(
    identity: list[dict[str, Any]], boundary: list[dict[str, Any]] | None, request: Request
) -> None:
    policies = policy_set(identity, boundary)
    keys = condition_keys(policies, request.action)
    relevant = {key: value for key, value in request.context.items() if key.lower() in keys}
    assert decide(policies, Request(request.action, request.resource, relevant)) == decide(policies, request)


def with_principal(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "Principal": {"AWS": [USER]}}


@st.composite
def sets(draw: st.DrawFn) -> tuple[PolicySet, ResourceRule]:
    """Policies of every kind together."""
    own = draw(GROUPS)
    boundary, session, level = (draw(GROUPS | st.none()) for _ in range(3))
    resource = draw(GROUPS | st.none())
    rule = draw(st.sampled_from(ResourceRule))
    policies = PolicySet(
        tuple(map(policy, own)),
        None if boundary is None else (policy(*boundary),),
        None if session is None else (policy(*session),),
        None if level is None else ((policy(*level),),),
        () if resource is None else (policy(*map(with_principal, resource), resource_based=True),),
        rule,
    )
    return policies, rule


def named(request: Request) -> Request:
    """The request of a caller whom policies of resources name."""
    return Request(request.action, request.resource, request.context, CALLER)


PLACES = ("identity", "boundary", "session", "service_control", "resource")


def adding(policies: PolicySet, place: str, added: Policy) -> PolicySet:
    """The set with one policy more at a place that has some already, or as the first there."""
    if place == "service_control":
        return replace(policies, service_control=((added,), *(policies.service_control or ())))
    return replace(policies, **{place: (*(getattr(policies, place) or ()), added)})


@given(sets(), statements("Deny"), st.sampled_from(PLACES), REQUESTS)
def test_a_deny_in_any_place_never_gives_a_permission(
    made: tuple[PolicySet, ResourceRule], deny: dict[str, Any], place: str, request: Request
) -> None:
    in_resource = place == "resource"
    added = policy(with_principal(deny) if in_resource else deny, resource_based=in_resource)
    before, after = decide(made[0], named(request)), decide(adding(made[0], place, added), named(request))
    assert before.allowed or not after.allowed


@given(sets(), GROUPS, st.sampled_from(["boundary", "session", "service_control"]), REQUESTS)
def test_a_first_boundary_session_or_control_policy_never_widens(
    made: tuple[PolicySet, ResourceRule], group: list[dict[str, Any]], place: str, request: Request
) -> None:
    without = replace(made[0], **{place: None})
    added = adding(without, place, policy(*group))
    assert decide(without, named(request)).allowed or not decide(added, named(request)).allowed


@given(sets(), REQUESTS)
def test_what_is_allowed_needs_an_allow_and_no_deny_and_says_where(
    made: tuple[PolicySet, ResourceRule], request: Request
) -> None:
    policies, rule = made
    decision = decide(policies, named(request))
    if decision.allowed:
        alone = PolicySet(policies.identity).with_resource(policies.resource, rule)
        assert decide(alone, named(request)).allowed
        assert decision.kind in (IDENTITY, RESOURCE)
    if rule is BOTH and decision.allowed:
        assert decide(PolicySet(policies.identity), named(request)).allowed


def long_policy(count: int) -> dict[str, Any]:
    """So many statements, the last of which speaks of NODE."""
    many = [
        statement("Allow", f"ssm:Get{number}*", f"arn:aws:ssm:*:*:parameter/p{number}/*", Condition=TAGGED)
        for number in range(count - 1)
    ]
    return {"Version": "2012-10-17", "Statement": [*many, statement("Allow", "ssm:SendCommand", NODE)]}


TAGGED = {"StringLike": {"aws:ResourceTag/env": ["dev*", "${aws:username}*"]}}


def test_a_policy_of_a_thousand_statements_is_refused_by_its_size_or_decided_at_once() -> None:
    with pytest.raises(MalformedPolicy, match="at most 10240 characters"):
        compile_policy(long_policy(1000))
    with pytest.raises(MalformedPolicy, match="at most 256 statements"):
        compile_policy(long_policy(1000), limits=Limits(characters=1_000_000))
    compiled = compile_policy(long_policy(1000), limits=Limits(characters=1_000_000, statements=1000))
    policies = PolicySet((compiled,))
    assert decide(policies, SEND).allowed
    assert not decide(policies, Request("ssm:SendCommand", OTHER)).allowed
    context = {"aws:ResourceTag/env": "ana-1", "aws:username": "ana"}
    parameter = "arn:aws:ssm:us-east-1:123456789012:parameter/p17/x"
    assert decide(policies, Request("ssm:Get17", parameter, context)).allowed
    assert not decide(policies, Request("ssm:Get17", parameter, {**context, "aws:username": "eve"})).allowed
    plan = policies.plan("ssm:Get17")
    assert len(plan.gates.statements()) < 1000  # only those that speak of the action are asked again
