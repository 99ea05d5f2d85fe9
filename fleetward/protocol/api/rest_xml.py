"""XML by the model: REST XML requests and answers (S3), XML answers of ssmmessages, the inside of query answers.

Documents from outside are read by expat with document types and entities refused, and with depth and size bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from fleetward.protocol.api.model import Member, Operation, SerializationFault, ServiceModel, Shape
from fleetward.protocol.api.rest import Response, body_members, payload_bytes, read_bindings, routes, write_bindings
from fleetward.protocol.api.scalars import read_text, write_text

CONTENT_TYPE = "application/xml"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
LARGEST_DOCUMENT = 1 << 20
DEEPEST = 64
MOST_ELEMENTS = 50_000
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SPECIAL = re.compile('[&<>"\r]')
ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}


@dataclass(slots=True)
class Element:
    """One element of a parsed document; `tag` without namespace prefix, `attributes` as written."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The character data directly inside."""
        return "".join(self.pieces)

    def named(self, *tags: str) -> list[Element]:
        """The children with one of these tags."""
        return [child for child in self.children if child.tag in tags]


def parse_request(
    service: ServiceModel,
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: Mapping[str, str],
    body: bytes,
    *,
    largest: int = LARGEST_DOCUMENT,
) -> tuple[Operation, dict[str, Any]]:
    """Read a REST XML request; arguments as for `rest_json.parse_request`, errors too.

    A payload that is text or bytes is taken as it is; streams are the caller's business (pass b"" as body).
    """
    operation, labels = routes(service).match(method, path, query, headers)
    if operation.input is None:
        return operation, {}
    shape = operation.input
    request: dict[str, Any] = {}
    payload = shape.members.get(shape.payload)
    if payload is not None and payload.shape.kind in ("blob", "string"):
        request[payload.name] = payload_text(payload, body)
    elif payload is not None and body:
        request[payload.name] = read_element(payload.shape, parse_document(body, largest))
    elif payload is None and body and body_members(shape):
        request = read_element(shape, parse_document(body, largest))
    return operation, {**request, **read_bindings(shape, labels, query, headers)}


def payload_text(payload: Member, body: bytes) -> str | bytes:
    """A payload member that is the body itself."""
    if payload.shape.kind == "blob":
        return body
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise SerializationFault("The request body is not UTF-8") from None


def render_result(service: ServiceModel, operation: Operation, result: Mapping[str, Any]) -> Response:
    """An answer: status, headers (with Content-Type when there is XML) and body, from a result by member names."""
    status, headers = write_bindings(operation, result)
    shape = operation.output
    if shape is None:
        return Response(status, headers, b"")
    payload = shape.members.get(shape.payload)
    if payload is not None and payload.shape.kind in ("blob", "string"):
        return Response(status, headers, payload_bytes(result.get(payload.name, b"")))
    parts: list[str] = []
    if payload is not None:
        if payload.name in result:
            _append(parts, payload, payload.wire_name, result[payload.name], service.xml_namespace)
    elif body_members(shape):
        root = shape.location_name or shape.name
        _append_structure(parts, shape, root, result, shape.xml_namespace[0] or service.xml_namespace)
    if not parts:
        return Response(status, headers, b"")
    return Response(status, {**headers, "content-type": CONTENT_TYPE}, (DECLARATION + "".join(parts)).encode())


def render_error(code: str, message: str, request_id: str, extra: Mapping[str, str] | None = None) -> bytes:
    """An error as S3 words it: `<Error>` with Code, Message, further members and RequestId."""
    members = {"Code": code, "Message": message, **(extra or {}), "RequestId": request_id}
    inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in members.items())
    return f"{DECLARATION}<Error>{inside}</Error>".encode()


def render_named_error(code: str, message: str, request_id: str) -> bytes:
    """An error as ssmmessages words it: the element is the code itself, which agents look for as text."""
    inside = f"<Message>{escape(message)}</Message><RequestId>{escape(request_id)}</RequestId>"
    return f"<{code}>{inside}</{code}>".encode()


def escape(text: str) -> str:
    """Text fit for element or attribute; characters that XML cannot carry become U+FFFD."""
    clean = FORBIDDEN.sub("\ufffd", text)
    return SPECIAL.sub(lambda found: ESCAPES[found[0]], clean)


def render_members(shape: Shape, value: Mapping[str, Any]) -> str:
    """The elements of a structure's members, without an element around them."""
    parts: list[str] = []
    _append_members(parts, shape, value)
    return "".join(parts)


def _append_members(parts: list[str], shape: Shape, value: Mapping[str, Any]) -> None:
    for name, entry in value.items():
        member = shape.members[name]
        if not member.location and not member.xml_attribute and entry is not None:
            _append(parts, member, member.wire_name, entry)


def _append(parts: list[str], member: Member, tag: str, value: Any, namespace: str = "") -> None:
    """Write one member; a flattened list or map becomes elements side by side."""
    shape = member.shape
    if shape.kind == "structure":
        _append_structure(parts, shape, tag, value, member.xml_namespace[0] or namespace, member.xml_namespace[1])
    elif shape.element is not None:
        _append_list(parts, member, shape.element, tag, value, namespace)
    elif shape.key is not None and shape.value is not None:
        _append_map(parts, member, shape.key, shape.value, tag, value, namespace)
    else:
        text = escape(write_text(shape, value, member.timestamp_format or "iso8601"))
        parts.append(f"<{tag}{_declared(namespace)}>{text}</{tag}>")


