"""Tables of S3. Keys are kept as bytes, so that both databases order them as S3 does: by their UTF-8."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table, Text

from fleetward.server.schema import Json, UtcDateTime, metadata, tenant

buckets = Table(
    "s3_buckets",
    metadata,
    Column("name", String(63), primary_key=True),  # one name space for the whole installation
    Column("account_id", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("versioning", String(16), nullable=False),  # "", Enabled, Suspended
    Column("policy", Text, nullable=False),  # JSON as it was put; "" for none
    Column("settings", Json, nullable=False),  # document by the name of its sub-resource
    Column("has_lifecycle", Boolean, nullable=False),
    Index("s3_buckets_account", "account_id", "name"),
)

objects = Table(
    "s3_objects",
    metadata,
    *tenant(),  # of the bucket
    Column("bucket", String(63), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("ordinal", BigInteger, primary_key=True),  # minus microseconds since 1970: the newest version comes first
    Column("version_id", String(64), nullable=False),
    Column("is_latest", Boolean, nullable=False),
    Column("is_marker", Boolean, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("etag", String(64), nullable=False),
    Column("modified_at", UtcDateTime, nullable=False),
    Column("headers", Json, nullable=False),  # members of the result as they were put: ContentType, Metadata …
    Column("tags", Json, nullable=False),
    Column("content", Text, nullable=False),  # JSON: [[blob, offset, size], …]
    Column("parts", Text, nullable=False),  # JSON: [[number, size], …] of a multipart object, else ""
)

blobs = Table(
    "s3_blobs",
    metadata,
    *tenant(),
    Column("blob", String(128), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("references", Integer, nullable=False),
    Column("released_at", UtcDateTime),  # since when nothing refers to it
    Index("s3_blobs_released", "released_at"),
)

garbage = Table(
    "s3_garbage",
    metadata,
    *tenant(),
    Column("garbage_id", String(36), primary_key=True),
    Column("due_at", UtcDateTime, nullable=False),
    Column("upload_id", String(64), nullable=False),  # an ended upload, whose parts go; or "" and
    Column("content", Text, nullable=False),  # the content of an object of many parts; of an upload: parts to release
    Index("s3_garbage_due", "due_at"),
)

uploads = Table(
    "s3_uploads",
    metadata,
    *tenant(),
    Column("upload_id", String(64), primary_key=True),
    Column("bucket", String(63), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("revision", Integer, nullable=False),  # raised by each part
    Column("request", Json, nullable=False),  # what CreateMultipartUpload said of the object
    Column("result", Json),  # of its completion, for clients that ask again
    Index("s3_uploads_key", "account_id", "region", "bucket", "key", "upload_id"),
    Index("s3_uploads_begun", "begun_at"),
)

parts = Table(
    "s3_parts",
    metadata,
    *tenant(),
    Column("upload_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("etag", String(64), nullable=False),
    Column("checksums", Json, nullable=False),  # by member name, ChecksumCRC32 …
    Column("modified_at", UtcDateTime, nullable=False),
    Column("content", Text, nullable=False),
)

keys = Table(
    "s3_keys",
    metadata,
    *tenant(),
    Column("number", Integer, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),  # 32 bytes that blobs of the tenant are encrypted under
)
