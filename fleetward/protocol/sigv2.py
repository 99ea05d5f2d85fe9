"""Check Signature Version 2 in the query: what S3 clients still presign with unless they are told otherwise.

The AWS command line of today and boto3 presign so for S3 wherever a region leaves them the choice. Headers signed in
this way are not accepted: nobody sends them by default.

Source: S3 developer guide, "Signing and authenticating REST requests" (query string request authentication).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from fleetward.protocol.sigv4 import INCOMPLETE, INVALID, Claim, SignatureFault

SUBRESOURCES = frozenset(
    {
        "acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy",
        "requestPayment", "response-cache-control", "response-content-disposition", "response-content-encoding",
        "response-content-language", "response-content-type", "response-expires", "tagging", "torrent", "uploadId",
        "uploads", "versionId", "versioning", "versions", "website", "encryption", "ownershipControls",
        "publicAccessBlock", "accelerate", "restore", "replication", "analytics", "metrics", "inventory",
        "object-lock", "retention", "legal-hold", "select", "select-type", "intelligent-tiering", "policyStatus",
    }
)  # fmt: skip
"""Query names that are signed with the path."""

_NAMES = ("AWSAccessKeyId", "Signature", "Expires")
LATEST = 2**33


def is_presigned(query_string: str) -> bool:
    """Whether a query claims to be signed so."""
    return "AWSAccessKeyId=" in query_string and "Signature=" in query_string


def parse_claim(pairs: Sequence[tuple[str, str]], region: str) -> Claim:
    """Read who claims to have presigned; pairs are decoded. SignatureFault when it cannot be read.

    The region is not signed in this version: the server's own is given.
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in (*_NAMES, "x-amz-security-token"):
            if name in found:
                raise SignatureFault(INCOMPLETE, f"The query has {name} twice")
            found[name] = value
    lacking = [name for name in _NAMES if not found.get(name)]
    if lacking:
        raise SignatureFault(INCOMPLETE, f"Query-string authentication requires {', '.join(lacking)}")
    text = found["Expires"]
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < LATEST):
        raise SignatureFault(INCOMPLETE, "Expires must be a time in seconds since 1970")
    expires_at = datetime.fromtimestamp(int(text), UTC)
    return Claim(
        access_key_id=found["AWSAccessKeyId"],
        date="",
        region=region,
        service="s3",
        signed_headers=(),
        signature=found["Signature"],
        timestamp=text,
        signed_at=expires_at,
        session_token=found.get("x-amz-security-token"),
        expires_in=timedelta(),
        payload_hash=None,
    )


def verify(
    claim: Claim,
    secret_access_key: str,
    *,
    method: str,
    resource: str,
    pairs: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    now: datetime,
) -> None:
    """Check that the secret's owner presigned this request and that it has not expired; SignatureFault otherwise.

    `resource` is `/BUCKET/KEY`, percent-encoded as it came, whatever the form of the address.
    """
    if now >= claim.signed_at:
        raise SignatureFault(INVALID, "Request has expired", "time")
    text = string_to_sign(claim, method, resource, pairs, headers)
    expected = base64.b64encode(hmac.digest(secret_access_key.encode(), text.encode("latin-1", "replace"), "sha1"))
    if not hmac.compare_digest(expected, claim.signature.encode("utf-8", "replace")):
        raise SignatureFault(INVALID, "The signature does not belong to this request: check key, method and path")


def string_to_sign(
    claim: Claim, method: str, resource: str, pairs: Sequence[tuple[str, str]], headers: Mapping[str, str]
) -> str:
    """Method, digest, type, time, the x-amz- headers in order, and the resource with what of its query is signed."""
    amz = {name: value for name, value in headers.items() if name.startswith("x-amz-")}
    amz |= {name.lower(): value for name, value in pairs if name.lower().startswith("x-amz-")}
    lines = "".join(f"{name}:{' '.join(amz[name].split())}\n" for name in sorted(amz))
    signed = sorted((name, value) for name, value in pairs if name in SUBRESOURCES)
    query = "&".join(f"{name}={value}" if value else name for name, value in signed)
    first = (method, headers.get("content-md5", ""), headers.get("content-type", ""), claim.timestamp)
    return "\n".join(first) + f"\n{lines}{resource}{'?' if query else ''}{query}"
