"""Conditions: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, and byte ranges (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fleetward.server.s3.errors import InvalidArgument, InvalidRange, NotModified, PreconditionFailed

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


def check_read(request: Mapping[str, Any], etag: str, modified_at: datetime, prefix: str = "") -> None:
    """NotModified or PreconditionFailed unless the object may be read; `prefix` is CopySource for copies.

    If-Match passes over If-Unmodified-Since, If-None-Match over If-Modified-Since (API reference, GetObject).
    """
    modified_at = modified_at.replace(microsecond=0)
    header = "x-amz-copy-source-" if prefix else ""
    match, none = request.get(f"{prefix}IfMatch"), request.get(f"{prefix}IfNoneMatch")
    before, since = request.get(f"{prefix}IfUnmodifiedSince"), request.get(f"{prefix}IfModifiedSince")
    if match is not None:
        if not names(match, etag):
            raise PreconditionFailed(_TEXT, Condition=f"{header}If-Match")
    elif before is not None and modified_at > before:
        raise PreconditionFailed(_TEXT, Condition=f"{header}If-Unmodified-Since")
    unchanged = names(none, etag) if none is not None else since is not None and modified_at <= since
    if not unchanged:
        return
    if prefix:
        failed = "If-None-Match" if none is not None else "If-Modified-Since"
        raise PreconditionFailed(_TEXT, Condition=f"{header}{failed}")
    raise NotModified("Not Modified", headers={"etag": f'"{etag}"'})


def check_write(request: Mapping[str, Any], etag: str | None) -> bool:
    """PreconditionFailed unless what is there (None: nothing) may be replaced; False: If-Match on nothing at all."""
    match, none = request.get("IfMatch"), request.get("IfNoneMatch")
    if none is not None:
        if none.strip() != "*":
            raise InvalidArgument("If-None-Match takes * alone here", ArgumentName="If-None-Match", ArgumentValue=none)
        if etag is not None:
            raise PreconditionFailed(_TEXT, Condition="If-None-Match")
    if match is not None:
        if etag is None:
            return False
        if not names(match, etag):
            raise PreconditionFailed(_TEXT, Condition="If-Match")
    return True


_TEXT = "At least one of the pre-conditions you specified did not hold"


def names(header: str, etag: str) -> bool:
    """Whether a list of entity tags, quoted or not, holds this one; `*` holds every one."""
    listed = [each.strip().removeprefix("W/").strip('"') for each in header.split(",")]
    return "*" in listed or etag in listed


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of what a Range header asks for; None: everything, also for forms that are not understood."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(size - int(match[2]), 0), size
        asks = int(match[2]) > 0 and size > 0
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
        asks = start < size
    if not asks:
        raise InvalidRange(
            "The requested range is not satisfiable",
            headers={"content-range": f"bytes */{size}"},
            RangeRequested=header,
            ActualObjectSize=size,
        )
    return start, end