def _append_structure(
    parts: list[str], shape: Shape, tag: str, value: Mapping[str, Any], namespace: str, prefix: str = ""
) -> None:
    attributes = "".join(
        f' {member.wire_name}="{escape(write_text(member.shape, value[name], "iso8601"))}"'
        for name, member in shape.members.items()
        if member.xml_attribute and name in value
    )
    parts.append(f"<{tag}{_declared(namespace, prefix)}{attributes}>")
    _append_members(parts, shape, value)
    parts.append(f"</{tag}>")


def _append_list(parts: list[str], member: Member, element: Member, tag: str, value: Any, namespace: str) -> None:
    if member.flattened:
        for entry in value:
            _append(parts, element, element.wire_name if element.named else tag, entry)
        return
    parts.append(f"<{tag}{_declared(namespace)}>")
    for entry in value:
        _append(parts, element, element.wire_name, entry)
    parts.append(f"</{tag}>")


def _append_map(
    parts: list[str], member: Member, key: Member, entry: Member, tag: str, value: Any, namespace: str
) -> None:
    around = tag if member.flattened else "entry"
    if not member.flattened:
        parts.append(f"<{tag}{_declared(namespace)}>")
    for name, each in value.items():
        parts.append(f"<{around}>")
        _append(parts, key, key.wire_name, name)
        _append(parts, entry, entry.wire_name, each)
        parts.append(f"</{around}>")
    if not member.flattened:
        parts.append(f"</{tag}>")


def _declared(namespace: str, prefix: str = "") -> str:
    return f' xmlns{":" if prefix else ""}{prefix}="{escape(namespace)}"' if namespace else ""


def parse_document(body: bytes, largest: int = LARGEST_DOCUMENT) -> Element:
    """The root element of a document. `SerializationFault` if it is malformed, too large, too deep or has a doctype."""
    if len(body) > largest:
        raise SerializationFault(f"The XML document is larger than {largest} bytes")
    tree = _Tree()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.characters
    parser.StartDoctypeDeclHandler = tree.refuse
    parser.EntityDeclHandler = tree.refuse
    parser.ExternalEntityRefHandler = tree.refuse
    parser.SkippedEntityHandler = tree.refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise SerializationFault("The request body is not well-formed XML") from None
    return tree.top.children[0]


class _Tree:
    """Builds elements from expat's events."""

    def __init__(self) -> None:
        self.top = Element("", {})
        self.open = [self.top]
        self.count = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if len(self.open) > DEEPEST or self.count > MOST_ELEMENTS:
            raise SerializationFault("The XML document has too many or too deep elements")
        element = Element(tag.rpartition(":")[2], attributes)
        self.open[-1].children.append(element)
        self.open.append(element)

    def end(self, tag: str) -> None:
        self.open.pop()

    def characters(self, text: str) -> None:
        self.open[-1].pieces.append(text)

    def refuse(self, *declaration: object) -> int:
        raise SerializationFault("XML document types and entities are not accepted")


def read_element(shape: Shape, element: Element) -> Any:
    """The value of an element as `shape` says; unknown elements are dropped."""
    if shape.kind == "structure":
        return _read_structure(shape, element)
    if shape.element is not None:
        return _read_entries(shape.element, element.named(shape.element.wire_name))
    if shape.key is not None and shape.value is not None:
        return _read_map(shape.key, shape.value, element.named("entry"))
    return read_text(shape, element.text)


def _read_structure(shape: Shape, element: Element) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for member in shape.members.values():
        try:
            if member.xml_attribute:
                if member.wire_name in element.attributes:
                    result[member.name] = read_text(member.shape, element.attributes[member.wire_name])
            elif not member.location:
                _read_member(member, element, result)
        except SerializationFault as fault:
            fault.within(member.wire_name)
            raise
    return result


def _read_member(member: Member, element: Element, result: dict[str, Any]) -> None:
    shape = member.shape
    if not member.flattened:
        found = element.named(member.wire_name)
        if found:
            result[member.name] = read_element(shape, found[0])
    elif shape.element is not None:
        entries = element.named(member.wire_name, *([shape.element.wire_name] if shape.element.named else []))
        if entries:
            result[member.name] = _read_entries(shape.element, entries)
    elif shape.key is not None and shape.value is not None and element.named(member.wire_name):
        result[member.name] = _read_map(shape.key, shape.value, element.named(member.wire_name))


def _read_entries(use: Member, elements: list[Element]) -> list[Any]:
    return [read_element(use.shape, each) for each in elements]


def _read_map(key: Member, value: Member, entries: list[Element]) -> dict[str, Any]:
    result = {}
    for entry in entries:
        names, values = entry.named(key.wire_name), entry.named(value.wire_name)
        if not names or not values:
            raise SerializationFault("A map entry needs a key and a value")
        result[names[0].text] = read_element(value.shape, values[0])
    return result
