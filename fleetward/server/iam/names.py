"""Names of IAM: ARNs and unique ids, tags and documents as answers write them, pages by Marker."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import ColumnElement, String, Table, bindparam, func

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.iam.errors import InvalidInputException, LimitExceededException

T = TypeVar("T")

MOST_TAGS = 50
PAGE = 100
_BELOW = bindparam("below", type_=String)
ENTITY_ARN = re.compile(r"arn:aws:iam::(\d{12}):([a-z-]+)(/(?:[!-~]*/)?)([\w+=,.@-]+)", re.ASCII)


def entity_arn(account: str, kind: str, path: str, name: str) -> str:
    """`arn:aws:iam::<account>:user/path/name`."""
    return f"arn:aws:iam::{account}:{kind}{path}{name}"


def parse_arn(arn: str, kind: str) -> tuple[str, str, str] | None:
    """Account, path and name of a user's, role's, policy's … ARN; None when it is not one."""
    found = ENTITY_ARN.fullmatch(arn)
    return (found[1], found[3], found[4]) if found is not None and found[2] == kind else None


def new_unique_id(prefix: str) -> str:
    """`AIDA`, `AROA` … and 17 letters and digits."""
    return prefix + base64.b32encode(secrets.token_bytes(11)).decode()[:17]


def now(call: Call) -> datetime:
    """The present in whole seconds, as IAM tells times."""
    return call.now.replace(microsecond=0)


def encoded(document: str) -> str:
    """A policy document as answers carry it: percent-encoded after RFC 3986 (API reference, GetUserPolicy)."""
    return quote(document, safe="-_.~")


def tag_mapping(listed: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Tags of a request by key; keys that differ in case only, or begin with `aws:`, are refused."""
    content: dict[str, str] = {}
    seen: set[str] = set()
    for tag in listed:
        folded = tag["Key"].lower()
        if folded in seen:
            raise InvalidInputException("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        if folded.startswith("aws:"):
            raise InvalidInputException(f"The tag key {tag['Key']!r} begins with 'aws:', which is reserved.")
        seen.add(folded)
        content[tag["Key"]] = tag["Value"]
    return limited_tags(content)


def merged_tags(before: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Tags after others were put over them: a key keeps its first spelling's place, and takes the newest one."""
    folded = {key.lower() for key in changes}
    return limited_tags({key: value for key, value in before.items() if key.lower() not in folded} | dict(changes))


def limited_tags(content: dict[str, str]) -> dict[str, str]:
    """The same tags; LimitExceeded when there are more than 50."""
    if len(content) > MOST_TAGS:
        raise LimitExceededException(f"Cannot exceed quota for TagsPerResource: {MOST_TAGS}")
    return content


def tag_list(content: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as answers list them, in order of key."""
    return [{"Key": key, "Value": content[key]} for key in sorted(content)]


def tagged(content: Mapping[str, str]) -> dict[str, Any]:
    """`{"Tags": […]}`, or nothing without tags."""
    return {"Tags": tag_list(content)} if content else {}


def start_of(operation: str, request: Mapping[str, Any]) -> list[Any] | None:
    """The key that a request's Marker says to continue behind; None at the beginning."""
    try:
        return paging.decode(operation, request.get("Marker"))
    except paging.InvalidNextToken as fault:
        raise ValidationException("The Marker is not one that this operation handed out.") from fault


def text_after(operation: str, request: Mapping[str, Any]) -> str:
    """The one text in a request's Marker; empty at the beginning."""
    key = start_of(operation, request)
    return str(key[0]) if key else ""


def size_of(request: Mapping[str, Any]) -> int:
    """How many items a page holds."""
    return int(request.get("MaxItems", PAGE))


def page(
    operation: str, rows: Sequence[T], request: Mapping[str, Any], key: Callable[[T], str]
) -> tuple[Sequence[T], dict[str, Any]]:
    """Rows fetched with one more than the page holds: those of the page; IsTruncated and Marker."""
    size = size_of(request)
    if len(rows) <= size:
        return rows, {"IsTruncated": False}
    return rows[:size], {"IsTruncated": True, "Marker": paging.encode(operation, [key(rows[size - 1])])}


def paged(
    operation: str, items: Iterable[T], request: Mapping[str, Any], key: Callable[[T], str]
) -> tuple[Sequence[T], dict[str, Any]]:
    """One page of a short list that is known as a whole."""
    after = start_of(operation, request)
    left = sorted((item for item in items if after is None or key(item) > str(after[0])), key=key)
    return page(operation, left, request, key)


def slice_of(table: Table) -> tuple[ColumnElement[bool], ...]:
    """Rows of an account below a path, behind a name: parameters `account`, `below`, `after`; order by `folded`."""
    return (
        table.c.account_id == bindparam("account"),
        func.substr(table.c.path, 1, func.length(_BELOW)) == _BELOW,
        table.c.folded > bindparam("after"),
    )


def slice_values(operation: str, call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `slice_of`, and `most`."""
    return {
        "account": call.account,
        "below": request.get("PathPrefix", "/"),
        "after": text_after(operation, request),
        "most": size_of(request) + 1,
    }
