"""Access: which bucket an operation is about, and whether its caller may: identity policies and the bucket's own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import bindparam, select

from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException
from fleetward.server.iam import evaluate
from fleetward.server.iam.context import Conditions
from fleetward.server.s3 import s3
from fleetward.server.s3.errors import AccessDenied, NoSuchBucket
from fleetward.server.s3.names import key_bytes
from fleetward.server.s3.table import buckets
from fleetward.server.service import decides_itself

Request = Mapping[str, Any]
Function = Callable[[Call, "Bucket", Request], Any]
Action = str | Callable[[Request], str]

FIND = select(buckets).where(buckets.c.name == bindparam("bucket_name"))
ROOT_KEEPS = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})
"""What a bucket policy cannot take from the root of the bucket's account (S3 user guide, "Bucket policies")."""

_MEMBERS = {
    "Prefix": "s3:prefix",
    "Delimiter": "s3:delimiter",
    "MaxKeys": "s3:max-keys",
    "VersionId": "s3:VersionId",
    "ACL": "s3:x-amz-acl",
    "CopySource": "s3:x-amz-copy-source",
    "MetadataDirective": "s3:x-amz-metadata-directive",
    "ServerSideEncryption": "s3:x-amz-server-side-encryption",
    "SSEKMSKeyId": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "StorageClass": "s3:x-amz-storage-class",
    "WebsiteRedirectLocation": "s3:x-amz-website-redirect-location",
    "ObjectOwnership": "s3:x-amz-object-ownership",
    "IfMatch": "s3:if-match",
    "IfNoneMatch": "s3:if-none-match",
}
_FIXED_KEYS = frozenset(
    {
        "aws:principalarn",
        "aws:principalaccount",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceip",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:userid",
        "s3:dataaccesspointaccount",
    }
)
"""Condition keys whose fixed values keep a policy from being public (S3 user guide, "The meaning of public")."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket as it stands; `settings` holds the documents of its sub-resources by name."""

    name: str
    account: str
    region: str
    created_at: datetime
    versioning: str
    policy: str
    settings: Mapping[str, Any]

    @property
    def arn(self) -> str:
        """The bucket as policies name it."""
        return f"arn:aws:s3:::{self.name}"

    @property
    def row(self) -> dict[str, str]:
        """The values that lead the key of whatever belongs to the bucket."""
        return {"account_id": self.account, "region": self.region, "bucket": self.name}

    @property
    def where(self) -> dict[str, str]:
        """The same as statements name them."""
        return {"account": self.account, "in_region": self.region, "of_bucket": self.name}

    def blocks(self, what: str) -> bool:
        """Whether the public access block holds this back: BlockPublicPolicy, RestrictPublicBuckets …"""
        return bool(self.settings.get("public_access_block", {}).get(what))


def find(call: Call, name: str) -> Bucket:
    """The bucket of this name, of whichever account; NoSuchBucket."""
    row = call.db.first(FIND, bucket_name=name)
    if row is None:
        raise NoSuchBucket("The specified bucket does not exist", BucketName=name)
    return Bucket(row.name, row.account_id, row.region, row.created_at, row.versioning, row.policy, row.settings)


def operation(
    name: str, action: Action, *, reads: bool = False, grows: bool = False, audit: bool | None = None
) -> Callable[[Function], Callable[[Call, Request], Any]]:
    """Register `function(call, bucket, request)`, run once `action` is allowed on bucket or object.

    The decision is taken inside: it needs the bucket, whose policy has a say, and may be about another account's.
    """

    def register(function: Function) -> Callable[[Call, Request], Any]:
        @functools.wraps(function)
        def decided(call: Call, request: Request) -> Any:
            return function(call, admit(call, action, request), request)

        s3.operation(
            name,
            resources=decides_itself,
            resource_policies=True,
            audience="anyone",
            action=action if isinstance(action, str) else action({}),
            reads=reads,
            grows=grows,
            audit=audit,
        )(decided)
        return decided

    return register


def admit(call: Call, action: Action, request: Request) -> Bucket:
    """The bucket of a request whose caller may do `action` there; raises otherwise."""
    bucket = find(call, request["Bucket"])
    expected = request.get("ExpectedBucketOwner")
    if expected is not None and expected != bucket.account:
        raise AccessDenied("The bucket is owned by a different account than the one expected.")
    authorize(call, bucket, action if isinstance(action, str) else action(request), request)
    return bucket


def authorize(call: Call, bucket: Bucket, action: str, request: Request, tags: Mapping[str, str] | None = None) -> None:
    """AccessDeniedException unless the caller may do `action` on the request's object, or on the bucket without Key.

    `tags` are those of the object that is there, for `s3:ExistingObjectTag`.
    """
    key = request.get("Key")
    resource = resource_of(call, bucket, key, tags)
    root = call.caller.kind == "root" and call.caller.account == bucket.account
    if root and action in ROOT_KEEPS:
        return
    call.authorize(action, resource, conditions(bucket, request))


def may(call: Call, bucket: Bucket, action: str, request: Request) -> bool:
    """Whether `authorize` would pass."""
    try:
        authorize(call, bucket, action, request)
    except AccessDeniedException:
        return False
    return True


def resource_of(call: Call, bucket: Bucket, key: str | None, tags: Mapping[str, str] | None = None) -> Resource:
    """The bucket or object as the decision needs to know it."""
    policy = evaluate.resource_policy(bucket.policy, "bucket policy") if bucket.policy else None
    stranger = call.caller.account != bucket.account or call.caller.kind == "anonymous"
    if policy is not None and stranger and bucket.blocks("RestrictPublicBuckets") and is_public(bucket.policy):
        policy = None
    if key is not None:
        key_bytes(key)
    return Resource(
        bucket.arn if key is None else f"{bucket.arn}/{key}",
        policy=policy,
        rule=evaluate.ResourceRule.MAY_GRANT,
        owner=bucket.account,
        conditions={f"s3:ExistingObjectTag/{name}": value for name, value in (tags or {}).items()},
    )


def conditions(bucket: Bucket, request: Request) -> Conditions:
    """Condition keys that the request gives (service authorization reference, Amazon S3)."""
    found: dict[str, str | Sequence[str]] = {"s3:ResourceAccount": bucket.account}
    for member, key in _MEMBERS.items():
        if member in request:
            found[key] = str(request[member])
    tags = request.get("RequestTags")
    if tags:
        found["s3:RequestObjectTagKeys"] = list(tags)
        found |= {f"s3:RequestObjectTag/{name}": value for name, value in tags.items()}
    return found


@lru_cache(maxsize=256)
def is_public(policy: str) -> bool:
    """Whether a policy lets anybody in: an Allow for everyone that no condition of a fixed value narrows."""
    statements = orjson.loads(policy).get("Statement", ())
    for each in statements if isinstance(statements, list) else [statements]:
        if each.get("Effect") == "Allow" and _for_everyone(each.get("Principal")) and not _narrowed(each):
            return True
    return False


def _for_everyone(principal: Any) -> bool:
    if isinstance(principal, Mapping):
        named = principal.get("AWS", ())
        return "*" in ([named] if isinstance(named, str) else named)
    return bool(principal == "*")


def _narrowed(statement: Mapping[str, Any]) -> bool:
    for operator, keys in statement.get("Condition", {}).items():
        if operator.lower().startswith(("stringnot", "arnnot", "notip", "null", "forallvalues")):
            continue
        for key, value in keys.items():
            values = [value] if isinstance(value, str) else list(value)
            wide = any("*" in each or each.endswith("/0") for each in map(str, values))
            if key.lower() in _FIXED_KEYS and not wide:
                return True
    return False
