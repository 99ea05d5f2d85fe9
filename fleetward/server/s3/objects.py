"""Objects: their rows. Which version of a key is current, what replaces it, and what becomes of what it replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update

from fleetward.server.call import Call
from fleetward.server.s3 import content
from fleetward.server.s3.access import Bucket, Request, authorize, may
from fleetward.server.s3.content import Slice
from fleetward.server.s3.errors import (
    AccessDenied,
    InvalidArgument,
    MethodNotAllowed,
    NoSuchKey,
    NoSuchVersion,
)
from fleetward.server.s3.names import key_bytes
from fleetward.server.s3.table import objects
from fleetward.server.schema import microseconds

NULL = "null"
_VERSION_ID = re.compile(r"[0-9a-f]{32}")
"""The version of objects written while their bucket kept none."""

_BUCKET = (
    objects.c.account_id == bindparam("account"),
    objects.c.region == bindparam("in_region"),
    objects.c.bucket == bindparam("of_bucket"),
)
_KEY = (*_BUCKET, objects.c.key == bindparam("of_key"))
_THIS = (*_KEY, objects.c.ordinal == bindparam("of_ordinal"))
_DESCRIPTION = [column for column in objects.c if column.name not in ("content", "parts")]

LATEST = select(*_DESCRIPTION).where(*_KEY).order_by(objects.c.ordinal).limit(1)
LATEST_WITH_CONTENT = select(objects).where(*_KEY).order_by(objects.c.ordinal).limit(1)
LATEST_LOCKED = LATEST_WITH_CONTENT.with_for_update()
VERSION = select(objects).where(*_KEY, objects.c.version_id == bindparam("of_version"))
NULL_VERSION = select(objects).where(*_KEY, objects.c.version_id == NULL).with_for_update()
ADD = insert(objects)
REMOVE = delete(objects).where(*_THIS)
SUPERSEDE = update(objects).where(*_THIS).values(is_latest=False)
PROMOTE = update(objects).where(*_THIS).values(is_latest=True)
SET_TAGS = update(objects).where(*_THIS).values(tags=bindparam("new_tags", type_=objects.c.tags.type))


@dataclass(frozen=True, slots=True)
class New:
    """An object about to be stored; `headers` are members of its GetObject, `parts` number and size of each part."""

    size_bytes: int
    etag: str
    headers: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    content: str = ""
    """JSON of its slices, whose blobs already count it."""
    parts: str = ""


def latest(call: Call, bucket: Bucket, key: str, *, lock: bool = False, with_content: bool = False) -> Row[Any] | None:
    """The newest version of a key, which may be a delete marker."""
    statement = LATEST_LOCKED if lock else LATEST_WITH_CONTENT if with_content else LATEST
    return call.db.first(statement, **bucket.where, of_key=key_bytes(key))


def version(call: Call, bucket: Bucket, key: str, version_id: str) -> Row[Any] | None:
    """One version of a key."""
    if version_id != NULL and not _VERSION_ID.fullmatch(version_id):
        raise InvalidArgument("Invalid version id specified", ArgumentName="versionId", ArgumentValue=version_id[:128])
    return call.db.first(VERSION, **bucket.where, of_key=key_bytes(key), of_version=version_id)


def existing(
    call: Call,
    bucket: Bucket,
    request: Request,
    *,
    method: str = "GET",
    lock: bool = False,
    with_content: bool = False,
) -> Row[Any]:
    """The object that a request names by Key and VersionId; NoSuchKey, NoSuchVersion, or MethodNotAllowed for markers.

    Whoever may not list the bucket is not told that an object is not there (API reference, GetObject, Permissions).
    """
    key, version_id = request["Key"], request.get("VersionId")
    if version_id is not None:
        row = version(call, bucket, key, version_id)
        if row is None:
            _hide(call, bucket)
            raise NoSuchVersion("The specified version does not exist.", Key=key, VersionId=version_id)
        if row.is_marker:
            raise MethodNotAllowed(
                "The specified method is not allowed against this resource.",
                headers={
                    "x-amz-delete-marker": "true",
                    "x-amz-version-id": row.version_id,
                    "allow": "DELETE",
                    "last-modified": f"{row.modified_at:%a, %d %b %Y %H:%M:%S GMT}",
                },
                Method=method,
                ResourceType="DeleteMarker",
            )
        return row
    row = latest(call, bucket, key, lock=lock, with_content=with_content)
    if row is None or row.is_marker:
        _hide(call, bucket)
        marker = {} if row is None else {"x-amz-delete-marker": "true", "x-amz-version-id": row.version_id}
        raise NoSuchKey("The specified key does not exist.", headers=marker, Key=key)
    return row


def _hide(call: Call, bucket: Bucket) -> None:
    if not may(call, bucket, "s3:ListBucket", {"Bucket": bucket.name}):
        raise AccessDenied("Access Denied")


def authorize_tagged(call: Call, bucket: Bucket, action: str, request: Request, row: Row[Any]) -> None:
    """Decide once more with the tags that the object has, if it has any: `s3:ExistingObjectTag`."""
    if row.tags:
        authorize(call, bucket, action, request, row.tags)


def version_of(bucket: Bucket, row: Row[Any]) -> dict[str, str]:
    """The version as results tell it: not for buckets that never kept any."""
    return {"VersionId": row.version_id} if bucket.versioning else {}


def store(call: Call, bucket: Bucket, key: str, new: New, before: Row[Any] | None) -> str:
    """Make `new` the current version of a key whose newest is `before` (LATEST_LOCKED); returns its version id."""
    version_id = NULL
    if bucket.versioning == "Enabled":
        version_id = call.new_hex("", 32)
    else:
        _replace_null(call, bucket, key, before)
    _add(call, bucket, key, version_id, new, before, is_marker=False)
    return version_id


def mark_deleted(call: Call, bucket: Bucket, key: str, before: Row[Any] | None) -> str | None:
    """What DeleteObject without a version does; the id of the delete marker, None where versions are not kept."""
    if not bucket.versioning:
        if before is not None:
            remove(call, bucket, before)
        return None
    version_id = NULL
    if bucket.versioning == "Enabled":
        version_id = call.new_hex("", 32)
    else:
        _replace_null(call, bucket, key, before)
    _add(call, bucket, key, version_id, New(0, "", {}), before, is_marker=True)
    return version_id


def remove(call: Call, bucket: Bucket, row: Row[Any]) -> None:
    """Take one version away for good; the next older becomes current if it was."""
    call.db.run(REMOVE, _this(bucket, row))
    if row.content:
        content.release(call, content.load(row.content))
    if row.is_latest and (bucket.versioning or row.version_id != NULL):
        following = call.db.first(LATEST, **bucket.where, of_key=row.key)
        if following is not None:
            call.db.run(PROMOTE, _this(bucket, following))


def change_tags(call: Call, bucket: Bucket, row: Row[Any], tags: Mapping[str, str]) -> None:
    """Replace a version's tags."""
    call.db.run(SET_TAGS, {**_this(bucket, row), "new_tags": dict(tags)})


