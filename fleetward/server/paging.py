"""Paging: NextToken <-> the key to continue after. Lists are paged by key, never by offset."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson

from fleetward.server.errors import AwsError

T = TypeVar("T")
_CHECK_BYTES = 6


class InvalidNextToken(AwsError):
    """The NextToken is not one that this operation handed out."""


def encode(operation: str, key: Sequence[Any]) -> str:
    """The token of the last row's key. It names its operation, so that a token of another one is refused."""
    body = orjson.dumps(list(key))
    return base64.urlsafe_b64encode(_check(operation, body) + body).decode()


def decode(operation: str, token: str | None) -> list[Any] | None:
    """The key in a token, None without one; raises InvalidNextToken."""
    if not token:
        return None
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii"))
        body = raw[_CHECK_BYTES:]
        if len(token) > 4096 or not hmac.compare_digest(raw[:_CHECK_BYTES], _check(operation, body)):
            raise ValueError
        key = orjson.loads(body)
    except (ValueError, UnicodeEncodeError) as fault:
        raise InvalidNextToken("The NextToken is not one that this operation handed out.") from fault
    if not isinstance(key, list):
        raise InvalidNextToken("The NextToken is not one that this operation handed out.")
    return key


def page(
    operation: str, rows: Sequence[T], limit: int, key: Callable[[T], Sequence[Any]]
) -> tuple[Sequence[T], dict[str, str]]:
    """Rows fetched with `limit + 1`: the page itself, and `{"NextToken": …}` when there is more."""
    if len(rows) <= limit:
        return rows, {}
    return rows[:limit], {"NextToken": encode(operation, key(rows[limit - 1]))}


def _check(operation: str, body: bytes) -> bytes:
    """Guards against mix-ups and typing errors, not against forgery: a token grants nothing."""
    return hashlib.sha256(operation.encode() + b"\0" + body).digest()[:_CHECK_BYTES]
