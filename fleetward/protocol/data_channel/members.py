"""The JSON objects of a data channel's messages, written and read with their members' types checked."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_bytes(members: dict[str, Any]) -> bytes:
    """The object as UTF-8; LocalProtocolError for text that has none."""
    try:
        return _JSON(members).encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError("a message holds half of a surrogate pair") from error


class Members:
    """The members of one object; what is not as asked raises RemoteProtocolError that begins with `what`."""

    __slots__ = ("_members", "_what")

    def __init__(self, what: str, members: object) -> None:
        if not isinstance(members, dict):
            raise RemoteProtocolError(f"{what} is not a JSON object")
        self._what = what
        self._members: dict[str, Any] = members

    @classmethod
    def parse(cls, what: str, text: str | bytes, *, most_bytes: int) -> Members:
        """Read an object of at most `most_bytes`, which is to be UTF-8 where it is bytes."""
        if len(text) > most_bytes:
            raise RemoteProtocolError(f"{what} may have {most_bytes} bytes, this one has {len(text)}")
        try:
            return cls(what, json.loads(text if isinstance(text, str) else text.decode()))
        except (ValueError, RecursionError) as error:
            raise RemoteProtocolError(f"{what} is not JSON") from error

    def __contains__(self, name: str) -> bool:
        return self._members.get(name) is not None

    def any(self, name: str) -> Any:
        """The member whatever it is; None when it is missing."""
        return self._members.get(name)

    def text(self, name: str) -> str:
        """A string that may be missing or null, then empty."""
        value = self._members.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise RemoteProtocolError(f"{self._what}: {name} is not a string")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RemoteProtocolError(f"{self._what}: {name} has characters that are none") from error
        return value

    def required(self, name: str) -> str:
        """A string that may be neither missing nor empty."""
        value = self.text(name)
        if not value:
            raise RemoteProtocolError(f"{self._what}: {name} is missing")
        return value

    def number(self, name: str, *, missing: int | None = None) -> int:
        """A whole number; JSON's true and false are none."""
        value = self._members.get(name, missing)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise RemoteProtocolError(f"{self._what}: {name} is not a whole number")

    def binary(self, name: str) -> bytes:
        """Bytes written as base64; may be missing or null, then empty."""
        try:
            return base64.b64decode(self.text(name), validate=True)
        except (binascii.Error, ValueError) as error:
            raise RemoteProtocolError(f"{self._what}: {name} is not base64") from error

    def object(self, name: str) -> Members:
        """An object that may be missing or null, then empty."""
        value = self._members.get(name)
        return Members(f"{self._what}: {name}", {} if value is None else value)

    def objects(self, name: str, *, most: int) -> list[Members]:
        """An array of at most `most` objects; may be missing or null, then empty."""
        values = self._members.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or len(values) > most:
            raise RemoteProtocolError(f"{self._what}: {name} is not an array of at most {most} objects")
        return [Members(f"{self._what}: {name}", value) for value in values]
