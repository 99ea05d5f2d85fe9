"""S3's capabilities in order: one may call those before it."""

from __future__ import annotations

from fleetward.server.s3 import (
    access,
    buckets,
    collection,
    configuration,
    deleting,
    lifecycle,
    listing,
    multipart,
    object_tags,
    objects,
    reading,
    writing,
)
from fleetward.server.s3 import s3 as s3

S3 = (
    access,
    objects,
    object_tags,
    buckets,
    listing,
    writing,
    multipart,
    lifecycle,
    configuration,
    reading,
    deleting,
    collection,
)
