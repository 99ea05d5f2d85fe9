"""What REST protocols share: which operation a method and path mean, and members in the address, query and headers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

from fleetward.protocol.api.model import Member, Operation, SerializationFault, ServiceModel, Shape, UnknownOperation
from fleetward.protocol.api.scalars import read_text, write_text

LABEL = re.compile(r"\{(\w+)(\+?)\}")
SHOWN_PATH = 200


@dataclass(frozen=True, slots=True)
class Response:
    """An answer ready to be sent; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """One operation's path, the query entries that mark it (`?acl`), and the names it requires in query and headers."""

    operation: Operation
    path: re.Pattern[str]
    marks: frozenset[tuple[str, str]]
    required_query: frozenset[str]
    required_headers: frozenset[str]
    weight: tuple[int, int, int, int]

    def has_required(self, names: set[str], headers: Mapping[str, str]) -> bool:
        """Whether everything required outside the body is there."""
        return self.required_query <= names and self.required_headers <= headers.keys()


class Routes:
    """The operations of a REST service by method and path, the most specific first."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._by_method: dict[str, list[Route]] = {}
        every = list(operations)
        current = {(operation.method, operation.uri) for operation in every if not operation.deprecated}
        for operation in every:
            if not (operation.deprecated and (operation.method, operation.uri) in current):
                self._by_method.setdefault(operation.method, []).append(_route(operation))
        for found in self._by_method.values():
            found.sort(key=lambda route: route.weight, reverse=True)

    def match(
        self, method: str, path: str, query: list[tuple[str, str]], headers: Mapping[str, str]
    ) -> tuple[Operation, dict[str, str]]:
        """The operation a request means, and its labels decoded. `path` is percent-encoded as received.

        Several operations may share method, path and marks (S3's PutObject, UploadPart, CopyObject): the one that
        requires most and gets it is meant; when none gets all it requires, the one that requires least.
        UnknownOperation when there is none; SerializationFault when a label is not UTF-8.
        """
        given, names = set(query), {name for name, _ in query}
        fitting = [
            (route, found)
            for route in self._by_method.get(method, ())
            if route.marks <= given and (found := route.path.fullmatch(path)) is not None
        ]
        if not fitting:
            raise UnknownOperation(f"{method} {path[:SHOWN_PATH]}")
        best = [pair for pair in fitting if pair[0].weight[:3] == fitting[0][0].weight[:3]]
        route, found = next((pair for pair in best if pair[0].has_required(names, headers)), best[-1])
        return route.operation, {name: _decoded(text) for name, text in found.groupdict().items()}


@cache
def routes(service: ServiceModel) -> Routes:
    """The routes of a service, compiled once."""
    return Routes(service.operations.values())


def _route(operation: Operation) -> Route:
    path, _, query = operation.uri.partition("?")
    pattern, position = "", 0
    for label in LABEL.finditer(path):
        pattern += re.escape(path[position : label.start()]) + f"(?P<{label[1]}>{'.+' if label[2] else '[^/]+'})"
        position = label.end()
    pattern += re.escape(path[position:])
    marks = frozenset((name, value) for name, _, value in (entry.partition("=") for entry in query.split("&")) if name)
    literal = len(LABEL.sub("", path))
    required_query = _required(operation, "querystring")
    required_headers = frozenset(name.lower() for name in _required(operation, "header"))
    weight = (len(marks), path.count("/"), literal, len(required_query) + len(required_headers))
    return Route(operation, re.compile(pattern, re.DOTALL), marks, required_query, required_headers, weight)


def _required(operation: Operation, location: str) -> frozenset[str]:
    """Wire names of the required members of a place."""
    shape = operation.input
    members = [shape.members[name] for name in shape.required] if shape is not None else []
    return frozenset(member.wire_name for member in members if member.location == location)


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise SerializationFault("The address is not UTF-8") from None


def body_members(shape: Shape) -> list[Member]:
    """The members that travel in the body."""
    return [member for member in shape.members.values() if not member.location]


def read_bindings(
    shape: Shape, labels: Mapping[str, str], query: list[tuple[str, str]], headers: Mapping[str, str]
) -> dict[str, Any]:
    """The members of a request found in its address, query (decoded pairs) and headers (names in lower case)."""
    result: dict[str, Any] = {}
    for member in shape.members.values():
        if member.location:
            try:
                value = _read_bound(member, labels, query, headers)
            except SerializationFault as fault:
                fault.within(member.wire_name)
                raise
            if value is not None:
                result[member.name] = value
    return result


def _read_bound(
    member: Member, labels: Mapping[str, str], query: list[tuple[str, str]], headers: Mapping[str, str]
) -> Any:
    if member.location == "uri":
        return _optional(member, labels.get(member.wire_name))
    if member.location == "querystring":
        return _read_query(member, query)
    if member.location == "header":
        text = headers.get(member.wire_name.lower())
        if text is not None and member.shape.element is not None:
            return [read_text(member.shape.element.shape, each.strip()) for each in text.split(",")]
        return _optional(member, text)
    prefix = member.wire_name.lower()
    found = {name[len(prefix) :]: text for name, text in headers.items() if name.startswith(prefix)}
    return found or None


def _optional(member: Member, text: str | None) -> Any:
    return None if text is None else read_text(member.shape, text)


def _read_query(member: Member, query: list[tuple[str, str]]) -> Any:
    shape = member.shape
    if shape.kind == "map":
        return dict(query) or None
    texts = [text for name, text in query if name == member.wire_name]
    if shape.element is not None:
        return [read_text(shape.element.shape, text) for text in texts] or None
    return _optional(member, texts[0] if texts else None)


def write_bindings(operation: Operation, result: Mapping[str, Any]) -> tuple[int, dict[str, str]]:
    """The status and the headers that a result's members ask for."""
    status, headers = operation.status, {}
    for name, value in result.items():
        member = operation.output.members[name] if operation.output is not None else None
        if member is None or value is None:
            continue
        if member.location == "statusCode":
            status = int(value)
        elif member.location == "header":
            headers[member.wire_name.lower()] = _header_text(member, value)
        elif member.location == "headers":
            headers.update({f"{member.wire_name.lower()}{key}": str(text) for key, text in value.items()})
    return status, headers


def _header_text(member: Member, value: Any) -> str:
    form = member.timestamp_format or "rfc822"
    if member.shape.element is not None:
        element = member.shape.element.shape
        return ",".join(write_text(element, each, form) for each in value)
    return write_text(member.shape, value, form)


def payload_bytes(value: str | bytes) -> bytes:
    """The body for a payload that is text or bytes."""
    return value.encode() if isinstance(value, str) else bytes(value)
