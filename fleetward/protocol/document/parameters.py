"""Bind values to a document's parameters: from the API's lists of texts, to the wire, and from the wire.

Bound values have these shapes: String `str`, StringList `list[str]`, Integer `int`, Boolean `bool`, MapList
`list[dict]`, and StringMap the JSON *text* of an object, as callers give it and the official agent wants it (AP 8.1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from fleetward.protocol.document.parse import Document, Parameter, check_json, compile_pattern
from fleetward.protocol.document.references import as_text, ssm_references

PatternMatcher = Callable[[str, str], bool]
"""(pattern, text) -> whether the whole text fits; a server passes one with a time limit."""

MAX_MATCHED_CHARS = 4096

_INTEGER = re.compile(r"-?[0-9]{1,18}")


class Declares(Protocol):
    """A document of whatever type, for what it says of its parameters."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every declared parameter by name, in the document's order."""


class ParameterFault(Exception):
    """A parameter is missing, unknown or has a value the document does not allow."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"Parameter {name} {reason}")
        self.name = name
        self.reason = reason


def full_match(pattern: str, text: str) -> bool:
    """The usual PatternMatcher: the whole text must fit, as the API's Java does it.

    Python's `re` has no time limit. Texts are cut off at MAX_MATCHED_CHARS before they get here, which bounds honest
    patterns; against hostile ones a server passes a matcher that gives up in time.
    """
    return compile_pattern(pattern).fullmatch(text) is not None


def bind(
    document: Declares, values: Mapping[str, Sequence[str]], *, matches: PatternMatcher = full_match
) -> dict[str, Any]:
    """Typed values of all parameters from the API's `Parameters` (name -> list of texts), defaults filled in.

    A scalar is a list of one text. Values that contain `{{ssm:…}}` are checked once resolved, by `bind_wire`.
    Ours: a default is its author's choice and not checked against the parameter's own limits.
    ParameterFault for the first value that does not fit.
    """
    _refuse_unknown(document, values)
    return {
        parameter.name: _bound(parameter, values, _read_texts, matches, deferred=True)
        for parameter in document.parameters.values()
    }


def bind_wire(document: Document, values: Mapping[str, Any], *, matches: PatternMatcher = full_match) -> dict[str, Any]:
    """The agent's `bind`: typed values from a message's `Parameters`, defaults filled in, everything checked again.

    Resolve `{{ssm:…}}` in the values first: here they are checked as they stand.
    """
    _refuse_unknown(document, values)
    return {
        parameter.name: _bound(parameter, values, _read_wire, matches, deferred=False)
        for parameter in document.parameters.values()
    }


def wire_parameters(document: Document, bound: Mapping[str, Any]) -> dict[str, Any]:
    """Bound values as a message carries them to any agent (AP 8.1): all parameters, in the document's order."""
    return {name: bound[name] for name in document.parameters if name in bound}


def environment_parameters(document: Document, bound: Mapping[str, Any]) -> dict[str, str]:
    """Variables SSM_<name> for parameters with an interpolationType; `plan` makes scripts refer to them."""
    return {
        environment_name(name): as_text(bound[name])
        for name, parameter in document.parameters.items()
        if parameter.by_environment and name in bound
    }


def environment_name(name: str) -> str:
    """The variable that carries a parameter's value."""
    return f"SSM_{name}"


_Reader = Callable[[Parameter, Any], Any]


def _refuse_unknown(document: Declares, values: Iterable[str]) -> None:
    for name in values:
        if name not in document.parameters:
            known = ", ".join(document.parameters) or "none"
            raise ParameterFault(name, f"is not a parameter of the document, which has: {known}")


def _bound(
    parameter: Parameter, values: Mapping[str, Any], read: _Reader, matches: PatternMatcher, *, deferred: bool
) -> Any:
    if parameter.name not in values:
        if parameter.has_default:
            return parameter.default
        raise ParameterFault(parameter.name, "has no default and needs a value")
    given = values[parameter.name]
    try:
        check_json(list(given) if isinstance(given, tuple) else given)
    except ValueError as error:
        raise ParameterFault(parameter.name, str(error)) from None
    value = read(parameter, given)
    # The wire carries defaults too, so what equals the default is as good as not given.
    if value == parameter.default and type(value) is type(parameter.default):
        return value
    if not (deferred and ssm_references(value)):
        _check(parameter, value, matches)
    return value


