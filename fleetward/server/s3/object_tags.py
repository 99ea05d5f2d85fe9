"""Tags of objects: read and check them in documents and headers, put, get and take them away."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from fleetward.server.call import Call
from fleetward.server.s3 import objects
from fleetward.server.s3.access import Bucket, Request, authorize, operation
from fleetward.server.s3.errors import BadRequest, InvalidArgument, InvalidTag

MOST_OBJECT_TAGS = 10
_TEXT = re.compile(r"[\w\s.:/=+\-@]*")


def read_set(given: Sequence[Mapping[str, str]], most: int = MOST_OBJECT_TAGS) -> dict[str, str]:
    """The tags of a TagSet; InvalidTag for twice the same, reserved, overlong or odd ones, BadRequest for too many."""
    if len(given) > most:
        raise BadRequest(f"Object tags cannot be greater than {most}")
    tags: dict[str, str] = {}
    for each in given:
        key, value = each.get("Key", ""), each.get("Value", "")
        if key in tags:
            raise InvalidTag("Cannot provide multiple Tags with the same key", TagKey=key)
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise InvalidTag("A tag's key has 1 to 128 characters and its value 256 at most", TagKey=key[:128])
        if key.lower().startswith("aws:"):
            raise InvalidTag("Your TagKey cannot be prefixed with aws:", TagKey=key)
        if not _TEXT.fullmatch(key) or not _TEXT.fullmatch(value):
            raise InvalidTag("The TagKey or TagValue you have provided is invalid", TagKey=key)
        tags[key] = value
    return tags


def read_header(text: str | None) -> dict[str, str]:
    """The tags of an `x-amz-tagging` header, written like a query."""
    if not text:
        return {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=100)
    except ValueError:
        raise InvalidArgument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name"
            " duplicates.",
            ArgumentName="x-amz-tagging",
            ArgumentValue=text[:256],
        ) from None
    return read_set([{"Key": key, "Value": value} for key, value in pairs])


def shape(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as a TagSet."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _action(name: str) -> Any:
    return lambda request: f"s3:{name}ObjectVersionTagging" if "VersionId" in request else f"s3:{name}ObjectTagging"


@operation("GetObjectTagging", _action("Get"), reads=True)
def get_object_tagging(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """The object's tags."""
    row = objects.existing(call, bucket, request)
    objects.authorize_tagged(call, bucket, _action("Get")(request), request, row)
    return {"TagSet": shape(row.tags), **objects.version_of(bucket, row)}


@operation("PutObjectTagging", _action("Put"))
def put_object_tagging(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Replace the object's tags."""
    tags = read_set((request.get("Tagging") or {}).get("TagSet", []))
    row = objects.existing(call, bucket, request, method="PUT", lock=True)
    authorize(call, bucket, _action("Put")(request), {**request, "RequestTags": tags}, row.tags)
    objects.change_tags(call, bucket, row, tags)
    return objects.version_of(bucket, row)


@operation("DeleteObjectTagging", _action("Delete"))
def delete_object_tagging(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Take the object's tags away."""
    row = objects.existing(call, bucket, request, method="DELETE", lock=True)
    objects.authorize_tagged(call, bucket, _action("Delete")(request), request, row)
    objects.change_tags(call, bucket, row, {})
    return objects.version_of(bucket, row)
