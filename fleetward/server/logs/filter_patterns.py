"""Filter patterns: what events a reader wants, by terms, by fields of JSON or by columns. Pure.

    ERROR "disk full" -retry        all of these terms, and not that one
    ?ERROR ?WARN                    any of them
    %[45]\\d\\d%                      a regular expression
    { $.user.id = 7 && $.ok IS FALSE }      fields of an event that is a JSON object
    [ip, user, ..., status = 4*, size > 100]    columns of an event, separated by spaces

Source: CloudWatch Logs user guide, "Filter pattern syntax". Case counts everywhere.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import regex

DEEPEST = 20
MOST_EXPRESSIONS = 2
SECONDS_OF_AN_EXPRESSION = 0.1
_EXPRESSION_CHARACTERS = re.compile(r"[A-Za-z0-9:_#=@/;,\-^$?\[\]{}|\\*+. ]+")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_OPERATORS = ("!=", ">=", "<=", "=", ">", "<")

Filter = Callable[[str], bool]
Test = Callable[[Any], bool]


class PatternFault(Exception):
    """The pattern cannot be read; the text says where."""


@lru_cache(maxsize=256)
def compile_pattern(text: str) -> Filter:
    """A function that tells whether an event's message is wanted; raises PatternFault."""
    stripped = text.strip()
    if not stripped:
        return lambda message: True
    if stripped.startswith("{"):
        return _fields(stripped)
    if stripped.startswith("["):
        return _columns(stripped)
    return _terms(stripped)


# -- terms -------------------------------------------------------------------------------------------------------------


def _terms(text: str) -> Filter:
    wanted: list[Filter] = []
    unwanted: list[Filter] = []
    any_of: list[Filter] = []
    reader = Reader(text)
    while not reader.ended():
        kind = reader.take_any("-", "?")
        place = {"-": unwanted, "?": any_of, "": wanted}[kind]
        place.append(_term(reader))
        if not reader.ended() and not reader.blank():
            raise PatternFault(f"Terms must be separated by spaces, at character {reader.at + 1}")
        reader.skip()
    if wanted or unwanted:  # beside other terms those with a question mark do not count
        return lambda message: all(each(message) for each in wanted) and not any(each(message) for each in unwanted)
    return lambda message: any(each(message) for each in any_of)


def _term(reader: Reader) -> Filter:
    if reader.peek() == '"':
        phrase = reader.quoted()
        return lambda message: phrase in message
    if reader.peek() == "%":
        return reader.expression()
    word = reader.until(lambda character: character.isspace())
    if not word or not all(character.isalnum() or character == "_" for character in word):
        raise PatternFault(f"Invalid character(s) in term '{word}': put it into double quotation marks")
    return lambda message: word in message


# -- fields of JSON ----------------------------------------------------------------------------------------------------

Step = str | int | None
"""A name, an index, or None for every element."""


def _fields(text: str) -> Filter:
    reader = Reader(text)
    reader.expect("{")
    test = _alternatives(reader, lambda: _field_test(reader), 0)
    reader.expect("}")
    if not reader.ended():
        raise PatternFault(f"Something follows the closing brace, at character {reader.at + 1}")

    def wanted(message: str) -> bool:
        if not message.lstrip().startswith("{"):
            return False
        try:
            found = orjson.loads(message)
        except orjson.JSONDecodeError:
            return False
        return isinstance(found, dict) and test(found)

    return wanted


def _alternatives(reader: Reader, single: Callable[[], Test], depth: int) -> Test:
    """`a && b || (c && d)`; && binds closer."""
    if depth > DEEPEST:
        raise PatternFault(f"More than {DEEPEST} parentheses are open")
    options = [_together(reader, single, depth)]
    while reader.take("||"):
        options.append(_together(reader, single, depth))
    return options[0] if len(options) == 1 else lambda value: any(option(value) for option in options)


def _together(reader: Reader, single: Callable[[], Test], depth: int) -> Test:
    parts = [_part(reader, single, depth)]
    while reader.take("&&"):
        parts.append(_part(reader, single, depth))
    return parts[0] if len(parts) == 1 else lambda value: all(part(value) for part in parts)


def _part(reader: Reader, single: Callable[[], Test], depth: int) -> Test:
    if not reader.take("("):
        return single()
    inside = _alternatives(reader, single, depth + 1)
    reader.expect(")")
    return inside


def _field_test(reader: Reader) -> Test:
    steps = _selector(reader)
    if reader.take_word("IS"):
        for word, value in (("NULL", None), ("TRUE", True), ("FALSE", False)):
            if reader.take_word(word):
                return lambda root, value=value: any(each is value for each in _find(root, steps))  # type: ignore[misc]
        raise PatternFault(f"IS must be followed by NULL, TRUE or FALSE, at character {reader.at + 1}")
    if reader.take_word("NOT"):
        if not reader.take_word("EXISTS"):
            raise PatternFault(f"NOT must be followed by EXISTS, at character {reader.at + 1}")
        return lambda root: not any(True for _ in _find(root, steps))
    compare = _comparison(reader)
    return lambda root: any(compare(each) for each in _find(root, steps))


