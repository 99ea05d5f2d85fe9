"""Text patterns of policies: `*`, `?` and `${variables}`, matched without ever backtracking over a star."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

Values = Mapping[str, tuple[str, ...]]
"""A request's context: lower-cased key -> its values, never an empty tuple."""

Matcher = Callable[[str], bool]


class MalformedPolicy(ValueError):
    """The document is not a policy; `reason` says what to mend."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Piece(NamedTuple):
    """Fixed text; where `wild`, its `*` and `?` stand for other characters."""

    text: str
    wild: bool


class Variable(NamedTuple):
    """`${key}` or `${key, 'default'}`; the key is lower-cased."""

    key: str
    default: str | None


Pieces = tuple[Piece, ...]
Builder = Callable[[Pieces], Matcher]


class Template(NamedTuple):
    """A pattern as written: fixed pieces and variables in order."""

    parts: tuple[Piece | Variable, ...]

    @property
    def keys(self) -> frozenset[str]:
        """The condition keys that its variables name."""
        return frozenset(part.key for part in self.parts if isinstance(part, Variable))

    def resolve(self, values: Values) -> Pieces | None:
        """Put values in place of variables, as literal text; None when one has no single value and no default."""
        pieces: list[Piece] = []
        for part in self.parts:
            if isinstance(part, Piece):
                pieces.append(part)
                continue
            found = values.get(part.key, ())
            text = found[0] if len(found) == 1 else part.default if not found else None
            if text is None:
                return None
            pieces.append(Piece(text, wild=False))
        return tuple(pieces)


def parse_template(text: str, *, variables: bool) -> Template:
    """Split `text` at its variables; without `variables` (policy version 2008-10-17) `${` is ordinary text.

    `${*}`, `${?}` and `${$}` are those characters themselves (IAM user guide, "Policy variables: special characters").
    """
    if not variables or "${" not in text:
        return Template((Piece(text, wild=True),))
    parts: list[Piece | Variable] = []
    position = 0
    while (start := text.find("${", position)) >= 0:
        end = text.find("}", start)
        if end < 0:
            raise MalformedPolicy(f"variable in {text[:80]!r} is not closed with a brace")
        if start > position:
            parts.append(Piece(text[position:start], wild=True))
        parts.append(_variable(text[start + 2 : end]))
        position = end + 1
    if position < len(text):
        parts.append(Piece(text[position:], wild=True))
    return Template(tuple(parts))


def _variable(body: str) -> Piece | Variable:
    if body in ("*", "?", "$"):
        return Piece(body, wild=False)
    key, comma, default = (part.strip() for part in body.partition(","))
    if not key or any(character in "${'\"*?" for character in key):
        raise MalformedPolicy(f"variable ${{{body[:80]}}} does not name a key")
    if not comma:
        return Variable(key.lower(), None)
    if len(default) < 2 or not (default[0] == default[-1] == "'") or "'" in default[1:-1]:
        raise MalformedPolicy(f"default of variable ${{{body[:80]}}} must stand in single quotes")
    return Variable(key.lower(), default[1:-1])


class _Wild(Enum):
    ANY = "*"
    ONE = "?"


def _tokens(pieces: Pieces) -> Iterator[str | _Wild]:
    for piece in pieces:
        if not piece.wild:
            yield piece.text
            continue
        for part in re.split(r"([*?])", piece.text):
            if part in ("*", "?"):
                yield _Wild(part)
            elif part:
                yield part


def plain(pieces: Pieces) -> str:
    """The text with every character meaning itself."""
    return "".join(piece.text for piece in pieces)


def equal(pieces: Pieces) -> Matcher:
    """Equality, wildcards meaning themselves."""
    return frozenset((plain(pieces),)).__contains__


def equal_ignoring_case(pieces: Pieces) -> Matcher:
    """Equality after folding case."""
    wanted = plain(pieces).casefold()
    return lambda text: text.casefold() == wanted


def everything(_: str) -> bool:
    """The matcher of a lone `*`."""
    return True


@lru_cache(maxsize=4096)
def glob(pieces: Pieces) -> Matcher:
    """Match the whole text; `*` is any run of characters, `?` exactly one. Case counts."""
    literals, only_stars = [""], True
    for token in _tokens(pieces):
        if token is _Wild.ANY:
            literals.append("")
        elif token is _Wild.ONE:
            only_stars = False
        else:
            literals[-1] += token
    if only_stars and not any(literals[1:-1]):
        return _affixes(literals)
    return _expression(pieces, fields=0)


def _affixes(literals: list[str]) -> Matcher:
    """Patterns with stars in one place only: `text`, `start*`, `start*end`."""
    start, end = literals[0], literals[-1]
    if len(literals) == 1:
        return frozenset((start,)).__contains__
    if not end:
        return (lambda text: text.startswith(start)) if start else everything
    shortest = len(start) + len(end)
    return lambda text: len(text) >= shortest and text.startswith(start) and text.endswith(end)


@lru_cache(maxsize=4096)
def arn_glob(pieces: Pieces) -> Matcher:
    """Match an ARN field by field: in the first five fields a wildcard never stands for a colon.

    A pattern of stars alone matches every text; one with fewer than six fields matches no ARN.
    """
    if set(_tokens(pieces)) == {_Wild.ANY}:
        return everything
    return _expression(pieces, fields=5)


def _expression(pieces: Pieces, *, fields: int) -> Matcher:
    """A regular expression whose stars are atomic: each takes the first place where the next text fits.

    That is enough, because a later place never matches where the first does not: the characters between are ones the
    next star may take too. So the cost is at most length of pattern times length of text.
    """
    source = [""]  # each element but the first begins with a star
    colons = 0
    for token in _tokens(pieces):
        one = "." if colons >= fields else "[^:]"
        if token is _Wild.ANY:
            source.append(one)
        elif token is _Wild.ONE:
            source[-1] += one
        else:
            source[-1] += re.escape(token)
            colons += token.count(":")
    return _join_stars(source)


def _join_stars(source: list[str]) -> Matcher:
    expression = source[0]
    for index, element in enumerate(source[1:], start=1):
        one = "[^:]" if element.startswith("[^:]") else "."
        rest = element[len(one) :]
        if index == len(source) - 1:
            expression += f"{one}*{rest}"
        elif rest:
            expression += f"(?>{one}*?{rest})"
        else:
            expression += f"(?>{one}*?)"
    compiled = re.compile(expression, re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


def union(all_pieces: Sequence[Pieces], build: Builder) -> Matcher:
    """Match when one of several patterns does."""
    if build is equal:
        return frozenset(plain(pieces) for pieces in all_pieces).__contains__
    matchers = [build(pieces) for pieces in all_pieces]
    if everything in matchers:
        return everything
    if len(matchers) == 1:
        return matchers[0]
    return lambda text: any(matcher(text) for matcher in matchers)


@dataclass(frozen=True, slots=True)
class TextTest:
    """Does a text match one of several templates? Those without variables are compiled once."""

    fixed: Matcher
    dynamic: tuple[Template, ...]
    build: Builder
    keys: frozenset[str]

    def bind(self, values: Values) -> tuple[Matcher, bool]:
        """The test for one context, and whether every variable had a value; a template without is left out."""
        if not self.dynamic:
            return self.fixed, True
        resolved = [template.resolve(values) for template in self.dynamic]
        known = [pieces for pieces in resolved if pieces is not None]
        complete = len(known) == len(resolved)
        if not known:
            return self.fixed, complete
        bound, fixed = union(known, self.build), self.fixed
        return (lambda text: fixed(text) or bound(text)), complete


def text_test(templates: Sequence[Template], build: Builder) -> TextTest:
    """Sort templates into those compiled now and those compiled per context."""
    fixed = [piece for template in templates if not template.keys and (piece := template.resolve({})) is not None]
    dynamic = tuple(template for template in templates if template.keys)
    keys = frozenset[str]().union(*(template.keys for template in dynamic))
    return TextTest(union(fixed, build), dynamic, build, keys)
