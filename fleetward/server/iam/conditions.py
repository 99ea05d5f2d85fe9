"""Condition blocks of policies: every operator, quantifier and IfExists, compiled to tests on a request's context.

Source of behaviour: IAM user guide, "IAM JSON policy elements: Condition operators" and "Multivalued context keys".
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Protocol

from fleetward.server.iam.patterns import (
    Builder,
    MalformedPolicy,
    Matcher,
    TextTest,
    Values,
    arn_glob,
    equal,
    equal_ignoring_case,
    glob,
    parse_template,
    text_test,
)


class Condition(Protocol):
    """One line of a condition block."""

    @property
    def keys(self) -> frozenset[str]:
        """Lower-cased context keys this line looks at, those of its variables included."""

    def holds(self, values: Values) -> bool:
        """Whether the line is true for a request's context."""


class Quantifier(Enum):
    """How several values of one context key count."""

    ONE = ""
    ALL = "forallvalues"
    ANY = "foranyvalue"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operator: {key: values}`.

    Ours: several values under an operator without quantifier count as ForAnyValue, a negated one as "none of them".
    Ours: a variable without value matches nothing; in a negated comparison that makes an Allow not apply and a Deny
    apply, so that a missing tag never opens a door.
    """

    key: str
    test: TextTest
    negated: bool
    quantifier: Quantifier
    when_missing: bool
    when_unresolved: bool
    keys: frozenset[str]

    def holds(self, values: Values) -> bool:
        """Whether the request's values of the key fulfil the comparison."""
        present = values.get(self.key)
        if not present:
            return self.when_missing
        test = self.test
        match = test.fixed
        if test.dynamic:
            match, resolved = test.bind(values)
            if self.negated and not resolved:
                return self.when_unresolved
        if len(present) == 1:  # all quantifiers agree about one value
            return match(present[0]) != self.negated
        if self.quantifier is Quantifier.ALL:
            return all(match(value) != self.negated for value in present)
        if self.quantifier is Quantifier.ANY:
            return any(match(value) != self.negated for value in present)
        return any(map(match, present)) != self.negated


@dataclass(frozen=True, slots=True)
class Presence:
    """`Null: {key: values}`: `missing` lists which of absent (True) and present (False) are accepted."""

    key: str
    missing: frozenset[bool]

    @property
    def keys(self) -> frozenset[str]:
        """The condition keys it looks at."""
        return frozenset((self.key,))

    def holds(self, values: Values) -> bool:
        """Whether the key is there or missing, as asked."""
        return (not values.get(self.key)) in self.missing


_Compile = Callable[[Sequence[str], bool], TextTest]
"""(values of the policy, whether variables count) -> test of one context value."""


def _text(build: Builder) -> _Compile:
    def compile_values(texts: Sequence[str], variables: bool) -> TextTest:
        return text_test([parse_template(text, variables=variables) for text in texts], build)

    return compile_values


def _fixed(matcher: Matcher) -> TextTest:
    return TextTest(matcher, (), equal, frozenset())


def _ordered(
    parse: Callable[[str], Decimal | None], compare: Callable[[Decimal, Decimal], bool], what: str
) -> _Compile:
    def compile_values(texts: Sequence[str], _: bool) -> TextTest:
        wanted: list[Decimal] = []
        for text in texts:
            parsed = parse(text)
            if parsed is None:
                raise MalformedPolicy(f"condition value {text[:80]!r} is not {what}")
            wanted.append(parsed)

        def match(text: str) -> bool:
            value = parse(text)
            return value is not None and any(compare(value, other) for other in wanted)

        return _fixed(match)

    return compile_values


_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")


def parse_number(text: str) -> Decimal | None:
    """A decimal number, or None."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def parse_date(text: str) -> Decimal | None:
    """Seconds since 1970 from ISO 8601 (UTC where no offset is given) or from such seconds; None if neither."""
    seconds = parse_number(text)
    if seconds is not None:
        return seconds
    try:
        moment = datetime.fromisoformat(text)
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return Decimal(since.days * 86_400 + since.seconds) + Decimal(since.microseconds) / 1_000_000


def _truth(text: str) -> bool:
    folded = text.lower()
    if folded not in ("true", "false"):
        raise MalformedPolicy(f"condition value {text[:80]!r} is neither true nor false")
    return folded == "true"


def _booleans(texts: Sequence[str], _: bool) -> TextTest:
    wanted = frozenset("true" if _truth(text) else "false" for text in texts)
    return _fixed(lambda text: text.lower() in wanted)


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _binaries(texts: Sequence[str], _: bool) -> TextTest:
    wanted = {_decode(text) for text in texts}
    if None in wanted:
        raise MalformedPolicy("a value of BinaryEquals is not base64")
    return _fixed(lambda text: _decode(text) in wanted)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> tuple[int, int] | None:
    """(version, number) of an IP address, an IPv4 one written as IPv6 counting as IPv4; None if it is not one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


def _networks(texts: Sequence[str], _: bool) -> TextTest:
    wanted: list[tuple[int, int, int]] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise MalformedPolicy(f"condition value {text[:80]!r} is not an address or network (CIDR)") from None
        wanted.append((network.version, int(network.network_address), int(network.netmask)))

    def match(text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(
            address[0] == version and address[1] & mask == start for version, start, mask in wanted
        )

    return _fixed(match)


def _number(compare: Callable[[Decimal, Decimal], bool]) -> _Compile:
    return _ordered(parse_number, compare, "a number")


def _date(compare: Callable[[Decimal, Decimal], bool]) -> _Compile:
    return _ordered(parse_date, compare, "a date")


OPERATORS: Mapping[str, tuple[_Compile, bool]] = {
    "stringequals": (_text(equal), False),
    "stringnotequals": (_text(equal), True),
    "stringequalsignorecase": (_text(equal_ignoring_case), False),
    "stringnotequalsignorecase": (_text(equal_ignoring_case), True),
    "stringlike": (_text(glob), False),
    "stringnotlike": (_text(glob), True),
    "numericequals": (_number(operator.eq), False),
    "numericnotequals": (_number(operator.eq), True),
    "numericlessthan": (_number(operator.lt), False),
    "numericlessthanequals": (_number(operator.le), False),
    "numericgreaterthan": (_number(operator.gt), False),
    "numericgreaterthanequals": (_number(operator.ge), False),
    "dateequals": (_date(operator.eq), False),
    "datenotequals": (_date(operator.eq), True),
    "datelessthan": (_date(operator.lt), False),
    "datelessthanequals": (_date(operator.le), False),
    "dategreaterthan": (_date(operator.gt), False),
    "dategreaterthanequals": (_date(operator.ge), False),
    "bool": (_booleans, False),
    "binaryequals": (_binaries, False),
    "ipaddress": (_networks, False),
    "notipaddress": (_networks, True),
    "arnequals": (_text(arn_glob), False),
    "arnlike": (_text(arn_glob), False),
    "arnnotequals": (_text(arn_glob), True),
    "arnnotlike": (_text(arn_glob), True),
}
"""Lower-cased operator -> (how its values become a test, whether the result is turned round)."""


def compile_condition(name: str, key: str, texts: Sequence[str], *, variables: bool, allow: bool) -> Condition:
    """One operator with one key and its values; `allow` is the statement's effect. Raises MalformedPolicy."""
    if ":" not in key.strip(":"):
        raise MalformedPolicy(f"condition key {key[:80]!r} must begin with a service, as in aws:username")
    quantifier, word, if_exists = _split(name)
    if word == "null":
        if if_exists or quantifier is not Quantifier.ONE:
            raise MalformedPolicy("Null takes neither IfExists nor a quantifier")
        return Presence(key.lower(), frozenset(_truth(text) for text in texts))
    if word not in OPERATORS:
        raise MalformedPolicy(f"condition operator {name[:80]!r} does not exist")
    build, negated = OPERATORS[word]
    test = build(texts, variables)
    missing = if_exists or quantifier is Quantifier.ALL or (negated and quantifier is Quantifier.ONE)
    keys = test.keys | {key.lower()}
    return Comparison(key.lower(), test, negated, quantifier, missing, when_unresolved=not allow, keys=keys)


def _split(name: str) -> tuple[Quantifier, str, bool]:
    """`ForAnyValue:StringLikeIfExists` -> (ANY, "stringlike", True)."""
    prefix, colon, word = name.lower().rpartition(":")
    if colon and prefix not in ("forallvalues", "foranyvalue"):
        raise MalformedPolicy(f"condition operator {name[:80]!r} does not exist")
    return Quantifier(prefix), word.removesuffix("ifexists"), word.endswith("ifexists")