def _replace_null(call: Call, bucket: Bucket, key: str, before: Row[Any] | None) -> None:
    """The version without an id is written over."""
    if before is None:
        return
    known = before if before.version_id == NULL else None
    if known is None:
        known = call.db.first(NULL_VERSION, **bucket.where, of_key=key_bytes(key))
    if known is not None:
        call.db.run(REMOVE, _this(bucket, known))
        if known.content:
            content.release(call, content.load(known.content))


def _add(
    call: Call, bucket: Bucket, key: str, version_id: str, new: New, before: Row[Any] | None, *, is_marker: bool
) -> None:
    ordinal = -microseconds(call.now)
    if before is not None:
        ordinal = min(ordinal, before.ordinal - 1)
        if before.is_latest and not (before.version_id == NULL and version_id == NULL):
            call.db.run(SUPERSEDE, _this(bucket, before))
    call.db.run(
        ADD,
        {
            **bucket.row,
            "key": key_bytes(key),
            "ordinal": ordinal,
            "version_id": version_id,
            "is_latest": True,
            "is_marker": is_marker,
            "size_bytes": new.size_bytes,
            "etag": new.etag,
            "modified_at": call.now.replace(microsecond=call.now.microsecond // 1000 * 1000),
            "headers": dict(new.headers),
            "tags": dict(new.tags),
            "content": new.content,
            "parts": new.parts,
        },
    )


def _this(bucket: Bucket, row: Row[Any]) -> dict[str, Any]:
    return {**bucket.where, "of_key": row.key, "of_ordinal": row.ordinal}


def slices(row: Row[Any]) -> Sequence[Slice]:
    """An object's content."""
    return content.load(row.content)
