"""Names: which buckets and keys there can be, and which bucket a host name stands for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from fleetward.server.s3.errors import InvalidBucketName, KeyTooLongError

KEY_LIMIT_BYTES = 1024
SERVICE = "s3"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def is_bucket_name(name: str) -> bool:
    """Whether a bucket may be called so (S3 user guide, "General purpose bucket naming rules")."""
    if _BUCKET.fullmatch(name) is None or ".." in name or name.startswith(_RESERVED_STARTS):
        return False
    return not name.endswith(_RESERVED_ENDS) and not _is_address(name)


def check_bucket_name(name: str) -> None:
    """InvalidBucketName unless a bucket may be called so."""
    if not is_bucket_name(name):
        raise InvalidBucketName("The specified bucket is not valid.", BucketName=name[:255])


def key_bytes(key: str) -> bytes:
    """A key as it is kept and compared: its UTF-8. KeyTooLongError beyond 1,024 bytes."""
    encoded = key.encode("utf-8", "surrogatepass")
    if len(encoded) > KEY_LIMIT_BYTES:
        raise KeyTooLongError("Your key is too long", Size=len(encoded), MaxSizeAllowed=KEY_LIMIT_BYTES)
    return encoded


def bucket_of_host(host: str, names: Sequence[str], regions: Sequence[str]) -> str | None:
    """The bucket of a virtual-hosted address; "" where the host is S3's own; None where it names the server as a whole.

    `BUCKET.s3.NAME` and `BUCKET.s3.REGION.NAME` belong to buckets, `s3.NAME` and `s3.REGION.NAME` to S3, and
    `BUCKET.NAME`, which clients make of an endpoint without s3 in it, to a bucket too, if one can be called so.
    `host` is in lower case, without port.
    """
    for name in sorted(names, key=len, reverse=True):
        if not host.endswith(f".{name}") or _is_address(name):
            continue
        before = host[: -len(name) - 1]
        for end in (SERVICE, *(f"{SERVICE}.{region}" for region in regions)):
            if before == end:
                return ""
            if before.endswith(f".{end}"):
                return before[: -len(end) - 1]
        return before if is_bucket_name(before) else None
    return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
