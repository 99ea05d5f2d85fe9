"""Check values against their shapes, with AWS's wording of what is wrong.

Rules are those of the model: required members, lengths, ranges, patterns and enums. Types are settled before: a parser
raises `SerializationFault` for a wrong one and drops members the model does not know. Lengths count code points.

Patterns are Java's in spirit: a whole value has to match, `\\w`, `\\d` and `\\s` mean ASCII. Ours: a pattern asking for
"any text that is not blank" (`^(?!\\s*$).+`) allows line breaks; a value too long or too slow to match does not match.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any

import regex

from fleetward.protocol.api.model import Operation, PerShape, Shape

MATCH_SECONDS = 0.05
LONGEST_MATCHED = 65_536
MOST_LISTED = 10
LONGEST_SHOWN = 1024
TEXT_KINDS = ("string", "blob")
NUMBER_KINDS = ("integer", "long", "float", "double")
AGGREGATES = ("structure", "list", "map")
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (Mapping,),
    "list": (list, tuple),
    "map": (Mapping,),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (datetime,),
    "blob": (bytes, bytearray, memoryview),
}


@dataclass(slots=True)
class Violation:
    """One broken constraint: where (`instanceIds`, `targets.1.member.key`), what value, which rule."""

    path: str
    value: Any
    constraint: str
    sensitive: bool

    def __str__(self) -> str:
        shown = "Value" if self.sensitive else f"Value {_quoted(self.value)}"
        return f"{shown} at '{self.path}' failed to satisfy constraint: {self.constraint}"


def check(shape: Shape, value: Any) -> list[Violation]:
    """Every way in which `value`, as a parser returned it, breaks the constraints of `shape`; in the model's order."""
    found: list[Violation] | None = _checkers(shape)(value)
    return found or []


def faults_message(violations: Sequence[Violation]) -> str:
    """The message of a ValidationException. It counts all violations and words the first ten."""
    plural = "" if len(violations) == 1 else "s"
    listed = "; ".join(str(violation) for violation in violations[:MOST_LISTED])
    return f"{len(violations)} validation error{plural} detected: {listed}"


BEYOND_THE_MODEL = frozenset({("NotificationType", ""), ("AssociationStatusName", "Associated")})
"""What AWS answers although its enumerations do not name it: nothing where nothing was given, the first status."""


def check_result(operation: Operation, result: Mapping[str, Any]) -> list[str]:
    """For tests: what of a result is not as the model says (unknown names, types, required members, enums, None)."""
    if operation.output is None:
        return [f"{operation.name} has no result, got {sorted(result)}"] if result else []
    return _mismatches(operation.output, result, operation.name)


def _mismatches(shape: Shape, value: Any, path: str) -> list[str]:
    if shape.kind == "document":
        return []
    plain: Any = value.value if isinstance(value, Enum) else value
    if not _is_a(shape.kind, plain):
        return [f"{path}: {type(value).__name__} is no {shape.kind}"]
    if shape.kind == "structure":
        return _structure_mismatches(shape, plain, path)
    if shape.element is not None:
        element = shape.element.shape
        return [line for index, each in enumerate(plain) for line in _mismatches(element, each, f"{path}[{index}]")]
    if shape.key is not None and shape.value is not None:
        key, entry = shape.key.shape, shape.value.shape
        lines = [line for name in plain for line in _mismatches(key, name, f"{path} key")]
        return lines + [line for name, each in plain.items() for line in _mismatches(entry, each, f"{path}[{name!r}]")]
    if shape.enum and plain not in shape.enum and (shape.name, plain) not in BEYOND_THE_MODEL:
        return [f"{path}: {plain!r} is not one of {', '.join(shape.enum)}"]
    if shape.kind == "timestamp" and plain.tzinfo is None:
        return [f"{path}: a time without zone"]
    return []