def _selector(reader: Reader) -> tuple[Step, ...]:
    reader.expect("$")
    steps: list[Step] = []
    while True:
        if reader.take_here("."):
            name = reader.until(lambda character: character.isspace() or character in '=!<>()[].&|{}"%')
            if not name:
                raise PatternFault(f"A field's name is missing, at character {reader.at + 1}")
            steps.append(name)
        elif reader.take_here("["):
            steps.append(_bracketed(reader))
            reader.expect("]")
        else:
            break
    if not steps:
        raise PatternFault(f"A selector is $.name, at character {reader.at + 1}")
    reader.skip()
    return tuple(steps)


def _bracketed(reader: Reader) -> Step:
    reader.skip()
    if reader.peek() in ('"', "'"):
        return reader.quoted(reader.peek())
    if reader.take("*"):
        return None
    digits = reader.until(lambda character: not character.isdecimal())
    if not digits or len(digits) > 9:
        raise PatternFault(f"In brackets stands a number, a name in quotation marks or *, at character {reader.at + 1}")
    return int(digits)


def _find(value: Any, steps: Sequence[Step]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if isinstance(value, dict) and step in value:
            yield from _find(value[step], rest)
    elif isinstance(value, list):
        for each in value if step is None else value[step : step + 1]:
            yield from _find(each, rest)


# -- columns -----------------------------------------------------------------------------------------------------------

_COLUMN_NAME = re.compile(r"([\s(]*)([\w-]+)")
_COLUMN = re.compile(r'"([^"]*)"|\[([^\]]*)\]|(\S+)')


@dataclass(frozen=True, slots=True)
class _Column:
    test: Test | None


def _columns(text: str) -> Filter:
    reader = Reader(text)
    reader.expect("[")
    columns: list[_Column | None] = []  # None: any number of columns
    while True:
        columns.append(_column(reader))
        if not reader.take(","):
            break
    reader.expect("]")
    if not reader.ended():
        raise PatternFault(f"Something follows the closing bracket, at character {reader.at + 1}")
    if columns.count(None) > 1:
        raise PatternFault("Only one ... can stand in a pattern")

    def wanted(message: str) -> bool:
        found = [match[1] or match[2] or match[3] or "" for match in _COLUMN.finditer(message)]
        return _fits(columns, found)

    return wanted


def _fits(columns: Sequence[_Column | None], found: Sequence[str]) -> bool:
    if None in columns:
        gap = columns.index(None)
        behind = columns[gap + 1 :]
        if len(found) < len(columns) - 1:
            return False
        paired = [*zip(columns[:gap], found, strict=False)]
        paired += zip(behind, found[len(found) - len(behind) :], strict=True) if behind else ()
    else:
        if len(found) != len(columns):
            return False
        paired = [*zip(columns, found, strict=True)]
    return all(column is None or column.test is None or column.test(value) for column, value in paired)


def _column(reader: Reader) -> _Column | None:
    """`...`, a bare name, or conditions that are all about one name."""
    reader.skip()
    if reader.take("..."):
        return None
    first = _COLUMN_NAME.match(reader.text, reader.at)
    if first is None:
        raise PatternFault(f"A column's name is missing, at character {reader.at + 1}")
    name = first[2]
    if not first[1].strip() and reader.text[first.end() :].lstrip()[:1] in (",", "]"):
        reader.at = first.end()
        return _Column(None)

    def single() -> Test:
        reader.skip()
        if not reader.take_here(name):
            raise PatternFault(f"A column's conditions are all about {name!r}, at character {reader.at + 1}")
        return _comparison(reader)

    return _Column(_alternatives(reader, single, 0))


# -- comparing ---------------------------------------------------------------------------------------------------------


def _comparison(reader: Reader) -> Test:
    """`= value` and the like: what holds of a found value."""
    reader.skip()
    operator = reader.take_any(*_OPERATORS)
    if not operator:
        raise PatternFault(f"One of {' '.join(_OPERATORS)} is missing, at character {reader.at + 1}")
    reader.skip()
    if operator in ("=", "!="):
        equal = _equality(reader)
        return equal if operator == "=" else lambda value: not equal(value)
    text = reader.until(lambda character: character.isspace() or character in "&|(){},]")
    reader.skip()
    if not _NUMBER.fullmatch(text):
        raise PatternFault(f"{operator} compares with a number, not {text!r}")
    bound = float(text)
    compare: Callable[[float], bool] = {
        ">": bound.__lt__,
        "<": bound.__gt__,
        ">=": bound.__le__,
        "<=": bound.__ge__,
    }[operator]
    return lambda value: (number := _number(value)) is not None and compare(number) is True


def _equality(reader: Reader) -> Test:
    if reader.peek() == "%":
        search = reader.expression()
        return lambda value: isinstance(value, str) and search(value)
    if reader.peek() == '"':
        return _like(reader.quoted())
    text = reader.until(lambda character: character.isspace() or character in "&|(){},]")
    reader.skip()
    if not text:
        raise PatternFault(f"A value is missing, at character {reader.at + 1}")
    like = _like(text)
    if not _NUMBER.fullmatch(text):
        return like
    wanted = float(text)
    return lambda value: _number(value) == wanted or like(value)


def _like(text: str) -> Test:
    """Equal text, where * stands for any characters."""
    if "*" not in text:
        return lambda value: _text(value) == text
    escaped = "".join("[" + character + "]" if character in "?[" else character for character in text)
    matches = re.compile(fnmatch.translate(escaped)).match
    return lambda value: (shown := _text(value)) is not None and matches(shown) is not None


def _text(value: Any) -> str | None:
    """What a string or number looks like; None for anything else."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return float(value) if isinstance(value, str) and len(value) < 100 and _NUMBER.fullmatch(value) else None


# -- reading a pattern -------------------------------------------------------------------------------------------------


class Reader:
    """A pattern and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._expressions = 0

    def ended(self) -> bool:
        """Whether nothing but blanks is left."""
        return not self.text[self.at :].strip()

    def blank(self) -> bool:
        """Whether the next character is a blank."""
        return self.text[self.at : self.at + 1].isspace()

    def skip(self) -> None:
        """Leave out blanks."""
        while self.blank():
            self.at += 1

    def peek(self) -> str:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def take_here(self, text: str) -> bool:
        """Whether `text` came next, without blanks; it is read then."""
        found = self.text.startswith(text, self.at)
        self.at += len(text) * found
        return found

    def take(self, text: str) -> bool:
        """Whether `text` came next; it and the blanks around are read then."""
        self.skip()
        found = self.take_here(text)
        self.skip()
        return found

    def take_any(self, *texts: str) -> str:
        """Which of the texts came next; empty for none."""
        return next((text for text in texts if self.take_here(text)), "")

    def take_word(self, word: str) -> bool:
        """Whether this word came next, in any case."""
        self.skip()
        end = self.at + len(word)
        if self.text[self.at : end].upper() != word or self.text[end : end + 1].isalnum():
            return False
        self.at = end
        self.skip()
        return True

    def expect(self, text: str) -> None:
        """Read `text`, which must come next."""
        self.skip()
        if not self.take_here(text):
            raise PatternFault(f"{text!r} is missing, at character {self.at + 1}")
        if text != "$":
            self._after(text)

    def until(self, stop: Callable[[str], bool]) -> str:
        """Everything up to the first character for which `stop` holds."""
        start = self.at
        while self.at < len(self.text) and not stop(self.text[self.at]):
            self.at += 1
        return self.text[start : self.at]

    def quoted(self, mark: str = '"') -> str:
        """A text in quotation marks; a backslash keeps a mark or backslash."""
        start, found = self.at, []
        self.at += 1
        while self.peek() != mark:
            if not self.peek():
                raise PatternFault(f"The quotation mark at character {start + 1} is not closed")
            if self.peek() == "\\" and self.text[self.at + 1 : self.at + 2] in ("\\", mark):
                self.at += 1
            found.append(self.peek())
            self.at += 1
        self.at += 1
        return "".join(found)

    def expression(self) -> Filter:
        """A regular expression between percent signs."""
        start = self.at
        self.at += 1
        body = self.until(lambda character: character == "%")
        if not self.peek():
            raise PatternFault(f"The % at character {start + 1} is not closed")
        self.at += 1
        self._expressions += 1
        if self._expressions > MOST_EXPRESSIONS:
            raise PatternFault(f"A pattern can hold {MOST_EXPRESSIONS} regular expressions at most")
        if not _EXPRESSION_CHARACTERS.fullmatch(body):
            raise PatternFault(f"The regular expression {body!r} holds characters that are not supported")
        try:
            search = regex.compile(body).search
        except regex.error as fault:
            raise PatternFault(f"The regular expression {body!r} cannot be read: {fault}") from fault
        return lambda message: _searched(search, message)

    def _after(self, text: str) -> None:
        if text != "]":
            self.skip()


def _searched(search: Callable[..., Any], message: str) -> bool:
    try:
        return search(message, timeout=SECONDS_OF_AN_EXPRESSION) is not None
    except TimeoutError as fault:
        raise PatternFault("The regular expression takes too long; make it simpler") from fault
