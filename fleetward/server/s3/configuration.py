"""Configuration of buckets: the documents of their sub-resources, as they are put, returned and taken away.

Tags, policy, encryption, public access block, ownership, lifecycle, CORS and notification. Policy, public access block
and lifecycle are acted on (access.py, lifecycle.py); objects are encrypted at rest whatever the encryption document
says; CORS and notification are kept for clients that read them back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import bindparam, select, update

from fleetward.server.call import Call
from fleetward.server.iam import evaluate
from fleetward.server.s3 import lifecycle, object_tags
from fleetward.server.s3.access import Bucket, Request, is_public, operation
from fleetward.server.s3.buckets import BLOCKED, owner
from fleetward.server.s3.errors import (
    AccessControlListNotSupported,
    AccessDenied,
    InvalidRequest,
    MalformedPolicy,
    MalformedXML,
    NoSuchBucketPolicy,
    NoSuchCORSConfiguration,
    NoSuchLifecycleConfiguration,
    NoSuchPublicAccessBlockConfiguration,
    NoSuchTagSet,
    NotOffered,
    OwnershipControlsNotFoundError,
    S3Error,
)
from fleetward.server.s3.table import buckets

POLICY_LIMIT_BYTES = 20 * 1024
MOST_CORS_RULES = 100
MOST_BUCKET_TAGS = 50
CORS_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "HEAD"})
DEFAULT_ENCRYPTION = {
    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]
}

SETTINGS = select(buckets.c.settings).where(buckets.c.name == bindparam("bucket_name")).with_for_update()
SET_SETTINGS = (
    update(buckets)
    .where(buckets.c.name == bindparam("bucket_name"))
    .values(settings=bindparam("document"), has_lifecycle=bindparam("lifecycle"))
)
SET_POLICY = update(buckets).where(buckets.c.name == bindparam("bucket_name")).values(policy=bindparam("text"))


def keep(call: Call, bucket: Bucket, name: str, document: Any) -> None:
    """Put a document in the place of the one before; None takes it away."""
    settings = dict(call.db.value(SETTINGS, bucket_name=bucket.name) or {})
    if document is None:
        settings.pop(name, None)
    else:
        settings[name] = orjson.loads(orjson.dumps(document))
    given = {"bucket_name": bucket.name, "document": settings, "lifecycle": "lifecycle" in settings}
    call.db.run(SET_SETTINGS, given)


def _removal(name: str, action: str, setting: str) -> None:
    """Register the operation that takes a document away; nothing happens where there is none."""

    def remove(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
        keep(call, bucket, setting, None)
        return {}

    operation(name, action)(remove)


def _returning(
    name: str, action: str, setting: str, absent: type[S3Error], show: Callable[[Any], dict[str, Any]]
) -> None:
    """Register the operation that returns a document, or `absent`."""

    def get(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
        document = bucket.settings.get(setting)
        if document is None:
            raise absent(absent.__doc__ or "", BucketName=bucket.name)
        return show(document)

    operation(name, action, reads=True)(get)


# --- tags ------------------------------------------------------------------------------------------------------------


@operation("PutBucketTagging", "s3:PutBucketTagging")
def put_bucket_tagging(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Replace the bucket's tags."""
    given = (request.get("Tagging") or {}).get("TagSet", [])
    keep(call, bucket, "tagging", object_tags.read_set(given, MOST_BUCKET_TAGS) or None)
    return {}


_returning(
    "GetBucketTagging", "s3:GetBucketTagging", "tagging", NoSuchTagSet,
    lambda tags: {"TagSet": object_tags.shape(tags)},
)  # fmt: skip
_removal("DeleteBucketTagging", "s3:PutBucketTagging", "tagging")


# --- policy ----------------------------------------------------------------------------------------------------------