def _is_a(kind: str, value: object) -> bool:
    """Whether a value has the Python type of a kind; a bool is no number."""
    return isinstance(value, PYTHON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _structure_mismatches(shape: Shape, value: Mapping[str, Any], path: str) -> list[str]:
    lines = [f"{path}.{name}: required by {shape.name}" for name in shape.required if name not in value]
    for name, entry in value.items():
        member = shape.members.get(name)
        if member is None:
            lines.append(f"{path}.{name}: {shape.name} has no such member")
        else:
            lines += _mismatches(member.shape, entry, f"{path}.{name}")
    return lines


Checker = Callable[[Any], list[Violation] | None]


def _passes(value: Any) -> list[Violation] | None:
    """The checker of a shape without constraints."""
    return None


def _build(shape: Shape, part: Callable[[Shape], Checker]) -> Checker:
    if shape.kind == "structure":
        return _structure_checker(shape, part)
    if shape.element is not None:
        return _list_checker(shape, shape.element.shape, part)
    if shape.key is not None and shape.value is not None:
        return _map_checker(shape, shape.key.shape, shape.value.shape, part)
    if shape.kind in TEXT_KINDS:
        return _text_checker(shape)
    if shape.kind in NUMBER_KINDS and (shape.min is not None or shape.max is not None):
        return _number_checker(shape)
    return _passes


_checkers = PerShape(_build)


def _structure_checker(shape: Shape, part: Callable[[Shape], Checker]) -> Checker:
    checkers = {name: part(member.shape) for name, member in shape.members.items()}
    busy = {name: checker for name, checker in checkers.items() if checker is not _passes}
    required = [(name, _hides(shape.members[name].shape)) for name in shape.required]
    order = {name: index for index, name in enumerate(shape.members)}
    hidden = shape.sensitive
    if not busy and not required:
        return _passes

    def check_structure(value: Any) -> list[Violation] | None:
        found: list[tuple[int, Violation]] | None = None
        for name, secret in required:
            if name not in value:
                missing = Violation(_lower_camel(name), None, "Member must not be null", secret or hidden)
                found = [*(found or ()), (order[name], missing)]
        for name, entry in value.items():
            checker = busy.get(name)
            violations = checker(entry) if checker is not None else None
            if violations:
                _move_into(violations, _lower_camel(name), hidden)
                found = [*(found or ()), *((order[name], violation) for violation in violations)]
        return [violation for _, violation in sorted(found, key=lambda pair: pair[0])] if found else None

    return check_structure


def _list_checker(shape: Shape, element: Shape, part: Callable[[Shape], Checker]) -> Checker:
    low, high, hidden = shape.min or 0, _limit(shape.max), _hides(shape)
    checker = part(element)
    aggregate = element.kind in AGGREGATES

    def check_list(value: Any) -> list[Violation] | None:
        found = [] if low <= len(value) <= high else _length_violations(shape, value, hidden)
        if checker is not _passes:
            for index, entry in enumerate(value, 1):
                violations = checker(entry)
                if violations and aggregate:
                    _move_into(violations, f"{index}.member", hidden and shape.sensitive)
                    found += violations
                elif violations:
                    found.append(Violation("", value, f"Member must satisfy constraint: {_all_of(element)}", hidden))
                    break
        return found or None

    return _passes if checker is _passes and not low and high == _limit(None) else check_list


def _map_checker(shape: Shape, key: Shape, entry_shape: Shape, part: Callable[[Shape], Checker]) -> Checker:
    low, high, hidden = shape.min or 0, _limit(shape.max), _hides(shape)
    check_key, check_entry = part(key), part(entry_shape)
    aggregate = entry_shape.kind in AGGREGATES

    def check_map(value: Any) -> list[Violation] | None:
        found = [] if low <= len(value) <= high else _length_violations(shape, value, hidden)
        if check_key is not _passes and any(check_key(name) for name in value):
            found.append(Violation("", value, f"Map keys must satisfy constraint: {_all_of(key)}", hidden))
        if check_entry is not _passes:
            for name, entry in value.items():
                violations = check_entry(entry)
                if violations and aggregate:
                    _move_into(violations, f"{name[:LONGEST_SHOWN]}.member", shape.sensitive)
                    found += violations
                elif violations:
                    constraint = f"Map value must satisfy constraint: {_all_of(entry_shape)}"
                    found.append(Violation("", value, constraint, hidden))
                    break
        return found or None

    free = check_key is _passes and check_entry is _passes and not low and high == _limit(None)
    return _passes if free else check_map


def _text_checker(shape: Shape) -> Checker:
    low, high, allowed = shape.min or 0, _limit(shape.max), frozenset(shape.enum)
    matches = _matcher(shape.pattern) if shape.pattern else None
    if not low and high == _limit(None) and not allowed and matches is None:
        return _passes

    def check_text(value: Any) -> list[Violation] | None:
        fits = low <= len(value) <= high
        matched = matches is None or len(value) > high or matches(value)
        listed = not allowed or value in allowed
        if fits and matched and listed:
            return None
        found = [] if fits else _length_violations(shape, value, shape.sensitive)
        if not listed:
            found.append(Violation("", value, _enum_rule(shape), shape.sensitive))
        if not matched:
            found.append(Violation("", value, _pattern_rule(shape), shape.sensitive))
        return found

    return check_text


def _number_checker(shape: Shape) -> Checker:
    low = float("-inf") if shape.min is None else shape.min
    high = _limit(shape.max)

    def check_number(value: Any) -> list[Violation] | None:
        if low <= value <= high:
            return None
        rule = _at_least(shape) if value < low else _at_most(shape)
        return [Violation("", value, rule, shape.sensitive)]

    return check_number


def _move_into(violations: list[Violation], name: str, hidden: bool) -> None:
    """Tell violations found inside a member where that member is."""
    for violation in violations:
        violation.path = f"{name}.{violation.path}" if violation.path else name
        violation.sensitive = violation.sensitive or hidden


def _length_violations(shape: Shape, value: Any, hidden: bool) -> list[Violation]:
    rule = _at_least(shape) if len(value) < (shape.min or 0) else _at_most(shape)
    return [Violation("", value, rule, hidden)]


def _at_least(shape: Shape) -> str:
    return f"Member must have {_measure(shape)} greater than or equal to {_bound(shape.min)}"


def _at_most(shape: Shape) -> str:
    return f"Member must have {_measure(shape)} less than or equal to {_bound(shape.max)}"


def _measure(shape: Shape) -> str:
    return "value" if shape.kind in NUMBER_KINDS else "length"


def _bound(number: float | None) -> str:
    return str(int(number)) if number is not None and number == int(number) else str(number)


def _pattern_rule(shape: Shape) -> str:
    return f"Member must satisfy regular expression pattern: {shape.pattern}"


def _enum_rule(shape: Shape) -> str:
    return f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _all_of(shape: Shape) -> str:
    """All constraints of a list's element or a map's key or value: AWS names them together, against the whole value."""
    rules = [_at_most(shape)] if shape.max is not None else []
    rules += [_at_least(shape)] if shape.min is not None else []
    rules += [_enum_rule(shape)] if shape.enum else []
    rules += [_pattern_rule(shape)] if shape.pattern else []
    return f"[{', '.join(rules)}]"


def _limit(most: float | None) -> float:
    return float("inf") if most is None else most


@cache
def _hides(shape: Shape) -> bool:
    """Whether a value of this shape may hold something that must not be shown."""
    seen: set[Shape] = set()
    waiting = [shape]
    while waiting:
        each = waiting.pop()
        if each.sensitive:
            return True
        if each not in seen:
            seen.add(each)
            waiting.extend(use.shape for use in each.uses())
    return False


@cache
def _matcher(pattern: str) -> Callable[[Any], bool]:
    compiled = regex.compile(pattern, _flags(pattern))
    fullmatch = compiled.fullmatch
    if _is_cheap(pattern):
        return lambda value: len(value) <= LONGEST_MATCHED and fullmatch(value) is not None

    def matches(value: Any) -> bool:
        try:
            return len(value) <= LONGEST_MATCHED and fullmatch(value, timeout=MATCH_SECONDS) is not None
        except TimeoutError:
            return False

    return matches


def _flags(pattern: str) -> int:
    flags = 0 if r"\p{" in pattern else regex.ASCII
    return flags | (regex.DOTALL if pattern.startswith("^") and not pattern.endswith("$") else 0)


def _is_cheap(pattern: str) -> bool:
    """Whether matching needs no time limit: no repeated group, no look-around, one variable repetition at most."""
    outside_classes = regex.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern)
    if regex.search(r"\)[*+{]|\(\?", outside_classes):
        return False
    return len(regex.findall(r"[*+]|\{\d*,\d*\}", outside_classes)) <= 1


@cache
def _lower_camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def _quoted(value: Any) -> str:
    return "null" if value is None else f"'{_shown(value)}'"


def _shown(value: Any) -> str:
    """A value as AWS prints it, cut to a length fit for an answer."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{name}={_shown(entry)}" for name, entry in list(value.items())[:LONGEST_SHOWN]) + "}"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(_shown(entry) for entry in value[:LONGEST_SHOWN]) + "]"
    elif isinstance(value, (bytes, bytearray)):
        text = f"{len(value)} bytes"
    else:
        text = str(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."
