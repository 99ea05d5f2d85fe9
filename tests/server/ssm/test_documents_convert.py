"""Documents: JSON and YAML both ways, and what text is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.server.ssm.documents import convert
from fleetward.server.ssm.errors import InvalidDocumentContent

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
AWKWARD = st.sampled_from(
    ["", ": ", "# x", "- a", "1e3", "0o7", "0x1f", "1.5", "012", "yes", "null", "~", "<<", "=", "12:30", "2030-01-01"]
)
LINES = st.lists(TEXT | AWKWARD | st.sampled_from(["  indented", "trailing ", "\ttab", "---", "..."]), max_size=4)
STRING = TEXT | AWKWARD | LINES.map("\n".join)
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBER | STRING,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRING, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(STRING, VALUE, max_size=4))
def test_every_object_survives_yaml_and_json(value: dict[str, Any]) -> None:
    for document_format in ("YAML", "JSON"):
        again = convert.read(convert.write(value, document_format), document_format)
        assert repr(again) == repr(value)  # order of members and kinds of numbers too


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text("[]{}:,-&*a1!|>'\"#%@? \n", max_size=40)
)
def test_any_text_is_an_object_or_refused(text: str) -> None:
    for document_format in ("YAML", "JSON"):
        try:
            assert isinstance(convert.read(text, document_format), dict)
        except InvalidDocumentContent as fault:
            assert fault.message  # noqa: PT017


def test_lines_of_a_script_are_written_as_they_are_read() -> None:
    text = convert.write_yaml({"schemaVersion": "2.2", "inputs": {"runCommand": ["set -e\nuname -a\n", "id"]}})
    assert text == ("schemaVersion: '2.2'\ninputs:\n  runCommand:\n  - |\n    set -e\n    uname -a\n  - id\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("No", "No"),
        ("true", True),
        ("FALSE", False),
        ("0644", "0644"),
        ("12:30", "12:30"),
        ("2030-01-01", "2030-01-01"),
        ("1_000", "1_000"),
        ("17", 17),
        ("-4", -4),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        ("~", None),
        ("''", ""),
        ("!!str 17", "17"),
        ("!!int '17'", 17),
    ],
)
def test_yaml_scalars_mean_what_json_authors_expect(text: str, value: Any) -> None:
    read = convert.read_yaml(f"a: {text}\n")["a"]
    assert (type(read), read) == (type(value), value)


def test_aliases_and_merge_keys_are_expanded_and_own_members_win() -> None:
    text = "base: &b {p: 1, q: [x]}\nmore: &m {p: 5, r: 6}\none:\n  p: 2\n  <<: *b\ntwo: {<<: [*b, *m]}\nthree: *b\n"
    read = convert.read_yaml(text)
    assert read["one"] == {"p": 2, "q": ["x"]}
    assert read["two"] == {"p": 1, "q": ["x"], "r": 6}
    assert read["three"] == read["base"]
    assert "&" not in convert.write_yaml(read)


def _bomb() -> str:
    lines = ["k0: &k0 [" + "x," * 90 + "]"]
    lines += [f"k{i}: &k{i} [" + ",".join([f"*k{i - 1}"] * 10) + "]" for i in range(1, 9)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_bomb(), "aliases stand for too much"),
        ("a: &a '" + "x" * 60_000 + "'\nb: [" + "*a," * 1000 + "]", "aliases stand for too much"),
        ("a: &a [*a]", "refers to nothing before it"),
        ("a: " + "[" * 50_000, "nested more than|nesting depth"),
        ("a:\n  !Ref Name", "tag !Ref"),
        ("a: !!python/object/apply:os.system ['id']", "tag"),
        ("a: 1\na: 2", "given twice"),
        ("a: 1\n--- \nb: 2", "more than one"),
        ("{[1]: 2}", "member name"),
        ("a: b: c", "line 1"),
        ("<<: 5", "objects only"),
        ("- a", "must be a YAML object"),
        ("", "must be a YAML object"),
    ],
)
def test_bad_yaml_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidDocumentContent, match=reason):
        convert.read(text, "YAML")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "given twice"),
        ('{"a": NaN}', "not JSON"),
        ('{"a": 1e999}', "out of range"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ', "not valid JSON"),
        ("[]", "must be a JSON object"),
        ("a: 1", "not valid JSON"),
    ],
)
def test_bad_json_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidDocumentContent, match=reason):
        convert.read(text, "JSON")
