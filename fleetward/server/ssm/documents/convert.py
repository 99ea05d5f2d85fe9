"""Convert: document text to JSON-equivalent values and back, JSON and YAML both ways.

Our YAML is that of version 1.2's core schema, so that what becomes JSON is what the author sees: only true and false
are booleans, `on`, `12:30` and `2030-01-01` are text, so is `0644`. Aliases and merge keys are expanded within bounds.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from fleetward.server.ssm.errors import InvalidDocumentContent

DEPTH_LIMIT = 100
NODE_LIMIT = 10_000
"""Ours: values of a YAML document. Real ones of 64 KiB hold a few thousand; more would hold the writer too long."""
CHARACTER_LIMIT = 1024 * 1024
"""What a document's values may add up to once aliases are expanded."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_CORE = "tag:yaml.org,2002:"
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,299})")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,64}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+")
_WIDEST = 2**31 - 1


def read(text: str, document_format: str) -> dict[str, Any]:
    """The object that JSON or YAML text stands for; InvalidDocumentContent says where it cannot be read."""
    value = read_yaml(text) if document_format == "YAML" else read_json(text)
    if not isinstance(value, dict):
        raise InvalidDocumentContent(f"The content must be a {document_format} object.")
    return value


def write(value: Any, document_format: str) -> str:
    """Text of a JSON-equivalent value, members in their order."""
    return write_yaml(value) if document_format == "YAML" else write_json(value)


def read_json(text: str) -> Any:
    """The value of JSON text. Ours: a member given twice is refused, one of both would be lost unseen."""
    try:
        return json.loads(text, object_pairs_hook=_members, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise InvalidDocumentContent("The content is nested too deeply.") from None
    except ValueError as fault:
        raise InvalidDocumentContent(f"The content is not valid JSON: {fault}.") from None


def write_json(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def read_yaml(text: str) -> Any:
    """The value of YAML text; aliases and nesting are bounded, tags of one's own refused."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as fault:
        line = f" in line {fault.problem_mark.line + 1}" if fault.problem_mark is not None else ""
        raise InvalidDocumentContent(f"The content is not valid YAML{line}: {fault.problem}.") from None
    except yaml.YAMLError as fault:
        raise InvalidDocumentContent(f"The content is not valid YAML: {fault}.") from None
    return builder.root


def write_yaml(value: Any) -> str:
    """YAML in block style; text of several lines as a literal block wherever YAML allows."""
    text: str = yaml.dump(
        value, Dumper=_Writer, sort_keys=False, allow_unicode=True, default_flow_style=False, width=_WIDEST
    )
    return text


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise ValueError(f"the member {twice!r} is given twice")
    return members


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is out of range")
    return value


@dataclass(slots=True)
class _Open:
    """A list or object whose end has not come yet."""

    value: Any
    anchor: str | None
    nodes: int
    characters: int
    key: str | None = None
    merges: bool = False
    """The value to come belongs to a `<<`."""
    merged: list[Any] = field(default_factory=list)


_MERGE = "<<"


class _Builder:
    """Builds the value from parser events in one pass, without recursion."""

    def __init__(self) -> None:
        self.root: Any = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._nodes = 0
        self._characters = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        """Go on with one event."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            self._start(event, {}, "map")
        elif kind is yaml.SequenceStartEvent:
            self._start(event, [], "seq")
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._end()
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                raise _fault(event, "it holds more than one YAML document")

    def _scalar(self, event: Any) -> None:
        self._spend(event, 1, len(event.value))
        inside = self._open[-1] if self._open else None
        if inside is not None and isinstance(inside.value, dict) and inside.key is None:
            self._key(event, inside, event.value, plain=event.implicit[0])
            value: Any = event.value
        else:
            value = _scalar_value(event)
            self._add(value)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1, len(event.value))

    def _start(self, event: Any, value: Any, tag: str) -> None:
        if event.tag not in (None, "!", _CORE + tag):
            raise _fault(event, f"the tag {event.tag} is not supported")
        inside = self._open[-1] if self._open else None
        if inside is not None and isinstance(inside.value, dict) and inside.key is None:
            raise _fault(event, "a member name must be text")
        if len(self._open) >= DEPTH_LIMIT:
            raise _fault(event, f"it is nested more than {DEPTH_LIMIT} levels deep")
        self._spend(event, 1, 0)
        self._open.append(_Open(value, event.anchor, self._nodes - 1, self._characters))

    def _end(self) -> None:
        done = self._open.pop()
        if not all(isinstance(each, dict) for each in done.merged):
            raise InvalidDocumentContent("The content is not YAML that can be used: << takes objects only.")
        if done.merged:
            done.value = _merge(done.merged, done.value)
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.value, self._nodes - done.nodes, self._characters - done.characters)
        self._add(done.value)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise _fault(event, f"the alias *{event.anchor} refers to nothing before it")
        value, nodes, characters = self._anchors[event.anchor]
        self._spend(event, nodes, characters)
        inside = self._open[-1] if self._open else None
        if inside is not None and isinstance(inside.value, dict) and inside.key is None:
            if not isinstance(value, str):
                raise _fault(event, "a member name must be text")
            self._key(event, inside, value, plain=False)
        else:
            self._add(value)

    def _key(self, event: Any, inside: _Open, name: str, *, plain: bool) -> None:
        inside.merges = plain and name == _MERGE
        if not inside.merges and name in inside.value:
            raise _fault(event, f"the member {name!r} is given twice")
        inside.key = name

    def _add(self, value: Any) -> None:
        if not self._open:
            self.root = value
            return
        inside = self._open[-1]
        if isinstance(inside.value, list):
            inside.value.append(value)
        elif inside.merges:
            inside.merged += value if isinstance(value, list) else [value]
        else:
            inside.value[inside.key] = value
        inside.key = None

    def _spend(self, event: Any, nodes: int, characters: int) -> None:
        self._nodes += nodes
        self._characters += characters
        if self._nodes > NODE_LIMIT or self._characters > CHARACTER_LIMIT:
            raise _fault(event, "its aliases stand for too much text")


