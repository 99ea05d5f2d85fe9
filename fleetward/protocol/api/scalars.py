"""Single values on the wire: timestamps, blobs, numbers and truth values, as text and as JSON."""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from fleetward.protocol.api.model import SerializationFault, Shape

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INTEGER_TEXT = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
NUMBER_TEXT = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
INTEGER_BITS = {"integer": 31, "long": 63}
LONGEST_TIMESTAMP = 64


def read_timestamp(value: object) -> datetime:
    """An aware UTC time from epoch seconds (a number or its text), an ISO 8601 text or an RFC 822 date."""
    if isinstance(value, str):
        return _timestamp_text(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return EPOCH + timedelta(seconds=value)
        except (OverflowError, ValueError):
            raise SerializationFault("The timestamp is out of range") from None
    raise SerializationFault("Expected a timestamp")


def _timestamp_text(text: str) -> datetime:
    if len(text) > LONGEST_TIMESTAMP:
        raise SerializationFault("Expected a timestamp")
    if NUMBER_TEXT.fullmatch(text):
        return read_timestamp(float(text))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = _rfc822(text)
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (OverflowError, ValueError):
        raise SerializationFault("The timestamp is out of range") from None


def _rfc822(text: str) -> datetime:
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        raise SerializationFault("Expected a timestamp") from None


def epoch_number(value: datetime) -> int | float:
    """Seconds since 1970 with milliseconds; whole seconds as int. ValueError for a time without zone: a bug of ours."""
    if value.tzinfo is None:
        raise ValueError("a result holds a time without zone")
    milliseconds = (value - EPOCH) // timedelta(milliseconds=1)
    seconds, rest = divmod(milliseconds, 1000)
    return milliseconds / 1000 if rest else seconds


def timestamp_text(value: datetime, form: str) -> str:
    """A time as text; `form` is iso8601, rfc822 or unixTimestamp."""
    if form == "unixTimestamp":
        return str(epoch_number(value))
    if value.tzinfo is None:
        raise ValueError("a result holds a time without zone")
    moment = value.astimezone(UTC)
    if form == "rfc822":
        return format_datetime(moment.replace(microsecond=0), usegmt=True)
    fraction = f".{moment.microsecond // 1000:03d}" if moment.microsecond >= 1000 else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + "Z"


def read_blob(text: object) -> bytes:
    """Bytes from their base64 text."""
    if not isinstance(text, str):
        raise SerializationFault("Expected base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SerializationFault("The text is not base64") from None


def blob_text(value: bytes | bytearray | memoryview) -> str:
    """Base64 text of bytes."""
    return base64.b64encode(value).decode("ascii")


def bounded_integer(kind: str, value: int) -> int:
    """`value` when it fits into the model's `integer` (32 bits) or `long` (64 bits)."""
    limit = 1 << INTEGER_BITS[kind]
    if not -limit <= value < limit:
        raise SerializationFault(f"The number does not fit into {'an integer' if kind == 'integer' else 'a long'}")
    return value


def read_text(shape: Shape, text: str) -> Any:
    """The value of a scalar shape from its text in a form, a header, an address or an XML element."""
    kind = shape.kind
    if kind == "string":
        return text
    if kind == "timestamp":
        return read_timestamp(text)
    if kind == "blob":
        return read_blob(text)
    if kind == "boolean":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise SerializationFault("Expected true or false")
    if kind in INTEGER_BITS:
        if INTEGER_TEXT.fullmatch(text):
            return bounded_integer(kind, int(text))
        raise SerializationFault("Expected a whole number")
    if kind in ("float", "double"):
        number = float(text) if NUMBER_TEXT.fullmatch(text) else math.nan
        if math.isfinite(number):
            return number
        raise SerializationFault("Expected a number")
    raise SerializationFault(f"Expected a {kind}")


def write_text(shape: Shape, value: Any, timestamp_form: str) -> str:
    """The text of a scalar value; `timestamp_form` is used for timestamps."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return timestamp_text(value, timestamp_form)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return blob_text(value)
    if shape.kind == "string":
        return str(getattr(value, "value", value))
    return str(value)
