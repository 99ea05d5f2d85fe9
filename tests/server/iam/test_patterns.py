"""Patterns: wildcards and variables, against an independent matcher and against hostile input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.iam.patterns import MalformedPolicy, Piece, Variable, arn_glob, glob, parse_template, plain

PATTERNS = st.text(alphabet="ab:*?", max_size=12)
TEXTS = st.text(alphabet="ab:*?", max_size=14)


def table_match(pattern: str, text: str, *, star_crosses: list[bool]) -> bool:
    """The textbook table: row by row, which prefixes of text each prefix of pattern matches."""
    row = [True] + [False] * len(text)
    for symbol, crosses in zip(pattern, star_crosses, strict=True):
        following = [symbol == "*" and row[0]] + [False] * len(text)
        for index, character in enumerate(text, start=1):
            allowed = crosses or character != ":"
            if symbol == "*":
                following[index] = row[index] or (following[index - 1] and allowed)
            elif symbol == "?":
                following[index] = row[index - 1] and allowed
            else:
                following[index] = row[index - 1] and symbol == character
        row = following
    return row[-1]


@given(PATTERNS, TEXTS)
def test_a_glob_matches_as_the_textbook_table_does(pattern: str, text: str) -> None:
    expected = table_match(pattern, text, star_crosses=[True] * len(pattern))
    assert glob((Piece(pattern, wild=True),))(text) == expected


@given(PATTERNS, TEXTS)
def test_an_arn_glob_keeps_wildcards_inside_the_first_five_fields(pattern: str, text: str) -> None:
    crosses = [pattern[:index].count(":") >= 5 or set(pattern) == {"*"} for index in range(len(pattern))]
    assert arn_glob((Piece(pattern, wild=True),))(text) == table_match(pattern, text, star_crosses=crosses)


@given(
    st.lists(st.sampled_from(["a", ":", "*", "?", "b:b", "*a"]), min_size=6, max_size=24).map("".join),
    st.lists(st.sampled_from(["a", ":", "b", "b:b"]), min_size=6, max_size=24).map("".join),
)
def test_an_arn_glob_with_many_fields_matches_as_the_table_does(pattern: str, text: str) -> None:
    crosses = [pattern[:index].count(":") >= 5 for index in range(len(pattern))]
    assert arn_glob((Piece(pattern, wild=True),))(text) == table_match(pattern, text, star_crosses=crosses)


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 4000 + "b", "*a?" * 3000 + "b", "*" * 9000 + "b", "?*" * 1500 + "b", "*" + "a?" * 1500 + "b*", "a*" * 4000],
)
@pytest.mark.parametrize("build", [glob, arn_glob])
def test_hostile_patterns_end(pattern: str, build: object) -> None:
    build = glob if build is glob else arn_glob
    matcher = build((Piece(pattern, wild=True),))
    assert not matcher("a" * 2000 + "c")


def test_values_of_variables_are_literal_text() -> None:
    template = parse_template("session/${aws:username}-*", variables=True)
    pieces = template.resolve({"aws:username": ("*",)})
    assert pieces is not None
    assert glob(pieces)("session/*-1")
    assert not glob(pieces)("session/alice-1")


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("a${aws:username}b", {"aws:username": ("x",)}, "axb"),
        ("${AWS:UserName}", {"aws:username": ("x",)}, "x"),
        ("${aws:PrincipalTag/Team}", {"aws:principaltag/team": ("red",)}, "red"),
        ("${aws:PrincipalTag/Team, 'none'}", {}, "none"),
        ("${aws:PrincipalTag/Team, ''}", {}, ""),
        ("${aws:PrincipalTag/Team, 'none'}", {"aws:principaltag/team": ("red",)}, "red"),
        ("${aws:TagKeys, 'none'}", {"aws:tagkeys": ("a", "b")}, None),
        ("${aws:username}", {}, None),
        ("${*}${?}${$}", {}, "*?$"),
        ("cost $5", {}, "cost $5"),
    ],
)
def test_variables_take_single_values_or_their_default(
    text: str, values: dict[str, tuple[str, ...]], expected: str | None
) -> None:
    pieces = parse_template(text, variables=True).resolve(values)
    assert (None if pieces is None else plain(pieces)) == expected


def test_escaped_wildcards_match_only_themselves() -> None:
    pieces = parse_template("a${*}b${?}", variables=True).resolve({})
    assert pieces is not None
    assert glob(pieces)("a*b?")
    assert not glob(pieces)("axbx")


def test_the_old_version_has_no_variables() -> None:
    assert parse_template("${aws:username}", variables=False).parts == (Piece("${aws:username}", wild=True),)
    assert parse_template("${aws:username}", variables=True).parts == (Variable("aws:username", None),)


@pytest.mark.parametrize(
    "text", ["${", "${aws:username", "${}", "${ }", "${a, b}", "${a, 'b}", "${a,}", "${a'b}", "${${a}}"]
)
def test_broken_variables_are_malformed(text: str) -> None:
    with pytest.raises(MalformedPolicy):
        parse_template(text, variables=True)
