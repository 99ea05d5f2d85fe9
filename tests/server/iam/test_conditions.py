"""Conditions: a table of operators, quantifiers and missing keys."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fleetward.server.iam.conditions import OPERATORS, compile_condition
from fleetward.server.iam.patterns import MalformedPolicy

Case = tuple[str, Sequence[str], Sequence[str], bool]

# (operator, values of the policy, values of the request (none: key missing), holds)
CASES: list[Case] = [
    ("StringEquals", ["a", "b"], ["b"], True),
    ("StringEquals", ["a"], ["A"], False),
    ("StringEquals", ["*"], ["a"], False),
    ("StringEquals", ["${*}"], ["*"], True),
    ("StringEquals", ["a"], [], False),
    ("StringEquals", [], ["a"], False),
    ("StringEqualsIfExists", ["a"], [], True),
    ("StringEqualsIfExists", ["a"], ["b"], False),
    ("StringNotEquals", ["a", "b"], ["b"], False),
    ("StringNotEquals", ["a", "b"], ["c"], True),
    ("StringNotEquals", ["a"], [], True),
    ("StringEqualsIgnoreCase", ["Straße"], ["STRASSE"], True),
    ("StringNotEqualsIgnoreCase", ["a"], ["A"], False),
    ("StringLike", ["a*c?"], ["abbbcd"], True),
    ("StringLike", ["a${*}"], ["ab"], False),
    ("StringLike", ["${aws:username}-*"], ["alice-1"], True),
    ("StringLike", ["${aws:none}-*"], ["-1"], False),
    ("StringLike", ["${aws:none, 'x'}-*"], ["x-1"], True),
    ("StringNotLike", ["a*"], ["abc"], False),
    ("stringlike", ["a*"], ["abc"], True),
    ("NumericEquals", ["10"], ["10.0"], True),
    ("NumericEquals", ["10"], ["ten"], False),
    ("NumericNotEquals", ["10"], ["11"], True),
    ("NumericLessThan", ["10"], ["9.99"], True),
    ("NumericLessThan", ["10"], ["10"], False),
    ("NumericLessThanEquals", ["10"], ["10"], True),
    ("NumericGreaterThan", ["1e3"], ["1001"], True),
    ("NumericGreaterThanEquals", ["-1"], ["-1"], True),
    ("DateEquals", ["2026-01-01T00:00:00Z"], ["2026-01-01T01:00:00+01:00"], True),
    ("DateEquals", ["1767225600"], ["2026-01-01"], True),
    ("DateNotEquals", ["2026-01-01"], ["2026-01-02"], True),
    ("DateLessThan", ["2026-01-01T00:00:00Z"], ["2025-12-31T23:59:59Z"], True),
    ("DateLessThanEquals", ["2026-01-01T00:00:00Z"], ["2026-01-01T00:00:00Z"], True),
    ("DateGreaterThan", ["2026-01-01T00:00:00Z"], ["2026-01-01T00:00:00Z"], False),
    ("DateGreaterThanEquals", ["2026-01-01T00:00:00.5Z"], ["1767225600.5"], True),
    ("Bool", ["true"], ["true"], True),
    ("Bool", ["TRUE"], ["True"], True),
    ("Bool", ["true"], ["false"], False),
    ("Bool", ["false"], [], False),
    ("BoolIfExists", ["false"], [], True),
    ("BinaryEquals", ["QmluYXJ5"], ["QmluYXJ5"], True),
    ("BinaryEquals", ["QmluYXJ5"], ["QmluYXJ6"], False),
    ("BinaryEquals", ["QmluYXJ5"], ["?"], False),
    ("IpAddress", ["203.0.113.0/24"], ["203.0.113.9"], True),
    ("IpAddress", ["203.0.113.0/24"], ["203.0.114.9"], False),
    ("IpAddress", ["203.0.113.9"], ["::ffff:203.0.113.9"], True),
    ("IpAddress", ["2001:db8::/32"], ["2001:db8::1"], True),
    ("IpAddress", ["0.0.0.0/0"], ["2001:db8::1"], False),
    ("IpAddress", ["10.0.0.0/8"], ["unknown"], False),
    ("NotIpAddress", ["10.0.0.0/8"], ["10.1.2.3"], False),
    ("NotIpAddress", ["10.0.0.0/8"], ["11.1.2.3"], True),
    ("ArnEquals", ["arn:aws:iam::*:role/a?"], ["arn:aws:iam::123456789012:role/ab"], True),
    ("ArnLike", ["arn:*:role/ab"], ["arn:aws:iam::123456789012:role/ab"], False),
    ("ArnLike", ["arn:aws:ssm:*:*:a*"], ["arn:aws:ssm:r:1:a:b"], True),
    ("ArnLike", ["*"], ["arn:aws:iam::1:role/a"], True),
    ("ArnNotEquals", ["arn:aws:iam::1:role/a"], ["arn:aws:iam::1:role/a"], False),
    ("ArnNotLike", ["arn:aws:iam::1:*"], ["arn:aws:iam::2:role/a"], True),
    ("Null", ["true"], [], True),
    ("Null", ["true"], ["x"], False),
    ("Null", ["false"], ["x"], True),
    ("Null", ["false"], [], False),
    ("ForAnyValue:StringEquals", ["a", "b"], ["c", "b"], True),
    ("ForAnyValue:StringEquals", ["a"], ["c"], False),
    ("ForAnyValue:StringEquals", ["a"], [], False),
    ("ForAnyValue:StringEqualsIfExists", ["a"], [], True),
    ("ForAnyValue:StringNotEquals", ["a"], ["a", "b"], True),
    ("ForAnyValue:StringNotEquals", ["a"], [], False),
    ("ForAllValues:StringEquals", ["a", "b"], ["a", "b"], True),
    ("ForAllValues:StringEquals", ["a", "b"], ["a", "c"], False),
    ("ForAllValues:StringEquals", ["a"], [], True),
    ("ForAllValues:StringNotLike", ["a*"], ["b", "c"], True),
    ("ForAllValues:StringNotLike", ["a*"], ["b", "ab"], False),
    ("StringEquals", ["a"], ["b", "a"], True),
    ("StringNotEquals", ["a"], ["b", "a"], False),
]


@pytest.mark.parametrize(("name", "wanted", "given", "holds"), CASES)
def test_an_operator_holds_as_the_manual_says(
    name: str, wanted: Sequence[str], given: Sequence[str], holds: bool
) -> None:
    condition = compile_condition(name, "aws:Key", wanted, variables=True, allow=True)
    values = {"aws:username": ("alice",)} | ({"aws:key": tuple(given)} if given else {})
    assert condition.holds(values) is holds


def test_the_table_above_has_every_operator() -> None:
    shown = {name.lower().rpartition(":")[2].removesuffix("ifexists") for name, *_ in CASES}
    assert shown == {*OPERATORS, "null"}


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("name", ["StringNotEquals", "ForAllValues:StringNotEquals", "ArnNotLike"])
def test_a_negated_test_on_a_missing_variable_allows_nothing_and_denies(name: str, allow: bool) -> None:
    condition = compile_condition(name, "aws:Key", ["${aws:none}"], variables=True, allow=allow)
    assert condition.holds({"aws:key": ("x",)}) is not allow


def test_keys_are_those_compared_and_those_of_variables() -> None:
    condition = compile_condition(
        "StringEquals", "aws:ResourceTag/Team", ["${aws:PrincipalTag/Team}"], variables=True, allow=True
    )
    assert condition.keys == {"aws:resourcetag/team", "aws:principaltag/team"}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("StringMatches", "aws:a", "x"),
        ("ForSomeValues:StringEquals", "aws:a", "x"),
        ("IfExists", "aws:a", "x"),
        ("StringEquals", "username", "x"),
        ("StringEquals", "", "x"),
        ("NullIfExists", "aws:a", "true"),
        ("ForAnyValue:Null", "aws:a", "true"),
        ("Null", "aws:a", "maybe"),
        ("Bool", "aws:a", "yes"),
        ("NumericEquals", "aws:a", "NaN"),
        ("NumericEquals", "aws:a", "${aws:b}"),
        ("DateEquals", "aws:a", "tomorrow"),
        ("IpAddress", "aws:a", "10.0.0.0/33"),
        ("BinaryEquals", "aws:a", "not base64"),
        ("StringLike", "aws:a", "${"),
    ],
)
def test_what_cannot_be_compared_is_malformed(name: str, key: str, value: str) -> None:
    with pytest.raises(MalformedPolicy):
        compile_condition(name, key, [value], variables=True, allow=True)
