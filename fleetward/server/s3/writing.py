"""Writing objects: PutObject and CopyObject, and what is checked before bytes may come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Row

from fleetward.server.call import Call
from fleetward.server.s3 import checksums, content, object_tags, objects
from fleetward.server.s3.access import Bucket, Request, admit, authorize, find, operation
from fleetward.server.s3.buckets import expect_owner, refuse_grants
from fleetward.server.s3.conditions import check_read, check_write
from fleetward.server.s3.content import Stored
from fleetward.server.s3.errors import (
    InvalidArgument,
    InvalidRequest,
    InvalidStorageClass,
    MetadataTooLarge,
    NoSuchKey,
    NotOffered,
)
from fleetward.server.s3.names import key_bytes
from fleetward.server.s3.objects import New

COPY_LIMIT = 5 * 1024**3
METADATA_LIMIT_BYTES = 2048
DEFAULT_TYPE = "binary/octet-stream"
KEPT = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "WebsiteRedirectLocation",
)
"""Members that an object keeps as they were put, beside Metadata."""
REFUSED = ("SSECustomerAlgorithm", "SSECustomerKey", "ObjectLockMode", "ObjectLockLegalHoldStatus", "WriteOffsetBytes")
CLASSES = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER_IR",
    }
)
"""Storage classes that read at once: kept and told, otherwise all alike here."""

_SOURCE = re.compile(r"/?([^/?]+)/(.+?)(?:\?versionId=([^&]*))?", re.DOTALL)


def headers_of(request: Request) -> dict[str, Any]:
    """What an object keeps of the request that makes it; raises for what this server does not do."""
    refuse_grants(request)
    for name in REFUSED:
        if name in request:
            raise NotOffered(f"{name} is not offered by this server.")
    if request.get("ServerSideEncryption", "AES256") != "AES256":
        raise NotOffered("Objects are encrypted under keys of the server's own: only AES256 is offered.")
    if (storage_class := request.get("StorageClass", "STANDARD")) not in CLASSES:
        raise InvalidStorageClass("The storage class you specified is not valid", StorageClassRequested=storage_class)
    kept: dict[str, Any] = {name: request[name] for name in KEPT if name in request}
    if "Expires" in kept:
        kept["Expires"] = kept["Expires"].isoformat()
    kept.setdefault("ContentType", DEFAULT_TYPE)
    if "ContentEncoding" in kept:
        encodings = [each.strip() for each in kept.pop("ContentEncoding").split(",")]
        if left := ",".join(each for each in encodings if each and each != "aws-chunked"):
            kept["ContentEncoding"] = left
    metadata: Mapping[str, str] = request.get("Metadata", {})
    if sum(len(name) + len(value.encode()) for name, value in metadata.items()) > METADATA_LIMIT_BYTES:
        raise MetadataTooLarge(
            "Your metadata headers exceed the maximum allowed metadata size", MaxSizeAllowed=METADATA_LIMIT_BYTES
        )
    if metadata:
        kept["Metadata"] = dict(metadata)
    if storage_class != "STANDARD":
        kept["StorageClass"] = storage_class
    return kept


def _put_action(request: Request) -> str:
    return "s3:PutObject"


def admit_upload(call: Call, request: Request) -> Bucket:
    """Entry: the bucket, when PutObject of this request would pass as things stand; nothing is written."""
    bucket = admit(call, _put_action, request)
    headers_of(request)
    tags = object_tags.read_header(request.get("Tagging"))
    _authorize_tags(call, bucket, request, tags)
    if "IfMatch" in request or "IfNoneMatch" in request:
        check_conditions(request, objects.latest(call, bucket, request["Key"]))
    return bucket


def _authorize_tags(call: Call, bucket: Bucket, request: Request, tags: Mapping[str, str]) -> None:
    """Tags that come with an object need their own permission."""
    if tags:
        asked = {**request, "RequestTags": tags}
        authorize(call, bucket, "s3:PutObject", asked)
        authorize(call, bucket, "s3:PutObjectTagging", asked)


def check_conditions(request: Request, before: Row[Any] | None) -> None:
    """PreconditionFailed, or NoSuchKey where If-Match finds nothing."""
    present = None if before is None or before.is_marker else before.etag
    if not check_write(request, present):
        raise NoSuchKey("The specified key does not exist.", Key=request["Key"])


@operation("PutObject", "s3:PutObject", grows=True)
def put_object(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Record bytes that were streamed to Objects as the key's current version."""
    stored: Stored = request["Body"]
    tags = object_tags.read_header(request.get("Tagging"))
    _authorize_tags(call, bucket, request, tags)
    before = objects.latest(call, bucket, request["Key"], lock=True)
    check_conditions(request, before)
    headers = {**headers_of(request), **stored.checksums}
    if stored.checksums:
        headers["ChecksumType"] = "FULL_OBJECT"
    text = content.dump(content.keep(call, stored))
    new = New(stored.size_bytes, stored.md5, headers, tags, text)
    version_id = objects.store(call, bucket, request["Key"], new, before)
    result = {"ETag": f'"{stored.md5}"', "ServerSideEncryption": "AES256", **stored.checksums}
    if stored.checksums:
        result["ChecksumType"] = "FULL_OBJECT"
    if bucket.versioning == "Enabled":
        result["VersionId"] = version_id
    return result