@operation("PutBucketPolicy", "s3:PutBucketPolicy")
def put_bucket_policy(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Replace the policy. It must speak of this bucket alone, and not be public where that is blocked."""
    text = request.get("Policy", "")
    if len(text.encode()) > POLICY_LIMIT_BYTES:
        raise MalformedPolicy(f"A bucket policy has at most {POLICY_LIMIT_BYTES} bytes")
    try:
        evaluate.resource_policy(text, "bucket policy")
    except evaluate.MalformedPolicy as fault:
        raise MalformedPolicy(str(fault)) from fault
    _check_statements(text, bucket)
    if bucket.blocks("BlockPublicPolicy") and is_public(text):
        raise AccessDenied(
            f"User: {call.caller.arn} is not authorized to perform: s3:PutBucketPolicy on resource: {bucket.arn}"
            " because public policies are blocked by the BlockPublicPolicy block public access setting."
        )
    call.db.run(SET_POLICY, {"bucket_name": bucket.name, "text": text})
    return {}


def _check_statements(text: str, bucket: Bucket) -> None:
    statements = orjson.loads(text).get("Statement", ())
    for each in statements if isinstance(statements, list) else [statements]:
        resources = each.get("Resource", each.get("NotResource", ()))
        for resource in [resources] if isinstance(resources, str) else resources:
            if resource != bucket.arn and not resource.startswith((f"{bucket.arn}/", f"{bucket.arn}*")):
                raise MalformedPolicy("Policy has invalid resource", Detail=str(resource)[:1024])
        actions = each.get("Action", each.get("NotAction", ()))
        for action in [actions] if isinstance(actions, str) else actions:
            if action != "*" and not action.lower().startswith("s3:"):
                raise MalformedPolicy("Policy has invalid action", Detail=str(action)[:1024])


@operation("GetBucketPolicy", "s3:GetBucketPolicy", reads=True)
def get_bucket_policy(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """The policy as it was put."""
    if not bucket.policy:
        raise NoSuchBucketPolicy("The bucket policy does not exist", BucketName=bucket.name)
    return {"Policy": bucket.policy}


@operation("GetBucketPolicyStatus", "s3:GetBucketPolicyStatus", reads=True)
def get_bucket_policy_status(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Whether the policy lets anybody in."""
    if not bucket.policy:
        raise NoSuchBucketPolicy("The bucket policy does not exist", BucketName=bucket.name)
    return {"PolicyStatus": {"IsPublic": is_public(bucket.policy)}}


@operation("DeleteBucketPolicy", "s3:DeleteBucketPolicy")
def delete_bucket_policy(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Take the policy away."""
    call.db.run(SET_POLICY, {"bucket_name": bucket.name, "text": ""})
    return {}


# --- encryption ------------------------------------------------------------------------------------------------------


@operation("PutBucketEncryption", "s3:PutEncryptionConfiguration")
def put_bucket_encryption(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """What new objects are encrypted with; this server has AES256 alone."""
    document = request.get("ServerSideEncryptionConfiguration") or {}
    rules = document.get("Rules", [])
    if len(rules) != 1 or "ApplyServerSideEncryptionByDefault" not in rules[0]:
        raise MalformedXML("The encryption configuration has exactly one rule with a default")
    default = rules[0]["ApplyServerSideEncryptionByDefault"]
    if default.get("SSEAlgorithm") != "AES256":
        raise NotOffered("Objects are encrypted under keys of the server's own: SSEAlgorithm must be AES256.")
    if "KMSMasterKeyID" in default:
        raise InvalidRequest("KMSMasterKeyID goes with aws:kms alone")
    keep(call, bucket, "encryption", document)
    return {}


@operation("GetBucketEncryption", "s3:GetEncryptionConfiguration", reads=True)
def get_bucket_encryption(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """What was put, else what holds for every bucket."""
    return {"ServerSideEncryptionConfiguration": bucket.settings.get("encryption", DEFAULT_ENCRYPTION)}


_removal("DeleteBucketEncryption", "s3:PutEncryptionConfiguration", "encryption")


# --- who gets in -----------------------------------------------------------------------------------------------------


@operation("PutPublicAccessBlock", "s3:PutBucketPublicAccessBlock")
def put_public_access_block(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """What is left out is not blocked."""
    given = request.get("PublicAccessBlockConfiguration") or {}
    keep(call, bucket, "public_access_block", {name: bool(given.get(name)) for name in BLOCKED})
    return {}


_returning(
    "GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock", "public_access_block",
    NoSuchPublicAccessBlockConfiguration, lambda document: {"PublicAccessBlockConfiguration": document},
)  # fmt: skip
_removal("DeletePublicAccessBlock", "s3:PutBucketPublicAccessBlock", "public_access_block")


@operation("PutBucketOwnershipControls", "s3:PutBucketOwnershipControls")
def put_bucket_ownership_controls(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Whose new objects are; the bucket's owner owns them here whatever is said."""
    document = request.get("OwnershipControls") or {}
    if len(document.get("Rules", [])) != 1 or "ObjectOwnership" not in document["Rules"][0]:
        raise MalformedXML("The ownership controls have exactly one rule")
    keep(call, bucket, "ownership", document)
    return {}


_returning(
    "GetBucketOwnershipControls", "s3:GetBucketOwnershipControls", "ownership",
    OwnershipControlsNotFoundError, lambda document: {"OwnershipControls": document},
)  # fmt: skip
_removal("DeleteBucketOwnershipControls", "s3:PutBucketOwnershipControls", "ownership")


def grants(bucket: Bucket) -> dict[str, Any]:
    """The access control list of whatever lies in the bucket: its owner may do everything."""
    grantee = {"Type": "CanonicalUser", **owner(bucket.account)}
    return {"Owner": owner(bucket.account), "Grants": [{"Grantee": grantee, "Permission": "FULL_CONTROL"}]}


@operation("GetBucketAcl", "s3:GetBucketAcl", reads=True)
def get_bucket_acl(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """The owner alone."""
    return grants(bucket)


@operation("PutBucketAcl", "s3:PutBucketAcl")
def put_bucket_acl(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Taken only where it says what holds anyway."""
    check_acl(bucket, request)
    return {}


def check_acl(bucket: Bucket, request: Request) -> None:
    """AccessControlListNotSupported for a list that would grant anybody but the owner anything."""
    document = request.get("AccessControlPolicy")
    canned = request.get("ACL")
    grantees = [each.get("Grantee", {}).get("ID") for each in (document or {}).get("Grants", [])]
    own = owner(bucket.account)["ID"]
    granted = any(name.startswith("Grant") for name in request) or any(each != own for each in grantees)
    if document is None and canned is None and not granted:
        raise MalformedXML("The request holds no access control list")
    if granted or canned not in (None, "private", "bucket-owner-full-control"):
        raise AccessControlListNotSupported("The bucket does not allow ACLs", BucketName=bucket.name)


# --- lifecycle, CORS, notification -----------------------------------------------------------------------------------


@operation("PutBucketLifecycleConfiguration", "s3:PutLifecycleConfiguration")
def put_bucket_lifecycle_configuration(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Replace the rules, which a timer carries out."""
    rules = (request.get("LifecycleConfiguration") or {}).get("Rules", [])
    lifecycle.check(rules, call.new_id)
    keep(call, bucket, "lifecycle", {"Rules": rules})
    return {}


def _with_times(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rules as they were kept, dates being times again."""
    shown = []
    for rule in rules:
        each = dict(rule)
        if "Date" in each.get("Expiration", {}):
            each["Expiration"] = {**each["Expiration"], "Date": datetime.fromisoformat(each["Expiration"]["Date"])}
        shown.append(each)
    return shown


_returning(
    "GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration", "lifecycle",
    NoSuchLifecycleConfiguration, lambda document: {"Rules": _with_times(document["Rules"])},
)  # fmt: skip
_removal("DeleteBucketLifecycle", "s3:PutLifecycleConfiguration", "lifecycle")


@operation("PutBucketCors", "s3:PutBucketCORS")
def put_bucket_cors(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Keep the rules."""
    rules = (request.get("CORSConfiguration") or {}).get("CORSRules", [])
    if not 1 <= len(rules) <= MOST_CORS_RULES:
        raise MalformedXML(f"There are 1 to {MOST_CORS_RULES} CORS rules")
    for rule in rules:
        for method in rule.get("AllowedMethods", []):
            if method not in CORS_METHODS:
                raise InvalidRequest(
                    f"Found unsupported HTTP method in CORS config. Unsupported method is {method[:64]}"
                )
    keep(call, bucket, "cors", {"CORSRules": rules})
    return {}


_returning("GetBucketCors", "s3:GetBucketCORS", "cors", NoSuchCORSConfiguration, dict)
_removal("DeleteBucketCors", "s3:PutBucketCORS", "cors")


@operation("PutBucketNotificationConfiguration", "s3:PutBucketNotification")
def put_bucket_notification_configuration(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Keep the configuration; nothing is sent. An empty one takes it away."""
    document: Mapping[str, Any] = request.get("NotificationConfiguration") or {}
    kept = {
        name: _with_ids(call, each) for name, each in document.items() if each or name == "EventBridgeConfiguration"
    }
    keep(call, bucket, "notification", kept or None)
    return {}


def _with_ids(call: Call, entries: Any) -> Any:
    return [{"Id": call.new_id(), **each} for each in entries] if isinstance(entries, list) else entries


@operation("GetBucketNotificationConfiguration", "s3:GetBucketNotification", reads=True)
def get_bucket_notification_configuration(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """What was put, or nothing."""
    return dict(bucket.settings.get("notification", {}))