def _merge(merged: list[Any], own: dict[str, Any]) -> dict[str, Any]:
    """An object with what `<<` brings in; its own members win, then the first of several."""
    members: dict[str, Any] = {}
    for each in merged:
        for name, member in each.items():
            members.setdefault(name, member)
    return {**members, **own}


def _scalar_value(event: Any) -> Any:
    text: str = event.value
    if event.tag in (None, "!"):
        return _plain_value(text) if event.implicit[0] and event.tag is None else text
    if event.tag == _CORE + "str":
        return text
    value = _plain_value(text)
    wanted = {_CORE + "int": int, _CORE + "bool": bool, _CORE + "null": type(None)}.get(event.tag)
    if event.tag == _CORE + "float" and type(value) in (int, float):
        return float(value)
    if wanted is None or type(value) is not wanted:
        raise _fault(event, f"the tag {event.tag} is not supported here")
    return value


def _plain_value(text: str) -> Any:
    """What unquoted text means."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] in "+-.0123456789":
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(value := float(text)):
            return value
        if _HEXADECIMAL.fullmatch(text):
            return int(text, 16)
    return text


def _fault(event: Any, reason: str) -> InvalidDocumentContent:
    line = f" (line {event.start_mark.line + 1})" if event.start_mark is not None else ""
    return InvalidDocumentContent(f"The content is not YAML that can be used: {reason}{line}.")


class _Writer(_DUMPER):  # type: ignore[misc]  # which class it is depends on how PyYAML was built
    """Writes what our reader reads back unchanged."""

    def ignore_aliases(self, data: Any) -> bool:
        """Values that occur twice are written twice."""
        return True


def _represent_text(writer: Any, text: str) -> Any:
    return writer.represent_scalar(_CORE + "str", text, style="|" if "\n" in text else None)


_Writer.add_representer(str, _represent_text)
_Writer.add_implicit_resolver(_CORE + "float", _FLOAT, list("+-.0123456789"))  # quotes text such as 1e3
