"""Deleting objects: one, or up to a thousand at once."""

from __future__ import annotations

from typing import Any

from fleetward.server.call import Call
from fleetward.server.errors import AccessDeniedException, AwsError
from fleetward.server.s3 import objects, s3
from fleetward.server.s3.access import Bucket, Request, authorize, find, operation
from fleetward.server.s3.buckets import expect_owner
from fleetward.server.s3.conditions import names
from fleetward.server.s3.errors import NoSuchKey, PreconditionFailed
from fleetward.server.service import decides_itself

MOST_AT_ONCE = 1000
"""Objects of one request, as the API has it."""


def _action(request: Request) -> str:
    return "s3:DeleteObjectVersion" if "VersionId" in request else "s3:DeleteObject"


@operation("DeleteObject", _action)
def delete_object(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Take a version away, or mark the key as deleted; nothing happens where there is nothing."""
    deleted = delete(call, bucket, request)
    return {name: deleted[name] for name in ("DeleteMarker", "VersionId") if name in deleted}


def delete(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """One deletion whose caller may; what became of it: DeleteMarker and VersionId."""
    key, version_id = request["Key"], request.get("VersionId")
    if version_id is not None:
        row = objects.version(call, bucket, key, version_id)
        if row is not None:
            _check(request, row.etag)
            objects.remove(call, bucket, row)
        marker = {"DeleteMarker": True} if row is not None and row.is_marker else {}
        return {"VersionId": version_id, **marker}
    before = objects.latest(call, bucket, key, lock=True)
    if "IfMatch" in request:
        if before is None or before.is_marker:
            raise NoSuchKey("The specified key does not exist.", Key=key)
        _check(request, before.etag)
    marker_id = objects.mark_deleted(call, bucket, key, before)
    return {} if marker_id is None else {"DeleteMarker": True, "VersionId": marker_id}


def _check(request: Request, etag: str) -> None:
    if "IfMatch" in request and not names(request["IfMatch"], etag):
        raise PreconditionFailed("At least one of the pre-conditions you specified did not hold", Condition="If-Match")


@s3.operation(
    "DeleteObjects", action="s3:DeleteObject", resources=decides_itself, resource_policies=True, audience="anyone"
)
def delete_objects(call: Call, request: Request) -> dict[str, Any]:
    """Each object is decided and told by itself; one that fails does not keep the others (API reference).

    The edge gives it a few at a time.
    """
    bucket = find(call, request["Bucket"])
    expect_owner(bucket, request.get("ExpectedBucketOwner"))
    deleted: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for each in request["Delete"]["Objects"]:
        one = {"Bucket": bucket.name, "Key": each["Key"]}
        one |= {"VersionId": each["VersionId"]} if each.get("VersionId") else {}
        one |= {"IfMatch": each["ETag"]} if each.get("ETag") else {}
        named: dict[str, Any] = {name: one[name] for name in ("Key", "VersionId") if name in one}
        try:
            authorize(call, bucket, _action(one), one)
            done = delete(call, bucket, one)
        except AwsError as fault:
            code = "AccessDenied" if isinstance(fault, AccessDeniedException) else fault.code
            errors.append({**named, "Code": code, "Message": fault.message})
            continue
        marker = {"DeleteMarkerVersionId": done["VersionId"]} if done.get("DeleteMarker") else {}
        deleted.append({**named, **({"DeleteMarker": True} if marker else {}), **marker})
    quiet = bool(request["Delete"].get("Quiet"))
    result: dict[str, Any] = {} if quiet or not deleted else {"Deleted": deleted}
    return {**result, "Errors": errors} if errors else result
