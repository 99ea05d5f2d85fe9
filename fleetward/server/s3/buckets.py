"""Buckets: create, find, list and delete; where they are, and whether they keep versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.s3 import content, s3
from fleetward.server.s3.access import FIND, Bucket, Request, operation
from fleetward.server.s3.errors import (
    AccessDenied,
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    IllegalLocationConstraintException,
    InvalidArgument,
    InvalidRequest,
    MalformedXML,
    NotOffered,
    TooManyBuckets,
)
from fleetward.server.s3.names import check_bucket_name
from fleetward.server.s3.table import buckets, objects, uploads
from fleetward.server.service import decides_itself

MOST_BUCKETS = 10_000
LARGEST_PAGE = 10_000
US_EAST_1 = "us-east-1"
BLOCKED = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
OWNED = "BucketOwnerEnforced"

ADD = insert(buckets)
LIST = (
    select(buckets)
    .where(
        buckets.c.account_id == bindparam("account"),
        buckets.c.name > bindparam("after"),
        buckets.c.name >= bindparam("first"),
        buckets.c.name < bindparam("until"),
    )
    .order_by(buckets.c.name)
    .limit(bindparam("most"))
)
COUNT = select(func.count()).select_from(buckets).where(buckets.c.account_id == bindparam("account"))
LIST_REGION = LIST.where(buckets.c.region == bindparam("only_region"))
LOCK = select(buckets.c.name).where(buckets.c.name == bindparam("bucket_name")).with_for_update()
SET_VERSIONING = (
    update(buckets).where(buckets.c.name == bindparam("bucket_name")).values(versioning=bindparam("status"))
)
REMOVE = delete(buckets).where(buckets.c.name == bindparam("bucket_name"))
ANY_OBJECT = (
    select(objects.c.version_id)
    .where(
        objects.c.account_id == bindparam("account"),
        objects.c.region == bindparam("in_region"),
        objects.c.bucket == bindparam("of_bucket"),
    )
    .limit(1)
)
UPLOADS_LEFT = (
    select(uploads.c.upload_id)
    .where(
        uploads.c.account_id == bindparam("account"),
        uploads.c.region == bindparam("in_region"),
        uploads.c.bucket == bindparam("of_bucket"),
    )
    .limit(bindparam("most"))
)
REMOVE_UPLOADS = delete(uploads).where(
    uploads.c.account_id == bindparam("account"),
    uploads.c.region == bindparam("in_region"),
    uploads.c.bucket == bindparam("of_bucket"),
)
MOST_UPLOADS_TO_END = 500


def _new(call: Call, request: Request) -> list[Resource]:
    return [Resource(f"arn:aws:s3:::{request['Bucket']}")]


def _new_conditions(call: Call, request: Request) -> Mapping[str, str]:
    asked = (request.get("CreateBucketConfiguration") or {}).get("LocationConstraint")
    return {"s3:LocationConstraint": asked} if asked else {}


@s3.operation("CreateBucket", resources=_new, conditions=_new_conditions)
def create_bucket(call: Call, request: Request) -> dict[str, Any]:
    """A bucket in the region that was addressed; its owner owns all in it, and nothing of it is public."""
    name = request["Bucket"]
    check_bucket_name(name)
    wanted = request.get("CreateBucketConfiguration") or {}
    region = _region(call, wanted.get("LocationConstraint"))
    refuse_grants(request)
    if request.get("ObjectLockEnabledForBucket"):
        raise NotOffered("Object Lock is not offered by this server.")
    known = call.db.first(FIND, bucket_name=name)
    if known is not None:
        if known.account_id != call.caller.account:
            raise BucketAlreadyExists("The requested bucket name is not available.", BucketName=name)
        if (
            known.region == call.region == "us-east-1"
        ):  # API reference, CreateBucket: as it was before there were others
            return {"Location": f"/{name}"}
        raise BucketAlreadyOwnedByYou("You already own it.", BucketName=name)
    if call.db.value(COUNT, account=call.caller.account) >= MOST_BUCKETS:
        raise TooManyBuckets(f"An account has {MOST_BUCKETS} buckets at most.")
    settings: dict[str, Any] = {
        "public_access_block": dict.fromkeys(BLOCKED, True),
        "ownership": {"Rules": [{"ObjectOwnership": request.get("ObjectOwnership", OWNED)}]},
    }
    if tags := wanted.get("Tags"):
        settings["tagging"] = {each["Key"]: each["Value"] for each in tags}
    call.db.run(
        ADD,
        {
            "name": name,
            "account_id": call.caller.account,
            "region": region,
            "created_at": call.now,
            "versioning": "",
            "policy": "",
            "settings": settings,
            "has_lifecycle": False,
        },
    )
    return {"Location": f"/{name}", "BucketArn": f"arn:aws:s3:::{name}"}


def _region(call: Call, asked: str | None) -> str:
    """Where the bucket goes: us-east-1 is asked for by saying nothing; EU is an old name of eu-west-1."""
    region = {"": US_EAST_1, "EU": "eu-west-1"}.get(asked or "", asked or "")
    if region == call.region:
        return region
    if not asked:  # clients of other regions than us-east-1 may leave it out here
        return call.region
    raise IllegalLocationConstraintException(
        f"The {region} location constraint is incompatible for the region specific endpoint this request was sent to."
    )


def refuse_grants(request: Request) -> None:
    """Access control lists do not count here: only those that say what holds anyway are taken."""
    if any(name.startswith("Grant") for name in request):
        raise NotOffered("Grants are not offered: use a bucket policy.")
    if request.get("ACL", "private") not in ("private", "bucket-owner-full-control", "bucket-owner-read"):
        raise InvalidArgument(
            "Access control lists do not count here: use a bucket policy.",
            ArgumentName="x-amz-acl",
            ArgumentValue=request["ACL"],
        )


@operation("HeadBucket", "s3:ListBucket", reads=True)
def head_bucket(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Whether the bucket is there, and in which region."""
    return {"BucketRegion": bucket.region, "AccessPointAlias": False, "BucketArn": bucket.arn}


