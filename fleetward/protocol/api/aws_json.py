"""AWS JSON 1.0 and 1.1: requests by X-Amz-Target with a JSON body (ssm, ec2messages, kms, logs).

Results are encoded in one pass without the model: a result is a dict with AWS's member names that leaves out what is
unset. An aware `datetime` becomes epoch seconds with milliseconds, bytes become base64, an Enum its value, a set a
list.
`validate.check_result` tells in tests whether a result is as the model says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import orjson

from fleetward.protocol.api.model import Operation, PerShape, SerializationFault, ServiceModel, Shape
from fleetward.protocol.api.scalars import blob_text, bounded_integer, epoch_number, read_blob, read_timestamp

CONTENT_TYPE = "application/x-amz-json-1.1"
DEEPEST = 64
"""How many lists and objects may enclose each other in a request whose shape can contain itself."""


def content_type(service: ServiceModel) -> str:
    """The Content-Type of a service's answers: `application/x-amz-json-1.1`, or -1.0."""
    return f"application/x-amz-json-{service.json_version or '1.1'}"


def parse_request(operation: Operation, body: bytes) -> dict[str, Any]:
    """The members of a request. An empty body is an empty request; null and unknown members are dropped.

    Raises `SerializationFault`, and nothing else, for whatever does not fit: bad JSON, wrong types, nesting too deep.
    """
    value = load_object(body)
    if operation.input is None:
        return {}
    request: dict[str, Any] = read(operation.input, value)
    return request


def load_object(body: bytes) -> dict[str, Any]:
    """Decode a JSON object; empty bytes are an empty one."""
    if not body:
        return {}
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise SerializationFault("The request body is not valid JSON") from None
    if type(value) is not dict:
        raise SerializationFault("The request body must be a JSON object")
    found: dict[str, Any] = value
    return found


def read(shape: Shape, value: Any) -> Any:
    """A decoded JSON value as `shape` says: types checked, timestamps and blobs converted, unknown members dropped."""
    if _contains_itself(shape) and _deeper_than(value, DEEPEST):
        raise SerializationFault(f"The request is nested deeper than {DEEPEST} levels")
    return _readers(shape)(value)


def render_result(operation: Operation, result: Mapping[str, Any]) -> bytes:
    """Encode a result. Callers leave out unset members instead of passing None."""
    return orjson.dumps(result, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME) if result else b"{}"


def render_error(code: str, message: str, extra: Mapping[str, Any] | None = None) -> bytes:
    """Encode an error. `extra` holds further members of the error's shape (`TypeName`, `OpsItemId`, …)."""
    return orjson.dumps(
        {"__type": code, "message": message, **(extra or {})}, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME
    )


def _plain(value: object) -> Any:
    """What orjson cannot encode by itself."""
    if isinstance(value, datetime):
        return epoch_number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return blob_text(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a result holds a {type(value).__name__}")


def _build(shape: Shape, part: Callable[[Shape], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    kind = shape.kind
    if kind == "structure":
        return _structure_reader(shape, part)
    if shape.element is not None:
        return _list_reader(part(shape.element.shape))
    if shape.value is not None:
        return _map_reader(part(shape.value.shape))
    return SCALAR_READERS[kind]


_readers = PerShape(_build)


def _structure_reader(shape: Shape, part: Callable[[Shape], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    members = {use.wire_name: (use.name, part(use.shape)) for use in shape.members.values() if not use.location}

    def read_structure(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise _mismatch("an object", value)
        result = {}
        for name, entry in value.items():
            known = members.get(name)
            if known is not None and entry is not None:
                try:
                    result[known[0]] = known[1](entry)
                except SerializationFault as fault:
                    fault.within(name)
                    raise
        return result

    return read_structure


def _list_reader(read_element: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_list(value: Any) -> list[Any]:
        if type(value) is not list:
            raise _mismatch("a list", value)
        result = []
        for entry in value:
            try:
                result.append(read_element(entry))
            except SerializationFault as fault:
                fault.within(str(len(result) + 1))
                raise
        return result

    return read_list


def _map_reader(read_entry: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_map(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise _mismatch("an object", value)
        result = {}
        for name, entry in value.items():
            try:
                result[name] = read_entry(entry)
            except SerializationFault as fault:
                fault.within(name[:64])
                raise
        return result

    return read_map


def _read_string(value: Any) -> str:
    if type(value) is str:
        return value
    raise _mismatch("a string", value)


def _read_boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise _mismatch("true or false", value)


def _read_integer(value: Any) -> int:
    return bounded_integer("integer", _whole(value))


def _read_long(value: Any) -> int:
    return bounded_integer("long", _whole(value))


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise _mismatch("a whole number", value)


def _read_number(value: Any) -> float:
    if type(value) is float or type(value) is int:
        return float(value)
    raise _mismatch("a number", value)


def _read_document(value: Any) -> Any:
    return value


SCALAR_READERS: dict[str, Callable[[Any], Any]] = {
    "string": _read_string,
    "boolean": _read_boolean,
    "integer": _read_integer,
    "long": _read_long,
    "float": _read_number,
    "double": _read_number,
    "timestamp": read_timestamp,
    "blob": read_blob,
    "document": _read_document,
}

JSON_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}


def _mismatch(expected: str, value: Any) -> SerializationFault:
    return SerializationFault(f"Expected {expected} but found {JSON_NAMES.get(type(value), 'a number')}")


@cache
def _contains_itself(shape: Shape) -> bool:
    """Whether a value of this shape can be nested without end."""

    def cyclic(each: Shape, above: tuple[Shape, ...]) -> bool:
        if each in above:
            return True
        if each in cleared:
            return False
        found = any(cyclic(use.shape, (*above, each)) for use in each.uses())
        cleared.add(each)
        return found

    cleared: set[Shape] = set()
    return cyclic(shape, ())


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether lists and objects enclose each other more than `limit` times; level by level, without recursion."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            entry
            for each in level
            for entry in (each.values() if type(each) is dict else each)
            if type(entry) is dict or type(entry) is list
        ]
        if not level:
            return False
    return True
