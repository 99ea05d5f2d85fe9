"""Reading objects: GetObject with ranges, parts and conditions, HeadObject, attributes, the access control list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row

from fleetward.server.call import Call
from fleetward.server.s3 import checksums, content, objects
from fleetward.server.s3.access import Bucket, Request, operation
from fleetward.server.s3.conditions import byte_range, check_read
from fleetward.server.s3.configuration import check_acl, grants
from fleetward.server.s3.content import Slice
from fleetward.server.s3.errors import InvalidArgument, InvalidRange, InvalidRequest

OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}
PART_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Content:
    """The Body of a result: which bytes of which blobs the edge is to send."""

    slices: tuple[Slice, ...]
    size_bytes: int


def _action(request: Request) -> str:
    return "s3:GetObjectVersion" if "VersionId" in request else "s3:GetObject"


@operation("GetObject", _action, reads=True)
def get_object(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """The object, or a part of it: ContentRange is there when it is not the whole."""
    row = objects.existing(call, bucket, request, with_content=True)
    result, (start, end) = _describe(call, bucket, request, row)
    slices = tuple(content.cut(objects.slices(row), start, end))
    return {**result, "Body": Content(slices, end - start)}


@operation("HeadObject", _action, reads=True)
def head_object(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """What GetObject would say, without the bytes."""
    row = objects.existing(call, bucket, request, with_content="PartNumber" in request)
    return _describe(call, bucket, request, row)[0]


def _describe(call: Call, bucket: Bucket, request: Request, row: Row[Any]) -> tuple[dict[str, Any], tuple[int, int]]:
    objects.authorize_tagged(call, bucket, _action(request), request, row)
    check_read(request, row.etag, row.modified_at)
    if call.caller.kind == "anonymous" and any(name in request for name in OVERRIDES):
        raise InvalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
    for name in OVERRIDES:
        if any(each < " " for each in str(request.get(name, ""))):
            raise InvalidArgument("The value holds a character that no header may hold.", ArgumentName=name)
    wanted, parts = _range(request, row)
    start, end = wanted or (0, row.size_bytes)
    result = shown(row.headers)
    if request.get("ChecksumMode") != "ENABLED" or (wanted is not None and end - start < row.size_bytes):
        for member in (*checksums.ALGORITHMS, "ChecksumType"):
            result.pop(member, None)
    result |= {OVERRIDES[name]: value for name, value in request.items() if name in OVERRIDES}
    result |= {
        "AcceptRanges": "bytes",
        "ContentLength": end - start,
        "ETag": f'"{row.etag}"',
        "LastModified": row.modified_at,
        **objects.version_of(bucket, row),
    }
    if wanted is not None:
        result["ContentRange"] = f"bytes {start}-{end - 1}/{row.size_bytes}"
    if parts:
        result["PartsCount"] = parts
    if row.tags:
        result["TagCount"] = len(row.tags)
    return result, (start, end)


def _range(request: Request, row: Row[Any]) -> tuple[tuple[int, int] | None, int]:
    """Which bytes are wanted (None: all), and of how many parts the object is when one was asked for."""
    number = request.get("PartNumber")
    if number is None:
        return byte_range(request.get("Range"), row.size_bytes), 0
    if "Range" in request:
        raise InvalidRequest("Cannot specify both Range header and partNumber query parameter")
    if not 1 <= number <= 10_000:
        raise InvalidArgument(
            "Part number must be an integer between 1 and 10000, inclusive", ArgumentName="partNumber",
            ArgumentValue=str(number),
        )  # fmt: skip
    parts = part_sizes(row)
    start = 0
    for each, size in parts or [(1, row.size_bytes)]:
        if each == number:
            return (start, start + size) if size else None, len(parts)
        start += size
    raise InvalidRange("The requested partnumber is not satisfiable", ActualPartCount=len(parts) or 1)


def part_sizes(row: Row[Any]) -> list[tuple[int, int]]:
    """Number and size of each part of a multipart object, numbered from 1 as GetObject counts them."""
    return [(index, size) for index, (_, size) in enumerate(orjson.loads(row.parts), 1)] if row.parts else []


def shown(headers: Mapping[str, Any]) -> dict[str, Any]:
    """An object's headers as members of a result: times as times."""
    result = dict(headers)
    if "Expires" in result:
        result["Expires"] = datetime.fromisoformat(result["Expires"])
    result.setdefault("ServerSideEncryption", "AES256")
    if result.get("StorageClass") == "STANDARD":
        del result["StorageClass"]
    return result


def _attributes_action(request: Request) -> str:
    return "s3:GetObjectVersionAttributes" if "VersionId" in request else "s3:GetObjectAttributes"


@operation("GetObjectAttributes", _attributes_action, reads=True)
def get_object_attributes(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """The attributes asked for."""
    row = objects.existing(call, bucket, request, with_content=True)
    asked = request["ObjectAttributes"]
    result: dict[str, Any] = {"LastModified": row.modified_at, **objects.version_of(bucket, row)}
    if "ETag" in asked:
        result["ETag"] = row.etag
    if "ObjectSize" in asked:
        result["ObjectSize"] = row.size_bytes
    if "StorageClass" in asked:
        result["StorageClass"] = row.headers.get("StorageClass", "STANDARD")
    found = checksums.members_of(row.headers)
    if "Checksum" in asked and found:
        plain = {member: text.partition("-")[0] for member, text in found.items()}
        result["Checksum"] = {**plain, "ChecksumType": row.headers.get("ChecksumType", "FULL_OBJECT")}
    if "ObjectParts" in asked and row.parts:
        result["ObjectParts"] = _part_page(request, part_sizes(row))
    return result


def _part_page(request: Request, parts: list[tuple[int, int]]) -> dict[str, Any]:
    most = min(max(int(request.get("MaxParts", PART_PAGE)), 0), PART_PAGE)
    marker = int(request.get("PartNumberMarker", 0))
    page = [each for each in parts if each[0] > marker][:most]
    last = page[-1][0] if page else marker
    return {
        "TotalPartsCount": len(parts),
        "PartNumberMarker": marker,
        "NextPartNumberMarker": last,
        "MaxParts": most,
        "IsTruncated": last < len(parts) and bool(page),
        "Parts": [{"PartNumber": number, "Size": size} for number, size in page],
    }


def _acl_action(request: Request) -> str:
    return "s3:GetObjectVersionAcl" if "VersionId" in request else "s3:GetObjectAcl"


@operation("GetObjectAcl", _acl_action, reads=True)
def get_object_acl(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """The owner alone."""
    objects.existing(call, bucket, request)
    return grants(bucket)


@operation("PutObjectAcl", lambda request: _acl_action(request).replace("Get", "Put"))
def put_object_acl(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Taken only where it says what holds anyway."""
    objects.existing(call, bucket, request)
    check_acl(bucket, request)
    return {}