def _read_texts(parameter: Parameter, texts: Sequence[str]) -> Any:
    """From the API's list of texts to the type's shape."""
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise ParameterFault(parameter.name, "must be given as a list of strings")
    if parameter.type == "StringList":
        return list(texts)
    if parameter.type == "MapList":
        return _map_list(parameter, texts)
    if len(texts) != 1:
        raise ParameterFault(parameter.name, f"of type {parameter.type} takes exactly one value, not {len(texts)}")
    return _read_text(parameter, texts[0])


def _read_text(parameter: Parameter, text: str) -> Any:
    if parameter.type == "Integer":
        if not _INTEGER.fullmatch(text):
            raise ParameterFault(parameter.name, f"must be a whole number, not {_shown(text)}")
        return int(text)
    if parameter.type == "Boolean":
        if text.lower() not in ("true", "false"):
            raise ParameterFault(parameter.name, f"must be true or false, not {_shown(text)}")
        return text.lower() == "true"
    if parameter.type == "StringMap" and not isinstance(_json(parameter, text), dict):
        raise ParameterFault(parameter.name, "must be the JSON text of an object")
    return text


def _map_list(parameter: Parameter, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Each text one JSON object; a single text may also be the JSON of the whole list."""
    members = [_json(parameter, text) for text in texts]
    if len(members) == 1 and isinstance(members[0], list):
        members = members[0]
    return _objects(parameter, members)


def _objects(parameter: Parameter, members: Iterable[Any]) -> list[dict[str, Any]]:
    objects = []
    for member in members:
        if not isinstance(member, dict):
            raise ParameterFault(parameter.name, "must be a list of JSON objects")
        objects.append(member)
    return objects


def _json(parameter: Parameter, text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ParameterFault(parameter.name, "is not valid JSON") from None
    try:
        check_json(value)
    except ValueError as error:
        raise ParameterFault(parameter.name, str(error)) from None
    return value


def _read_wire(parameter: Parameter, value: Any) -> Any:
    """From a message's JSON value to the type's shape; scalars may come as text, a map also as an object."""
    if parameter.type == "StringList":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ParameterFault(parameter.name, "must be a list of strings")
        return list(value)
    if parameter.type == "MapList":
        if not isinstance(value, list):
            raise ParameterFault(parameter.name, "must be a list of JSON objects")
        return _objects(parameter, value)
    if parameter.type == "StringMap" and isinstance(value, Mapping):
        return as_text(value)
    if parameter.type == "Integer" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if parameter.type == "Boolean" and isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ParameterFault(parameter.name, f"must be a {parameter.type}")
    return _read_text(parameter, value)


def _check(parameter: Parameter, value: Any, matches: PatternMatcher) -> None:
    """The limits of the definition; those of characters, values and pattern hold for every item of a list."""
    _check_items(parameter, value)
    texts = value if parameter.type == "StringList" else [as_text(value)]
    for text in texts:
        if parameter.type in ("String", "StringList", "StringMap"):
            _check_chars(parameter, text)
        if parameter.type in ("StringMap", "MapList"):
            continue
        if parameter.allowed_values and text not in parameter.allowed_values:
            allowed = ", ".join(parameter.allowed_values)
            raise ParameterFault(parameter.name, f"may not be {_shown(text)}; allowed are: {allowed}")
        if parameter.allowed_pattern is not None:
            _check_pattern(parameter, parameter.allowed_pattern, text, matches)


def _check_items(parameter: Parameter, value: Any) -> None:
    if parameter.type not in ("StringList", "StringMap", "MapList"):
        return
    count = len(json.loads(value)) if parameter.type == "StringMap" else len(value)
    if parameter.min_items is not None and count < parameter.min_items:
        raise ParameterFault(parameter.name, f"has {count} items; at least {parameter.min_items} are needed")
    if parameter.max_items is not None and count > parameter.max_items:
        raise ParameterFault(parameter.name, f"has {count} items; at most {parameter.max_items} are allowed")


def _check_chars(parameter: Parameter, text: str) -> None:
    if parameter.min_chars is not None and len(text) < parameter.min_chars:
        raise ParameterFault(parameter.name, f"is shorter than {parameter.min_chars} characters")
    if parameter.max_chars is not None and len(text) > parameter.max_chars:
        raise ParameterFault(parameter.name, f"is longer than {parameter.max_chars} characters")


def _check_pattern(parameter: Parameter, pattern: str, text: str, matches: PatternMatcher) -> None:
    if len(text) > MAX_MATCHED_CHARS:
        raise ParameterFault(
            parameter.name, f"is longer than {MAX_MATCHED_CHARS} characters, the most that fits a pattern"
        )
    if not matches(pattern, text):
        raise ParameterFault(parameter.name, f"may not be {_shown(text)}; it must match {pattern}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
