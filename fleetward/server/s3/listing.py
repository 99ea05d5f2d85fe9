"""Listing objects: by pages, prefix and delimiter, in both forms, and with all their versions.

A page is read in batches. A key below a common prefix stands for all of them: the rest of the batch is passed over, and
the next one begins behind the prefix, so that a page costs the same however many keys a prefix hides.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from sqlalchemy import Row, bindparam, literal, select, tuple_

from fleetward.server.call import Call
from fleetward.server.s3 import checksums, objects
from fleetward.server.s3.access import Bucket, Request, operation
from fleetward.server.s3.buckets import owner
from fleetward.server.s3.errors import InvalidArgument
from fleetward.server.s3.table import objects as table

LARGEST_PAGE = 1000
END = b"\xff"
"""Behind every key: UTF-8 has no such byte."""

_COLUMNS = [column for column in table.c if column.name not in ("content", "parts", "tags", "account_id", "region")]
_RANGE = (
    table.c.account_id == bindparam("account"),
    table.c.region == bindparam("in_region"),
    table.c.bucket == bindparam("of_bucket"),
    tuple_(table.c.key, table.c.ordinal) > tuple_(bindparam("after_key"), bindparam("after_ordinal")),
    table.c.key >= bindparam("first_key"),
    table.c.key < bindparam("until"),
)
VERSIONS = select(*_COLUMNS).where(*_RANGE).order_by(table.c.key, table.c.ordinal).limit(bindparam("most"))
CURRENT = (
    select(*_COLUMNS)
    .where(*_RANGE, table.c.is_latest == literal(True), table.c.is_marker == literal(False))
    .order_by(table.c.key, table.c.ordinal)
    .limit(bindparam("most"))
)
HIGHEST = 2**63 - 1
LOWEST = -(2**63)


class Page:
    """What one page holds: rows and common prefixes in order, and the last key or prefix when there is more."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.rows: list[Row[Any]] = []
        self.prefixes: list[bytes] = []
        self.last: bytes | Row[Any] | None = None
        self.truncated = False

    def full(self) -> bool:
        """Whether another entry would be one too many."""
        return len(self.rows) + len(self.prefixes) >= self.limit


def fill(call: Call, bucket: Bucket, page: Page, prefix: bytes, delimiter: bytes, after: tuple[bytes, int], *,
         versions: bool) -> Page:  # fmt: skip
    """Fill a page with what follows `after` (key, ordinal)."""
    if page.limit == 0:
        return page
    for entry in _entries(call, bucket, prefix, delimiter, after, page.limit + 1, versions=versions):
        if page.full():
            page.truncated = True
            return page
        if isinstance(entry, bytes):
            page.prefixes.append(entry)
        else:
            page.rows.append(entry)
        page.last = entry
    return page


def _entries(
    call: Call, bucket: Bucket, prefix: bytes, delimiter: bytes, after: tuple[bytes, int], batch: int, *, versions: bool
) -> Iterator[Row[Any] | bytes]:
    statement, until = VERSIONS if versions else CURRENT, following(prefix)
    while True:
        rows = call.db.all(
            statement, **bucket.where, after_key=after[0], after_ordinal=after[1], first_key=prefix, until=until,
            most=batch,
        )  # fmt: skip
        hidden: bytes | None = None
        for row in rows:
            key = bytes(row.key)
            if hidden is not None and key.startswith(hidden):
                continue
            hidden = _common(key, prefix, delimiter)
            yield row if hidden is None else hidden
        if len(rows) < batch:
            return
        after = (bytes(rows[-1].key), rows[-1].ordinal) if hidden is None else (following(hidden), LOWEST)


