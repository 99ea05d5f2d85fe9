"""Policy documents: what is accepted, what is refused, and that refusal has one form."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.iam.patterns import MalformedPolicy
from fleetward.server.iam.policy import Limits, Principals, Reach, compile_policy

GOOD: dict[str, Any] = {"Sid": "A", "Effect": "Allow", "Action": "ssm:SendCommand", "Resource": "*"}


def document(*statements: Any, **more: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements), **more}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize(
    "accepted",
    [
        document(GOOD),
        {"Statement": GOOD},
        document(GOOD, Id="x"),
        document(without("Sid"), without("Sid")),
        document(GOOD | {"Action": ["ssm:*", "S3:Get?bject"]}),
        document(GOOD | {"Action": "*:*", "Condition": {}}),
        document(without("Action") | {"NotAction": "iam:*"}),
        document(without("Resource") | {"NotResource": ["arn:aws:s3:::a/${aws:username}"]}),
        document(GOOD | {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": True}, "NumericLessThan": {"a:b": 3}}}),
    ],
)
def test_the_grammar_is_accepted_as_text_and_as_mapping(accepted: dict[str, Any]) -> None:
    as_mapping = compile_policy(accepted, name="p")
    as_text = compile_policy(json.dumps(accepted, indent=8), name="p")
    assert len(as_mapping.statements) == len(as_text.statements) >= 1
    assert as_mapping.name == "p"


REFUSED: list[Any] = [
    "",
    "null",
    "[]",
    "{",
    "[" * 100_000,
    '{"Statement": ' * 2_000,
    '{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}',
    '{"Statement": NaN}',
    '{"Statement": ' + "9" * 5000 + "}",
    {},
    document(),
    document("x"),
    document(GOOD, None),
    {"Version": "2013-01-01", "Statement": GOOD},
    document(GOOD, Ids="x"),
    document(GOOD, Id=1),
    document(GOOD, GOOD),
    document(GOOD | {"Sid": 1}),
    document(without("Effect")),
    document(GOOD | {"Effect": "allow"}),
    document(GOOD | {"Effect": ["Allow"]}),
    document(without("Action")),
    document(GOOD | {"NotAction": "ssm:*"}),
    document(GOOD | {"Action": []}),
    document(GOOD | {"Action": "SendCommand"}),
    document(GOOD | {"Action": "s*:Get"}),
    document(GOOD | {"Action": "ssm:"}),
    document(GOOD | {"Action": {"ssm": "x"}}),
    document(without("Resource")),
    document(GOOD | {"NotResource": "*"}),
    document(GOOD | {"Resource": ""}),
    document(GOOD | {"Resource": "mi-1"}),
    document(GOOD | {"Resource": "arn:aws:ssm:${"}),
    document(GOOD | {"Principal": "*"}),
    document(GOOD | {"Actions": "*"}),
    document(GOOD | {"Condition": "x"}),
    document(GOOD | {"Condition": {"StringEquals": "x"}}),
    document(GOOD | {"Condition": {"StringEquals": {"aws:a": None}}}),
    document(GOOD | {"Condition": {"StringEquals": {"aws:a": {"b": "c"}}}}),
    document(GOOD | {"Condition": {"StringEquals": {"a": "c"}}}),
    document(GOOD | {"Condition": {1: {}}}),
    document(GOOD | {"Action": b"ssm:*"}),
    document(GOOD | {"Resource": ["arn:aws:ssm:::" + "x" * 11_000]}),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_anything_outside_the_grammar_is_refused_with_a_reason(refused: Any) -> None:
    with pytest.raises(MalformedPolicy) as caught:
        compile_policy(refused)
    assert caught.value.reason


def test_a_resource_based_policy_must_name_principals_and_may_leave_resources_out() -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"}
    statement = compile_policy(document(trust), resource_based=True).statements[0]
    assert statement.resources is None
    assert statement.principals is not None
    assert statement.principals.names == {"Service:ssm.amazonaws.com"}
    for broken in (GOOD, trust | {"Principal": {}}, trust | {"Principal": {"AWS": "arn:aws:iam::1:user/*"}}):
        with pytest.raises(MalformedPolicy):
            compile_policy(document(broken), resource_based=True)
    with pytest.raises(MalformedPolicy):
        compile_policy(document(trust | {"Principal": {"Robot": "x"}}), resource_based=True)


def test_limits_are_the_callers() -> None:
    two = document(GOOD | {"Sid": "1"}, GOOD | {"Sid": "2"})
    size = len(json.dumps(two, separators=(",", ":")))
    compile_policy(json.dumps(two, indent=4), limits=Limits(characters=size, statements=2))
    for limits in (Limits(characters=size - 1), Limits(statements=1), Limits(depth=2)):
        with pytest.raises(MalformedPolicy):
            compile_policy(two, limits=limits)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ELEMENTS = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "NotPrincipal", "Condition"]
LIKELY = st.sampled_from(
    ["Allow", "Deny", "*", "ssm:*", "arn:aws:ssm", "${aws:username}", "${", {"StringLike": {"aws:a": "${a"}}, "1"]
)
NEARLY = st.fixed_dictionaries(
    {"Statement": st.lists(st.dictionaries(st.sampled_from(ELEMENTS), LIKELY | JSON, max_size=6), max_size=3)},
    optional={"Version": st.sampled_from(["2012-10-17", "2008-10-17"]) | JSON, "Id": JSON},
)


@given(JSON | NEARLY, st.booleans())
def test_no_document_causes_anything_but_malformed_policy(candidate: Any, resource_based: bool) -> None:
    for form in (candidate, json.dumps(candidate)):
        with suppress(MalformedPolicy):
            assert compile_policy(form, resource_based=resource_based).statements


@given(st.text())
def test_no_text_causes_anything_but_malformed_policy(text: str) -> None:
    with pytest.raises(MalformedPolicy):
        compile_policy(text)


ROLE, ROOT = "AWS:arn:aws:iam::123456789012:role/r", "AWS:arn:aws:iam::123456789012:root"


@pytest.mark.parametrize(
    ("names", "negated", "callers", "allow", "reach"),
    [
        ({ROLE}, False, (ROLE, ROOT), True, Reach.DIRECT),
        ({ROOT}, False, (ROLE, ROOT), True, Reach.ACCOUNT),
        ({ROOT}, False, (ROOT,), True, Reach.DIRECT),
        ({ROLE}, False, (), True, Reach.NONE),
        ({ROLE}, True, (ROLE, ROOT), True, Reach.NONE),
        ({ROLE}, True, (ROLE, ROOT), False, Reach.DIRECT),
        ({ROLE, ROOT}, True, (ROLE, ROOT), False, Reach.NONE),
        ({ROLE}, True, (), True, Reach.NONE),
        ({ROLE}, True, (), False, Reach.DIRECT),
    ],
)
def test_principals_reach_callers(
    names: set[str], negated: bool, callers: tuple[str, ...], allow: bool, reach: Reach
) -> None:
    assert Principals(frozenset(names), anyone=False, negated=negated).reach(callers, allow=allow) is reach


def test_an_account_number_means_its_root_and_a_star_everyone() -> None:
    statement = {"Effect": "Allow", "Action": "s3:*", "Principal": {"AWS": ["123456789012", "*"]}, "Resource": "*"}
    principals = compile_policy(document(statement), resource_based=True).statements[0].principals
    assert principals == Principals(frozenset({ROOT}), anyone=True, negated=False)
