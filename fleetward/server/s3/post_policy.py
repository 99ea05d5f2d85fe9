"""POST policies: what a form may carry, as who signed it says (S3 reference, "Browser-based uploads using POST")."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetward.protocol.sigv4 import ALGORITHM, INVALID, Claim, SignatureFault, is_signed_text
from fleetward.server.s3.errors import (
    AccessDenied,
    EntityTooLarge,
    EntityTooSmall,
    InvalidArgument,
    InvalidPolicyDocument,
    MalformedPOSTRequest,
)

IGNORED = frozenset({"policy", "x-amz-signature", "signature", "awsaccesskeyid", "file"})
"""Fields that need no condition; so do those that begin with x-ignore-."""
MEMBERS = {
    "acl": "ACL",
    "cache-control": "CacheControl",
    "content-type": "ContentType",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "x-amz-storage-class": "StorageClass",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-website-redirect-location": "WebsiteRedirectLocation",
}
FILE_NAME = "${filename}"


@dataclass(frozen=True, slots=True)
class Policy:
    """Until when it holds and what it asks of the form."""

    expires_at: datetime
    conditions: tuple[tuple[str, str, Any], ...]
    """`eq` or `starts-with`, field and value; `content-length-range`, least and most."""

    def check(self, bucket: str, fields: Mapping[str, str], file_name: str, now: datetime) -> tuple[int, int] | None:
        """The bounds of the file's size, if there are any; AccessDenied unless the form is as the policy wants it."""
        if now >= self.expires_at:
            raise AccessDenied("Invalid according to Policy: Policy expired.")
        given = {**fields, "bucket": bucket, "key": fields.get("key", "").replace(FILE_NAME, file_name)}
        named, limits = set(), None
        for kind, name, value in self.conditions:
            if kind == "content-length-range":
                limits = (int(name), int(value))
                continue
            named.add(name)
            text = given.get(name, "")
            if not (text == value if kind == "eq" else _begins(name, text, value)):
                raise AccessDenied(
                    f'Invalid according to Policy: Policy Condition failed: ["{kind}", "${name}", "{value}"]'
                )
        for name in fields:
            if name not in named | IGNORED and not name.startswith("x-ignore-"):
                raise AccessDenied(f"Invalid according to Policy: Extra input fields: {name}")
        return limits


def _begins(name: str, text: str, value: str) -> bool:
    if name == "content-type":
        return all(each.strip().startswith(value) for each in text.split(","))
    return text.startswith(value)


def parse(text: str) -> Policy:
    """A policy from its base64; InvalidPolicyDocument."""
    try:
        raw = json.loads(base64.b64decode(text, validate=False))
        expires_at = datetime.fromisoformat(raw["expiration"])
        conditions = tuple(each for condition in raw["conditions"] for each in _read(condition))
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise InvalidPolicyDocument("Invalid Policy: it is not the base64 of a policy in JSON.") from fault
    return Policy(expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC), conditions)


def _read(condition: Any) -> list[tuple[str, str, Any]]:
    if isinstance(condition, Mapping):
        return [("eq", name.lower(), str(value)) for name, value in condition.items()]
    kind, name, value = condition
    kind = str(kind).lower()
    if kind == "content-length-range":
        return [(kind, str(int(name)), int(value))]
    if kind not in ("eq", "starts-with") or not name.startswith("$"):
        raise ValueError(kind)
    return [(kind, name[1:].lower(), str(value))]


def claim_of(fields: Mapping[str, str], region: str) -> Claim:
    """Who claims to have signed the policy, by version 4 or 2; MalformedPOSTRequest when the fields do not say."""
    if fields.get("x-amz-algorithm") == ALGORITHM:
        scope = fields.get("x-amz-credential", "").split("/")
        if len(scope) == 5 and all(scope) and scope[3] == "s3":
            return _claim(fields, scope[0], scope[1], scope[2], fields.get("x-amz-signature", ""))
    elif fields.get("awsaccesskeyid") and fields.get("signature"):
        return _claim(fields, fields["awsaccesskeyid"], "", region, fields["signature"])
    raise MalformedPOSTRequest("The form has a policy, but not the fields of a signature.")


def _claim(fields: Mapping[str, str], key_id: str, date: str, region: str, signature: str) -> Claim:
    return Claim(
        access_key_id=key_id,
        date=date,
        region=region,
        service="s3",
        signed_headers=(),
        signature=signature,
        timestamp=fields.get("x-amz-date", ""),
        signed_at=datetime.fromtimestamp(0, UTC),
        session_token=fields.get("x-amz-security-token"),
        expires_in=timedelta(),
        payload_hash=None,
    )


def verify(claim: Claim, fields: Mapping[str, str], secret: str) -> None:
    """SignatureFault unless the secret's owner signed the policy."""
    text = fields["policy"].encode()
    if claim.date:
        right = is_signed_text(secret, fields["x-amz-credential"], text, claim.signature)
    else:
        expected = base64.b64encode(hmac.digest(secret.encode(), text, "sha1"))
        right = hmac.compare_digest(expected, claim.signature.encode("utf-8", "replace"))
    if not right:
        raise SignatureFault(INVALID, "The signature does not belong to this policy: check the secret access key.")


def request_of(bucket: str, fields: Mapping[str, str], file_name: str) -> dict[str, Any]:
    """PutObject as the form asks for it."""
    key = fields.get("key", "").replace(FILE_NAME, file_name)
    if not key:
        raise InvalidArgument(
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
            ArgumentName="key",
        )
    odd = [name for name, value in fields.items() if name != "key" and any(each < " " for each in value)]
    if odd:
        raise InvalidArgument("The value holds a character that no header may hold.", ArgumentName=odd[0])
    request: dict[str, Any] = {"Bucket": bucket, "Key": key}
    request |= {member: fields[name] for name, member in MEMBERS.items() if name in fields}
    prefix = "x-amz-meta-"
    metadata = {name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)}
    return {**request, "Metadata": metadata} if metadata else request


def check_size(size: int, limits: tuple[int, int] | None, *, ended: bool) -> None:
    """EntityTooLarge as soon as there is too much, EntityTooSmall at the end."""
    if limits is None:
        return
    least, most = limits
    if size > most:
        raise EntityTooLarge("Your proposed upload exceeds the maximum allowed size", MaxSizeAllowed=most)
    if ended and size < least:
        raise EntityTooSmall("Your proposed upload is smaller than the minimum allowed size", MinSizeAllowed=least)