def _common(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix that stands for a key; None where the key stands for itself."""
    if not delimiter:
        return None
    end = key.find(delimiter, len(prefix))
    return None if end < 0 else key[: end + len(delimiter)]


def following(prefix: bytes) -> bytes:
    """The first string of bytes behind all that begin with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else END


def after_marker(marker: bytes, prefix: bytes, delimiter: bytes) -> tuple[bytes, int]:
    """Where to go on after a key, or behind all that a common prefix given as marker stands for."""
    hidden = _common(marker, prefix, delimiter) if marker.startswith(prefix) else None
    if hidden is not None and hidden == marker:
        return following(hidden), LOWEST
    return marker, HIGHEST if marker else LOWEST


def limit_of(request: Request, member: str = "MaxKeys") -> int:
    """How many entries a page holds: at most 1,000, and as few as asked for."""
    asked = int(request.get(member, LARGEST_PAGE))
    if asked < 0:
        raise InvalidArgument(
            "Argument max-keys must be an integer between 0 and 2147483647", ArgumentName="max-keys",
            ArgumentValue=str(asked),
        )  # fmt: skip
    return min(asked, LARGEST_PAGE)


class Spelling:
    """How names are written in a list: as they are, or percent-encoded when the client asks for `url`."""

    def __init__(self, request: Request) -> None:
        self.url = request.get("EncodingType") == "url"

    def __call__(self, text: str | bytes) -> str:
        """One name."""
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return quote(raw, safe="/-_.~*") if self.url else raw.decode("utf-8", "replace")

    def echo(self, request: Request, *members: str) -> dict[str, str]:
        """Members of the request that the result repeats."""
        return {name: self(request[name]) for name in members if name in request}


def entry_of(row: Row[Any], spell: Spelling) -> dict[str, Any]:
    """One object as lists tell it."""
    entry = {
        "Key": spell(bytes(row.key)),
        "LastModified": row.modified_at,
        "ETag": f'"{row.etag}"',
        "Size": row.size_bytes,
        "StorageClass": row.headers.get("StorageClass", "STANDARD"),
    }
    algorithms = [checksums.ALGORITHMS[member] for member in checksums.members_of(row.headers)]
    if algorithms:
        entry |= {"ChecksumAlgorithm": algorithms, "ChecksumType": row.headers.get("ChecksumType", "FULL_OBJECT")}
    return entry


def _shared(bucket: Bucket, request: Request, page: Page, spell: Spelling) -> dict[str, Any]:
    result: dict[str, Any] = {
        "Name": bucket.name,
        "Prefix": spell(request.get("Prefix", "")),
        "MaxKeys": page.limit,
        "IsTruncated": page.truncated,
        **spell.echo(request, "Delimiter"),
    }
    if spell.url:
        result["EncodingType"] = "url"
    if page.prefixes:
        result["CommonPrefixes"] = [{"Prefix": spell(each)} for each in page.prefixes]
    return result


def _bytes(request: Request, member: str) -> bytes:
    text: str = request.get(member) or ""
    return text.encode("utf-8", "surrogatepass")


def _last_name(page: Page) -> bytes:
    return page.last if isinstance(page.last, bytes) else bytes(page.last.key) if page.last is not None else b""


@operation("ListObjectsV2", "s3:ListBucket", reads=True)
def list_objects_v2(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Current objects by key, after a continuation token or StartAfter."""
    prefix, delimiter = _bytes(request, "Prefix"), _bytes(request, "Delimiter")
    start = _token(request["ContinuationToken"]) if "ContinuationToken" in request else _bytes(request, "StartAfter")
    after = after_marker(start, prefix, delimiter)
    page = fill(call, bucket, Page(limit_of(request)), prefix, delimiter, after, versions=False)
    spell = Spelling(request)
    result = {
        **_shared(bucket, request, page, spell),
        **spell.echo(request, "StartAfter"),
        "KeyCount": len(page.rows) + len(page.prefixes),
    }
    if "ContinuationToken" in request:
        result["ContinuationToken"] = request["ContinuationToken"]
    if page.truncated:
        result["NextContinuationToken"] = base64.urlsafe_b64encode(b"1" + _last_name(page)).decode()
    owned = {"Owner": owner(bucket.account)} if request.get("FetchOwner") else {}
    if page.rows:
        result["Contents"] = [{**entry_of(row, spell), **owned} for row in page.rows]
    return result


def _token(text: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii"))
    except (binascii.Error, ValueError):
        raw = b""
    if raw[:1] != b"1" or len(raw) > 1025:
        raise InvalidArgument("The continuation token provided is incorrect", ArgumentName="continuation-token")
    return raw[1:]


@operation("ListObjects", "s3:ListBucket", reads=True)
def list_objects(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """The older form: pages go on after Marker."""
    prefix, delimiter = _bytes(request, "Prefix"), _bytes(request, "Delimiter")
    after = after_marker(_bytes(request, "Marker"), prefix, delimiter)
    page = fill(call, bucket, Page(limit_of(request)), prefix, delimiter, after, versions=False)
    spell = Spelling(request)
    result = {**_shared(bucket, request, page, spell), "Marker": spell(request.get("Marker", ""))}
    if page.truncated and delimiter:  # without a delimiter the last key is the marker (API reference, ListObjects)
        result["NextMarker"] = spell(_last_name(page))
    if page.rows:
        result["Contents"] = [{**entry_of(row, spell), "Owner": owner(bucket.account)} for row in page.rows]
    return result


@operation("ListObjectVersions", "s3:ListBucketVersions", reads=True)
def list_object_versions(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Every version and delete marker, by key and the newest first."""
    prefix, delimiter = _bytes(request, "Prefix"), _bytes(request, "Delimiter")
    page = fill(
        call, bucket, Page(limit_of(request)), prefix, delimiter, _version_marker(call, bucket, request), versions=True
    )
    spell = Spelling(request)
    result = {
        **_shared(bucket, request, page, spell),
        "KeyMarker": spell(request.get("KeyMarker", "")),
        "VersionIdMarker": request.get("VersionIdMarker", ""),
    }
    if page.truncated:
        result["NextKeyMarker"] = spell(_last_name(page))
        if page.last is not None and not isinstance(page.last, bytes):
            result["NextVersionIdMarker"] = page.last.version_id
    versions = [_version(row, bucket, spell) for row in page.rows if not row.is_marker]
    markers = [_marker(row, bucket, spell) for row in page.rows if row.is_marker]
    result |= {"Versions": versions} if versions else {}
    result |= {"DeleteMarkers": markers} if markers else {}
    return result


def _version_marker(call: Call, bucket: Bucket, request: Request) -> tuple[bytes, int]:
    key, version_id = request.get("KeyMarker", ""), request.get("VersionIdMarker")
    prefix, delimiter = _bytes(request, "Prefix"), _bytes(request, "Delimiter")
    if not version_id:
        return after_marker(_bytes(request, "KeyMarker"), prefix, delimiter)
    if not key:
        raise InvalidArgument(
            "A version-id marker cannot be specified without a key marker.", ArgumentName="version-id-marker",
            ArgumentValue=version_id[:128],
        )  # fmt: skip
    row = objects.version(call, bucket, key, version_id)
    return (_bytes(request, "KeyMarker"), LOWEST if row is None else row.ordinal)


def _version(row: Row[Any], bucket: Bucket, spell: Spelling) -> dict[str, Any]:
    shown: Mapping[str, Any] = {"VersionId": row.version_id, "IsLatest": row.is_latest, "Owner": owner(bucket.account)}
    return {**entry_of(row, spell), **shown}


def _marker(row: Row[Any], bucket: Bucket, spell: Spelling) -> dict[str, Any]:
    return {
        "Key": spell(bytes(row.key)),
        "VersionId": row.version_id,
        "IsLatest": row.is_latest,
        "LastModified": row.modified_at,
        "Owner": owner(bucket.account),
    }