def source_of(call: Call, request: Request) -> tuple[Bucket, Row[Any]]:
    """The object that CopySource names, when the caller may read it and the request's conditions hold."""
    match = _SOURCE.fullmatch(request["CopySource"])
    if match is None:
        raise InvalidArgument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ArgumentName="x-amz-copy-source",
            ArgumentValue=request["CopySource"][:1024],
        )
    bucket = find(call, unquote(match[1]))
    expect_owner(bucket, request.get("ExpectedSourceBucketOwner"))
    source: dict[str, Any] = {"Bucket": bucket.name, "Key": unquote(match[2])}
    if match[3] is not None:
        source["VersionId"] = unquote(match[3])
    action = "s3:GetObjectVersion" if match[3] is not None else "s3:GetObject"
    authorize(call, bucket, action, source)
    row = objects.existing(call, bucket, source, with_content=True)
    objects.authorize_tagged(call, bucket, action, source, row)
    check_read(request, row.etag, row.modified_at, "CopySource")
    return bucket, row


@operation("CopyObject", "s3:PutObject", grows=True)
def copy_object(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """A new object of the same bytes, which are not copied: both refer to them."""
    source, row = source_of(call, request)
    key = request["Key"]
    if row.size_bytes > COPY_LIMIT:
        raise InvalidRequest(
            f"The specified copy source is larger than the maximum allowable size for a copy source: {COPY_LIMIT}"
        )
    headers, tags = _copied_headers(request, row), _copied_tags(call, bucket, request, source, row)
    before = objects.latest(call, bucket, key, lock=True)
    check_conditions(request, before)
    if bucket.name == source.name and row.key == key_bytes(key) and row.is_latest and not _changes(request):
        raise InvalidRequest(
            "This copy request is illegal because it is trying to copy an object to itself without changing the"
            " object's metadata, storage class, website redirect location or encryption attributes."
        )
    content.share(call, content.load(row.content))
    etag = row.etag
    new = New(row.size_bytes, etag, headers, tags, row.content, row.parts)
    version_id = objects.store(call, bucket, key, new, before)
    made = {"ETag": f'"{etag}"', "LastModified": call.now, **checksums.members_of(headers)}
    if "ChecksumType" in headers:
        made["ChecksumType"] = headers["ChecksumType"]
    result: dict[str, Any] = {"CopyObjectResult": made, "ServerSideEncryption": "AES256"}
    if bucket.versioning == "Enabled":
        result["VersionId"] = version_id
    if source.versioning:
        result["CopySourceVersionId"] = row.version_id
    return result


def _changes(request: Request) -> bool:
    changing = ("StorageClass", "ServerSideEncryption", "WebsiteRedirectLocation", "ChecksumAlgorithm")
    return request.get("MetadataDirective") == "REPLACE" or any(name in request for name in changing)


def _copied_headers(request: Request, row: Row[Any]) -> dict[str, Any]:
    fresh = headers_of(request)
    kept = {
        name: value for name, value in row.headers.items() if name in checksums.ALGORITHMS or name == "ChecksumType"
    }
    if request.get("MetadataDirective", "COPY") == "REPLACE":
        return {**fresh, **kept}
    old = {name: value for name, value in row.headers.items() if name != "StorageClass"}
    return {**old, **{name: fresh[name] for name in ("StorageClass", "WebsiteRedirectLocation") if name in fresh}}


def _copied_tags(call: Call, bucket: Bucket, request: Request, source: Bucket, row: Row[Any]) -> Mapping[str, str]:
    if request.get("TaggingDirective", "COPY") == "REPLACE":
        tags = object_tags.read_header(request.get("Tagging"))
        _authorize_tags(call, bucket, request, tags)
        return tags
    if row.tags:
        authorize(call, source, "s3:GetObjectTagging", {"Bucket": source.name, "Key": row.key.decode()}, row.tags)
        _authorize_tags(call, bucket, request, row.tags)
    copied: Mapping[str, str] = row.tags
    return copied
