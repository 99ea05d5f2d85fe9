"""REST JSON: method and path name the operation, the body is JSON (resource-groups; ssmmessages, answering in XML)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from fleetward.protocol.api import aws_json, rest_xml
from fleetward.protocol.api.model import Member, Operation, ServiceModel, Shape
from fleetward.protocol.api.rest import Response, body_members, payload_bytes, read_bindings, routes, write_bindings
from fleetward.protocol.api.scalars import blob_text, epoch_number, timestamp_text

CONTENT_TYPE = "application/json"


def parse_request(
    service: ServiceModel, method: str, path: str, query: list[tuple[str, str]], headers: Mapping[str, str], body: bytes
) -> tuple[Operation, dict[str, Any]]:
    """Find the operation and read its members.

    `path` is percent-encoded as received, `query` holds decoded pairs, `headers` has lower-case names.
    Raises `UnknownOperation` or `SerializationFault`, nothing else.
    """
    operation, labels = routes(service).match(method, path, query, headers)
    if operation.input is None:
        return operation, {}
    return operation, {**_read_body(operation.input, body), **read_bindings(operation.input, labels, query, headers)}


def _read_body(shape: Shape, body: bytes) -> dict[str, Any]:
    payload = shape.members.get(shape.payload)
    if payload is None:
        request: dict[str, Any] = aws_json.read(shape, aws_json.load_object(body)) if body_members(shape) else {}
        return request
    if payload.shape.kind in ("blob", "string"):
        return {payload.name: rest_xml.payload_text(payload, body)}
    return {payload.name: aws_json.read(payload.shape, aws_json.load_object(body))} if body else {}


def render_result(service: ServiceModel, operation: Operation, result: Mapping[str, Any]) -> Response:
    """An answer in the service's response protocol; members named by the result, unset ones left out."""
    if service.response_protocol == "rest-xml":
        return rest_xml.render_result(service, operation, result)
    status, headers = write_bindings(operation, result)
    shape = operation.output
    if shape is None:
        return Response(status, headers, b"")
    payload = shape.members.get(shape.payload)
    if payload is not None and payload.shape.kind in ("blob", "string"):
        return Response(status, headers, payload_bytes(result.get(payload.name, b"")))
    if payload is not None:
        wire = _wire_value(payload, result.get(payload.name, {}))
    else:
        wire = _wire_structure(shape, result)
    return Response(status, {**headers, "content-type": CONTENT_TYPE}, orjson.dumps(wire))


def render_error(service: ServiceModel, code: str, message: str, request_id: str, status: int = 400) -> Response:
    """An error in the service's response protocol."""
    if service.response_protocol == "rest-xml":
        body = rest_xml.render_named_error(code, message, request_id)
        return Response(status, {"content-type": rest_xml.CONTENT_TYPE}, body)
    headers = {"content-type": CONTENT_TYPE, "x-amzn-errortype": code}
    return Response(status, headers, orjson.dumps({"__type": code, "message": message}))


def _wire_structure(shape: Shape, value: Mapping[str, Any]) -> dict[str, Any]:
    """A structure under its wire names, body members only."""
    members = shape.members
    return {
        members[name].wire_name: _wire_value(members[name], entry)
        for name, entry in value.items()
        if entry is not None and not members[name].location
    }


def _wire_value(member: Member, value: Any) -> Any:
    shape = member.shape
    if shape.kind == "structure":
        return _wire_structure(shape, value)
    if shape.element is not None:
        return [_wire_value(shape.element, entry) for entry in value]
    if shape.value is not None:
        return {name: _wire_value(shape.value, entry) for name, entry in value.items()}
    if shape.kind == "timestamp":
        textual = member.timestamp_format not in ("", "unixTimestamp")
        return timestamp_text(value, member.timestamp_format) if textual else epoch_number(value)
    return blob_text(value) if shape.kind == "blob" else value
