"""Addressing: which requests are S3's, and the path-style form of what they address.

s3.NAME/BUCKET/KEY    BUCKET.s3.NAME/KEY    BUCKET.s3.REGION.NAME/KEY    by the Host header
NAME/BUCKET/KEY       BUCKET.NAME/KEY       signed for the service s3, or not signed at all
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from fleetward.server.certificates import SERVICES
from fleetward.server.edge.pipeline import Exchange
from fleetward.server.s3.names import bucket_of_host, is_bucket_name

FORM = "multipart/form-data"
_SCOPES = ("/s3/aws4_request", "%2Fs3%2Faws4_request", "%2fs3%2faws4_request")


class Addressing:
    """Knows the server's names and, as they are at the moment, its regions."""

    def __init__(self, names: Sequence[str], regions: Callable[[], Sequence[str]]) -> None:
        self._names = [name.lower() for name in names]
        self._regions = regions

    def path(self, exchange: Exchange) -> str | None:
        """`/BUCKET/KEY`, percent-encoded as it came; None when the request is not S3's."""
        bucket = self._bucket_of(exchange.headers.get("host", ""))
        if bucket == "":
            return exchange.path
        if bucket is not None and not _is_for_another(exchange):
            return f"/{bucket}{exchange.path}" if exchange.path != "/" else f"/{bucket}"
        return exchange.path if is_signed_for_s3(exchange) or _is_plain(exchange) else None

    def _bucket_of(self, host: str) -> str | None:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return None
        regions = self._regions()
        found = bucket_of_host(name or "", self._names, regions)
        hosts = (*SERVICES, *(f"{service}.{region}" for service in SERVICES for region in regions))
        return None if found in hosts and not (name or "").startswith(f"{found}.s3.") else found


def is_signed_for_s3(exchange: Exchange) -> bool:
    """Whether a signature is there that can be S3's alone."""
    authorization = exchange.headers.get("authorization", "")
    if authorization:
        return _SCOPES[0] in authorization or authorization.startswith("AWS ")
    if "X-Amz-Credential=" in exchange.query:
        return any(scope in exchange.query for scope in _SCOPES)
    return "AWSAccessKeyId=" in exchange.query and "Signature=" in exchange.query


def _is_for_another(exchange: Exchange) -> bool:
    """Whether the request says that it is another service's, whatever its host is called."""
    if "x-amz-target" in exchange.headers:
        return True
    signed = bool(exchange.headers.get("authorization")) or "X-Amz-Credential=" in exchange.query
    return signed and not is_signed_for_s3(exchange)


def _is_plain(exchange: Exchange) -> bool:
    """An unsigned request for what could be in a bucket; every other service has a target, a form or a path of its own.

    The pages of the server and its console are looked for before.
    """
    headers = exchange.headers
    if headers.get("authorization") or "X-Amz-Algorithm=" in exchange.query or "x-amz-target" in headers:
        return False
    if exchange.method == "POST" and not headers.get("content-type", "").startswith(FORM):
        return False
    return is_bucket_name(exchange.path[1:].partition("/")[0])