@s3.operation("ListBuckets", action="s3:ListAllMyBuckets", resources=decides_itself, reads=True, audience="both")
def list_buckets(call: Call, request: Request) -> dict[str, Any]:
    """The caller's buckets by name; whoever may not list them gets AccessDenied."""
    call.authorize("s3:ListAllMyBuckets", Resource("*"))
    limit = int(request.get("MaxBuckets", LARGEST_PAGE))
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidArgument(
            f"max-buckets is from 1 to {LARGEST_PAGE}", ArgumentName="max-buckets", ArgumentValue=str(limit)
        )
    prefix = request.get("Prefix", "")
    after = paging.decode("ListBuckets", request.get("ContinuationToken"))
    names = {
        "account": call.caller.account,
        "after": after[0] if after else "",
        "first": prefix,
        "until": f"{prefix}\x7f",
    }
    if "BucketRegion" in request:
        rows = call.db.all(LIST_REGION, **names, only_region=request["BucketRegion"], most=limit + 1)
    else:
        rows = call.db.all(LIST, **names, most=limit + 1)
    page, token = paging.page("ListBuckets", rows, limit, lambda row: [row.name])
    result: dict[str, Any] = {
        "Buckets": [
            {
                "Name": row.name,
                "CreationDate": row.created_at,
                "BucketRegion": row.region,
                "BucketArn": f"arn:aws:s3:::{row.name}",
            }
            for row in page
        ],
        "Owner": owner(call.caller.account),
    }
    if token:
        result["ContinuationToken"] = token["NextToken"]
    if prefix:
        result["Prefix"] = prefix
    return result


def owner(account: str) -> dict[str, str]:
    """An account as S3 names owners: by an id of 64 hex digits."""
    return {"ID": account.rjust(64, "0"), "DisplayName": account}


@operation("DeleteBucket", "s3:DeleteBucket")
def delete_bucket(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Remove an empty bucket; uploads that were not completed end with it."""
    call.db.first(LOCK, bucket_name=bucket.name)
    if call.db.first(ANY_OBJECT, **bucket.where) is not None:
        raise BucketNotEmpty("The bucket you tried to delete is not empty", BucketName=bucket.name)
    left = call.db.values(UPLOADS_LEFT, **bucket.where, most=MOST_UPLOADS_TO_END + 1)
    if len(left) > MOST_UPLOADS_TO_END:
        raise BucketNotEmpty("Abort the bucket's multipart uploads first: it has too many.", BucketName=bucket.name)
    for upload_id in left:
        content.leave(call, bucket.account, bucket.region, upload_id, content.ALL_PARTS)
    call.db.run(REMOVE_UPLOADS, bucket.where)
    call.db.run(REMOVE, {"bucket_name": bucket.name})
    return {}


@operation("GetBucketLocation", "s3:GetBucketLocation", reads=True)
def get_bucket_location(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """The region; us-east-1 is told by an empty one."""
    return {"LocationConstraint": "" if bucket.region == US_EAST_1 else bucket.region}


@operation("GetBucketVersioning", "s3:GetBucketVersioning", reads=True)
def get_bucket_versioning(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Nothing for a bucket that never kept versions."""
    return {"Status": bucket.versioning} if bucket.versioning else {}


@operation("PutBucketVersioning", "s3:PutBucketVersioning")
def put_bucket_versioning(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Keep versions from now on, or no more; those that are there stay."""
    wanted = request.get("VersioningConfiguration") or {}
    if wanted.get("MFADelete") == "Enabled":
        raise NotOffered("MFA delete is not offered by this server.")
    if wanted.get("Status") not in ("Enabled", "Suspended"):
        raise MalformedXML("Status must be Enabled or Suspended")
    if request.get("MFA"):
        raise InvalidRequest("MFA delete is not offered by this server.")
    call.db.run(SET_VERSIONING, {"bucket_name": bucket.name, "status": wanted["Status"]})
    return {}


def expect_owner(bucket: Bucket, expected: str | None) -> None:
    """AccessDenied when the bucket belongs to another account than the caller thinks."""
    if expected is not None and expected != bucket.account:
        raise AccessDenied("The bucket is owned by a different account than the one expected.")
