"""Filter patterns: which messages are wanted, and that no text breaks the reader."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.logs.filter_patterns import PatternFault, compile_pattern

WORDS = st.text("abcdeXYZ0159_", min_size=1, max_size=5)
TEXTS = st.text("abcdeXYZ0159_ -.", max_size=30)
EVENT = json.dumps(
    {
        "type": "Update",
        "user": {"id": 7, "name": "Jo Doe", "mail": None},
        "ok": False,
        "done": True,
        "size": 12.5,
        "list": [{"n": 1}, {"n": 2}],
        "user-agent": "x",
        "text": "7",
    }
)


@pytest.mark.parametrize(
    ("pattern", "message", "wanted"),
    [
        ("", "anything", True),
        ("   ", "anything", True),
        ("ERROR", "[ERROR 401]", True),
        ("ERROR", "error", False),
        ("ERROR ARGUMENTS", "ARGUMENTS of an ERROR", True),
        ("ERROR ARGUMENTS", "an ERROR", False),
        ("ERROR -EXITING", "ERROR: EXITING", False),
        ("ERROR -EXITING", "ERROR", True),
        ("-EXITING", "ERROR", True),
        ("?ERROR ?WARN", "a WARN", True),
        ("?ERROR ?WARN", "INFO", False),
        ("?ERROR INFO", "INFO", True),
        ('"disk full"', "the disk full again", True),
        ('"disk full"', "disk is full", False),
        ('-"disk full" a', "a disk full", False),
        ('?"disk full" ?b', "disk full", True),
        (r'"say \"no\""', 'they say "no"', True),
        ("%[45][0-9]{2}%", "status 503", True),
        ("%^[45][0-9]{2}%", "status 503", False),
        ("%a|b% c", "b c", True),
    ],
)
def test_terms(pattern: str, message: str, wanted: bool) -> None:
    assert compile_pattern(pattern)(message) is wanted


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ('{ $.type = "Update" }', True),
        ("{ $.type = Update }", True),
        ('{$.type="Upd*"}', True),
        ('{ $.type = "*e" && $.user.id = 7 }', True),
        ('{ $.type = "update" }', False),
        ("{ $.type != Update }", False),
        ("{ $.type != Other }", True),
        ("{ $.none != Other }", False),
        ("{ $.user.id > 6 }", True),
        ("{ $.user.id >= 7 && $.user.id <= 7 }", True),
        ("{ $.user.id < 7 }", False),
        ("{ $.size = 1.25e1 }", True),
        ("{ $.text = 7 }", True),
        ("{ $.text > 6 }", True),
        ("{ $.type > 6 }", False),
        ("{ $.user.mail IS NULL }", True),
        ("{ $.user.name IS NULL }", False),
        ("{ $.ok IS FALSE }", True),
        ("{ $.ok is true }", False),
        ("{ $.done IS TRUE }", True),
        ("{ $.none NOT EXISTS }", True),
        ("{ $.type NOT EXISTS }", False),
        ("{ $.list[1].n = 2 }", True),
        ("{ $.list[0].n = 2 }", False),
        ("{ $.list[*].n = 2 }", True),
        ("{ $.list[9].n NOT EXISTS }", True),
        ('{ $["user-agent"] = "x" }', True),
        ("{ $.user-agent = x }", True),
        ("{ $.user.name = %^J[a-z] D% }", True),
        ("{ $.user.name = %^D% }", False),
        ("{ $.user.id = 1 || $.type = Update }", True),
        ("{ $.user.id = 1 || $.type = Update && $.ok IS TRUE }", False),
        ("{ ($.user.id = 1 || $.type = Update) && $.ok IS FALSE }", True),
        ("{ (($.user.id = 7)) }", True),
    ],
)
def test_fields_of_json(pattern: str, wanted: bool) -> None:
    assert compile_pattern(pattern)(EVENT) is wanted
    assert compile_pattern(pattern)("not JSON") is False
    assert compile_pattern(pattern)("[1]") is False
    assert compile_pattern(pattern)("{broken") is False


LINE = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("[ip, id, user, timestamp, request, status, bytes]", True),
        ("[ip, id, user, timestamp, request, status]", False),
        ("[ip, id, user, timestamp, request, status = 4*, bytes]", True),
        ("[ip, id, user, timestamp, request, status = 5*, bytes]", False),
        ("[ip, id, user, timestamp, request, status, bytes > 1000]", True),
        ("[ip, id, user, timestamp, request = *html*, status, bytes > 1000 && bytes < 2000]", True),
        ("[ip, id, user, timestamp, request, status = 404 || status = 410, bytes]", True),
        ("[..., status = 404, bytes]", True),
        ("[ip, ..., bytes = 1534]", True),
        ("[ip = 127.0.0.1, ...]", True),
        ("[ip != %^127%, ...]", False),
        ("[a, ..., b, c, d, e, f, g, h]", False),
        ('[..., request = "GET*", (status = 1 || status = 404), bytes]', True),
    ],
)
def test_columns(pattern: str, wanted: bool) -> None:
    assert compile_pattern(pattern)(LINE) is wanted


@pytest.mark.parametrize(
    "pattern",
    [
        "foo-bar",
        "a.b",
        '"open',
        "%open",
        "%a(b)%",
        "%[%",
        "%a% %b% %c%",
        "-",
        "?",
        '"a""b"',
        "{",
        "{}",
        "{ $ = 1 }",
        "{ $.a }",
        "{ $.a = }",
        "{ $.a = 1",
        "{ $.a = 1 } x",
        "{ $.a > x }",
        "{ $.a IS MAYBE }",
        "{ $.a NOT }",
        "{ $.a[x] = 1 }",
        "{ $.a[1 = 1 }",
        "{ a = 1 }",
        "{ $.a = 1 && }",
        "{ ( $.a = 1 }",
        "{" + "(" * 30 + "$.a = 1" + ")" * 30 + "}",
        "[",
        "[a",
        "[a] b",
        "[..., ...]",
        "[a = 1 && b = 2]",
        "[=1]",
    ],
)
def test_patterns_that_cannot_be_read_are_refused(pattern: str) -> None:
    with pytest.raises(PatternFault):
        compile_pattern(pattern)


def test_a_slow_regular_expression_ends() -> None:
    started = time.monotonic()
    with pytest.raises(PatternFault, match="too long"):
        compile_pattern("%" + "a*" * 40 + "[bc]$%")("a" * 5000 + "x")
    assert time.monotonic() - started < 5


@given(st.lists(WORDS, min_size=1, max_size=3), st.lists(WORDS, max_size=2), TEXTS)
def test_terms_mean_what_containing_means(required: list[str], banned: list[str], message: str) -> None:
    wanted = compile_pattern(" ".join([*required, *(f"-{word}" for word in banned)]))(message)
    assert wanted == (all(word in message for word in required) and not any(word in message for word in banned))


@given(st.lists(WORDS, min_size=1, max_size=3), TEXTS)
def test_question_marks_mean_any_of(words: list[str], message: str) -> None:
    assert compile_pattern(" ".join(f"?{word}" for word in words))(message) == any(word in message for word in words)


@given(st.text(min_size=1, max_size=10), st.text(max_size=20))
def test_a_quoted_phrase_is_taken_as_it_stands(phrase: str, message: str) -> None:
    escaped = phrase.replace("\\", "\\\\").replace('"', '\\"')
    assert compile_pattern(f'"{escaped}"')(message) == (phrase in message)


@given(st.integers(-100, 100), st.sampled_from(["=", "!=", "<", ">", "<=", ">="]), st.integers(-100, 100))
def test_numbers_compare_as_numbers(value: int, operator: str, bound: int) -> None:
    wanted = compile_pattern(f"{{ $.x {operator} {bound} }}")(json.dumps({"x": value}))
    python = {"=": "=="}.get(operator, operator)
    assert wanted == eval(f"{value} {python} {bound}")


SIGNS = st.text("{}[]()$.=<>!&|\"'%*?-, abIS NULTEX09\\", max_size=40)


@given(SIGNS | st.text(max_size=30), TEXTS | st.just(EVENT) | st.just(LINE))
def test_any_text_is_a_pattern_or_refused(pattern: str, message: str) -> None:
    try:
        wanted = compile_pattern(pattern)(message)
    except PatternFault:
        return
    assert wanted in (True, False)
