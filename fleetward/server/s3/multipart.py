"""Multipart uploads: parts are blobs of their own, and a completed object is the list of its parts' bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row, bindparam, delete, insert, select, tuple_, update

from fleetward.server.call import Call
from fleetward.server.s3 import checksums, content, object_tags, objects, writing
from fleetward.server.s3.access import Bucket, Request, admit, authorize, operation
from fleetward.server.s3.buckets import owner
from fleetward.server.s3.conditions import byte_range
from fleetward.server.s3.content import Slice, Stored
from fleetward.server.s3.errors import (
    BadDigest,
    ConditionalRequestConflict,
    EntityTooLarge,
    EntityTooSmall,
    InvalidArgument,
    InvalidPart,
    InvalidPartOrder,
    InvalidRequest,
    MalformedXML,
    NoSuchUpload,
)
from fleetward.server.s3.listing import END, Spelling, following, limit_of
from fleetward.server.s3.names import key_bytes
from fleetward.server.s3.objects import New
from fleetward.server.s3.table import parts, uploads

SMALLEST_PART = 5 * 1024**2
LARGEST_PART = 5 * 1024**3
LARGEST_OBJECT = 5 * 1024**4
MOST_PARTS = 10_000

_UPLOAD = (
    uploads.c.account_id == bindparam("account"),
    uploads.c.region == bindparam("in_region"),
    uploads.c.upload_id == bindparam("of_upload"),
)
_PARTS = (
    parts.c.account_id == bindparam("account"),
    parts.c.region == bindparam("in_region"),
    parts.c.upload_id == bindparam("of_upload"),
)
BEGIN = insert(uploads)
UPLOAD = select(uploads).where(*_UPLOAD)
UPLOAD_LOCKED = UPLOAD.with_for_update()
RAISE = update(uploads).where(*_UPLOAD, uploads.c.result.is_(None)).values(revision=uploads.c.revision + 1)
END_UPLOAD = delete(uploads).where(*_UPLOAD)
FINISH = update(uploads).where(*_UPLOAD).values(result=bindparam("told", type_=uploads.c.result.type))
LIST_UPLOADS = (
    select(uploads)
    .where(
        uploads.c.account_id == bindparam("account"),
        uploads.c.region == bindparam("in_region"),
        uploads.c.bucket == bindparam("of_bucket"),
        tuple_(uploads.c.key, uploads.c.upload_id) > tuple_(bindparam("after_key"), bindparam("after_upload")),
        uploads.c.key >= bindparam("first_key"),
        uploads.c.key < bindparam("until"),
        uploads.c.result.is_(None),
    )
    .order_by(uploads.c.key, uploads.c.upload_id)
    .limit(bindparam("most"))
)
ADD_PART = insert(parts)
PART = select(parts).where(*_PARTS, parts.c.number == bindparam("of_number"))
REMOVE_PART = delete(parts).where(*_PARTS, parts.c.number == bindparam("of_number"))
LIST_PARTS = (
    select(parts).where(*_PARTS, parts.c.number > bindparam("after")).order_by(parts.c.number).limit(bindparam("most"))
)


@operation("CreateMultipartUpload", "s3:PutObject", grows=True)
def create_multipart_upload(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Begin an upload; what is said of the object here is the object's when it is completed."""
    key_bytes(request["Key"])
    headers = writing.headers_of(request)
    tags = object_tags.read_header(request.get("Tagging"))
    if tags:
        authorize(call, bucket, "s3:PutObjectTagging", {**request, "RequestTags": tags})
    algorithm = request.get("ChecksumAlgorithm", "")
    if algorithm and algorithm not in checksums.MEMBERS:
        raise InvalidRequest(f"Checksum algorithm provided is unsupported: use one of {', '.join(checksums.MEMBERS)}.")
    kind = request.get("ChecksumType") or ("FULL_OBJECT" if algorithm in ("", checksums.DEFAULT) else "COMPOSITE")
    if kind == "FULL_OBJECT" and algorithm and not checksums.can_be_whole(algorithm):
        raise InvalidRequest(
            f"The FULL_OBJECT checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
        )
    if kind == "COMPOSITE" and algorithm == checksums.DEFAULT:
        raise InvalidRequest("The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm.")
    upload_id = call.new_hex("", 48)
    call.db.run(
        BEGIN,
        {
            "account_id": bucket.account,
            "region": bucket.region,
            "upload_id": upload_id,
            "bucket": bucket.name,
            "key": key_bytes(request["Key"]),
            "begun_at": call.now,
            "revision": 0,
            "request": {"headers": headers, "tags": tags, "algorithm": algorithm, "type": kind, "by": call.caller.arn},
            "result": None,
        },
    )
    result = {"Bucket": bucket.name, "Key": request["Key"], "UploadId": upload_id, "ServerSideEncryption": "AES256"}
    if algorithm:
        result |= {"ChecksumAlgorithm": algorithm, "ChecksumType": kind}
    return result


def _this(bucket: Bucket, upload_id: str) -> dict[str, Any]:
    return {"account": bucket.account, "in_region": bucket.region, "of_upload": upload_id}


def find(call: Call, bucket: Bucket, request: Request, *, lock: bool = False, ended: bool = False) -> Row[Any]:
    """The upload of a request, under way; NoSuchUpload. With `ended` also one that was completed."""
    row = call.db.first(UPLOAD_LOCKED if lock else UPLOAD, **_this(bucket, request["UploadId"]))
    here = row is not None and row.bucket == bucket.name and bytes(row.key) == key_bytes(request["Key"])
    if row is None or not here or (row.result is not None and not ended):
        raise NoSuchUpload(
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or"
            " completed.",
            UploadId=request["UploadId"][:256],
        )
    return row


def check_number(request: Request) -> int:
    """A part's number: 1 to 10,000."""
    number = int(request["PartNumber"])
    if not 1 <= number <= MOST_PARTS:
        raise InvalidArgument(
            "Part number must be an integer between 1 and 10000, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=str(number),
        )
    return number


@dataclass(frozen=True, slots=True)
class PartAdmitted:
    """Where a part's bytes belong, and the checksum that its upload asked for."""

    bucket: Bucket
    algorithm: str


def admit_part(call: Call, request: Request) -> PartAdmitted:
    """Entry: whether UploadPart of this request would pass as things stand; nothing is written."""
    bucket = admit(call, "s3:PutObject", request)
    check_number(request)
    return PartAdmitted(bucket, find(call, bucket, request).request["algorithm"])


@operation("UploadPart", "s3:PutObject", grows=True, audit=False)
def upload_part(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Record a part's bytes, which were streamed to Objects, in the place of those before."""
    stored: Stored = request["Body"]
    number, upload = check_number(request), find(call, bucket, request)
    algorithm = upload.request["algorithm"]
    if algorithm and checksums.MEMBERS[algorithm] not in stored.checksums:
        raise InvalidRequest(f"The upload was created using the {algorithm.lower()} checksum: the part must have one.")
    made = content.keep(call, stored)
    _put_part(call, bucket, upload, number, stored.size_bytes, stored.md5, stored.checksums, made)
    return {"ETag": f'"{stored.md5}"', "ServerSideEncryption": "AES256", **stored.checksums}


def _put_part(
    call: Call,
    bucket: Bucket,
    upload: Row[Any],
    number: int,
    size: int,
    etag: str,
    sums: Mapping[str, str],
    made: Sequence[Slice],
) -> None:
    this = _this(bucket, upload.upload_id)
    if not call.db.run(RAISE, this):  # also locks the upload: it cannot be completed or aborted meanwhile
        raise NoSuchUpload("The upload was completed or aborted.", UploadId=upload.upload_id)
    known = call.db.first(PART, **this, of_number=number)
    if known is not None:
        call.db.run(REMOVE_PART, {**this, "of_number": number})
        content.release(call, content.load(known.content))
    call.db.run(
        ADD_PART,
        {
            "account_id": bucket.account,
            "region": bucket.region,
            "upload_id": upload.upload_id,
            "number": number,
            "size_bytes": size,
            "etag": etag,
            "checksums": dict(sums),
            "modified_at": call.now,
            "content": content.dump(made),
        },
    )


@operation("UploadPartCopy", "s3:PutObject", grows=True, audit=False)
def upload_part_copy(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """A part made of another object's bytes, or of a range of them, which are not copied.

    Ours: without reading the bytes their hash is not known; the part's entity tag is the object's own where it is taken
    whole, else a hash that is as unique.
    """
    number, upload = check_number(request), find(call, bucket, request)
    source, row = writing.source_of(call, request)
    wanted = request.get("CopySourceRange")
    limits = byte_range(wanted, row.size_bytes)
    if wanted is not None and (limits is None or int(wanted.rpartition("-")[2] or 0) >= row.size_bytes):
        raise InvalidArgument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the"
            " zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=wanted[:128],
        )
    start, end = limits or (0, row.size_bytes)
    if end - start > LARGEST_PART:
        raise InvalidRequest(f"A part has {LARGEST_PART} bytes at most")
    taken = list(content.cut(content.load(row.content), start, end))
    content.share(call, taken)
    whole = end - start == row.size_bytes and "-" not in row.etag
    etag = row.etag if whole else content.etag_of(taken)
    sums = checksums.members_of(row.headers) if whole else {}
    _put_part(call, bucket, upload, number, end - start, etag, sums, taken)
    result: dict[str, Any] = {
        "CopyPartResult": {"ETag": f'"{etag}"', "LastModified": call.now, **sums},
        "ServerSideEncryption": "AES256",
    }
    return {**result, "CopySourceVersionId": row.version_id} if source.versioning else result


@dataclass(frozen=True, slots=True)
class Plan:
    """What completing an upload will store, worked out beside the writer; good while `revision` is the upload's."""

    revision: int
    new: New
    unlisted: str
    checksum: Mapping[str, str]


def plan(call: Call, request: Request) -> Plan | None:
    """Entry: check the parts that CompleteMultipartUpload names and join them; None when it was completed before."""
    bucket = admit(call, "s3:PutObject", request)
    upload = find(call, bucket, request, ended=True)
    if upload.result is not None:
        return None
    named = (request.get("MultipartUpload") or {}).get("Parts", [])
    if not 1 <= len(named) <= MOST_PARTS:
        raise MalformedXML(f"An upload is completed from 1 to {MOST_PARTS} parts")
    this = _this(bucket, upload.upload_id)
    known = {row.number: row for row in call.db.all(LIST_PARTS, **this, after=0, most=MOST_PARTS)}
    chosen = _chosen(upload, named, known)
    size = sum(row.size_bytes for row in chosen)
    if size > LARGEST_OBJECT or request.get("MpuObjectSize", size) != size:
        raise InvalidRequest(f"The object has {size} bytes: not as many as was said, or more than an object may have.")
    sums = _checksum(upload, request, chosen)
    slices = [each for row in chosen for each in content.load(row.content)]
    headers = {**upload.request["headers"], **sums}
    new = New(
        size,
        content.joined_etag([row.etag for row in chosen]),
        headers,
        upload.request["tags"],
        content.dump(slices),
        orjson.dumps([[row.number, row.size_bytes] for row in chosen]).decode(),
    )
    unlisted = sorted(known.keys() - {row.number for row in chosen})
    return Plan(upload.revision, new, orjson.dumps(unlisted).decode(), sums)


def _chosen(upload: Row[Any], named: Sequence[Mapping[str, Any]], known: Mapping[int, Row[Any]]) -> list[Row[Any]]:
    """The rows of the parts named; InvalidPart, InvalidPartOrder, EntityTooSmall."""
    chosen: list[Row[Any]] = []
    for each in named:
        number = each.get("PartNumber")
        row = known.get(number) if isinstance(number, int) else None
        if chosen and number is not None and number <= chosen[-1].number:
            raise InvalidPartOrder(
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
                UploadId=upload.upload_id,
            )
        wrong = row is None or each.get("ETag", "").strip('"') != row.etag
        sums = {member: text for member, text in each.items() if member in checksums.ALGORITHMS}
        if wrong or row is None or any(row.checksums.get(member) != text for member, text in sums.items()):
            raise InvalidPart(
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the"
                " specified entity tag may not match the part's entity tag.",
                UploadId=upload.upload_id,
                PartNumber=str(number),
                ETag=str(each.get("ETag", ""))[:128],
            )
        chosen.append(row)
    for row in chosen[:-1]:
        if row.size_bytes < SMALLEST_PART:
            raise EntityTooSmall(
                "Your proposed upload is smaller than the minimum allowed size",
                ETag=row.etag,
                MinSizeAllowed=SMALLEST_PART,
                PartNumber=row.number,
                ProposedSize=row.size_bytes,
            )
    return chosen


def _checksum(upload: Row[Any], request: Request, chosen: Sequence[Row[Any]]) -> dict[str, str]:
    """The object's checksum from its parts', compared with what the client says."""
    algorithm, kind = upload.request["algorithm"] or checksums.DEFAULT, upload.request["type"]
    member = checksums.MEMBERS[algorithm]
    sums = [(row.checksums.get(member, ""), row.size_bytes) for row in chosen]
    if not all(text for text, _ in sums):
        return {}
    texts = [text for text, _ in sums]
    made = checksums.of_whole(algorithm, sums) if kind == "FULL_OBJECT" else checksums.of_parts(algorithm, texts)
    said = request.get(member)
    if said is not None and said.partition("-")[0] != made.partition("-")[0]:
        raise BadDigest(f"The {algorithm} you specified did not match the calculated checksum.")
    return {member: made, "ChecksumType": kind}


@operation("CompleteMultipartUpload", "s3:PutObject", grows=True)
def complete_multipart_upload(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Make the planned object the key's current version; asked again, it tells the same.

    `request["Plan"]` is what `plan` returned; without one it is made here.
    """
    upload = find(call, bucket, request, lock=True, ended=True)
    if upload.result is not None:
        told: dict[str, Any] = upload.result
        return told
    made: Plan | None = request.get("Plan") or plan(call, request)
    if made is None or made.revision != upload.revision:
        raise ConditionalRequestConflict("Parts were uploaded while the upload was being completed: try again.")
    before = objects.latest(call, bucket, request["Key"], lock=True)
    writing.check_conditions(request, before)
    version_id = objects.store(call, bucket, request["Key"], made.new, before)
    address = f"{bucket.name}/{Spelling({'EncodingType': 'url'})(request['Key'])}"
    result = {
        "Location": f"{call.settings.public_url.rstrip('/')}/{address}",
        "Bucket": bucket.name,
        "Key": request["Key"],
        "ETag": f'"{made.new.etag}"',
        "ServerSideEncryption": "AES256",
        **made.checksum,
    }
    if bucket.versioning == "Enabled":
        result["VersionId"] = version_id
    call.db.run(FINISH, {**_this(bucket, upload.upload_id), "told": result})
    content.leave(call, bucket.account, bucket.region, upload.upload_id, made.unlisted)
    return result


@operation("AbortMultipartUpload", "s3:AbortMultipartUpload")
def abort_multipart_upload(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Give an upload up; its parts are collected."""
    upload = find(call, bucket, request, lock=True)
    end(call, upload)
    return {}


def end(call: Call, upload: Row[Any]) -> None:
    """Forget an upload and leave its parts to the collector."""
    call.db.run(END_UPLOAD, {"account": upload.account_id, "in_region": upload.region, "of_upload": upload.upload_id})
    content.leave(call, upload.account_id, upload.region, upload.upload_id, content.ALL_PARTS)


def _marker(request: Request) -> int:
    """The number of the part after which a list begins."""
    marker = int(request.get("PartNumberMarker", 0))
    if marker < 0:
        raise InvalidArgument(
            "Argument part-number-marker must be an integer between 0 and 2147483647",
            ArgumentName="part-number-marker", ArgumentValue=str(marker),
        )  # fmt: skip
    return marker


@operation("ListParts", "s3:ListMultipartUploadParts", reads=True)
def list_parts(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """The parts that are there, by number."""
    upload = find(call, bucket, request)
    limit, marker = limit_of(request, "MaxParts"), _marker(request)
    rows = call.db.all(LIST_PARTS, **_this(bucket, upload.upload_id), after=marker, most=limit + 1)
    page = rows[:limit]
    result: dict[str, Any] = {
        "Bucket": bucket.name,
        "Key": request["Key"],
        "UploadId": upload.upload_id,
        "PartNumberMarker": marker,
        "NextPartNumberMarker": page[-1].number if page else 0,
        "MaxParts": limit,
        "IsTruncated": len(rows) > limit,
        "Initiator": {"ID": upload.request["by"], "DisplayName": upload.request["by"].rsplit("/", 1)[-1]},
        "Owner": owner(bucket.account),
        "StorageClass": upload.request["headers"].get("StorageClass", "STANDARD"),
    }
    if upload.request["algorithm"]:
        result |= {"ChecksumAlgorithm": upload.request["algorithm"], "ChecksumType": upload.request["type"]}
    if page:
        result["Parts"] = [
            {
                "PartNumber": row.number,
                "LastModified": row.modified_at,
                "ETag": f'"{row.etag}"',
                "Size": row.size_bytes,
                **row.checksums,
            }
            for row in page
        ]
    return result


@operation("ListMultipartUploads", "s3:ListBucketMultipartUploads", reads=True)
def list_multipart_uploads(call: Call, bucket: Bucket, request: Request) -> dict[str, Any]:
    """Uploads under way, by key and id."""
    spell, limit = Spelling(request), limit_of(request, "MaxUploads")
    prefix = (request.get("Prefix") or "").encode("utf-8", "surrogatepass")
    delimiter = (request.get("Delimiter") or "").encode("utf-8", "surrogatepass")
    marker = (request.get("KeyMarker") or "").encode("utf-8", "surrogatepass")
    # without an upload id the list goes on behind the key, with one behind that upload of the key
    after = {"after_key": marker, "after_upload": request.get("UploadIdMarker") or ("~" if marker else "")}
    found: list[Row[Any]] = []
    prefixes: list[bytes] = []
    truncated, last = False, None
    until = following(prefix) if prefix else END
    while not truncated and limit:
        rows = call.db.all(
            LIST_UPLOADS, account=bucket.account, in_region=bucket.region, of_bucket=bucket.name, **after,
            first_key=prefix, until=until, most=limit + 1,
        )  # fmt: skip
        for row in rows:
            key = bytes(row.key)
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            hidden = key[: cut + len(delimiter)] if cut >= 0 else None
            if hidden is not None and (hidden in prefixes[-1:] or hidden == marker):
                continue
            if len(found) + len(prefixes) == limit:
                truncated = True
                break
            if hidden is not None:
                prefixes.append(hidden)
                last = (hidden, "~")
            else:
                found.append(row)
                last = (key, row.upload_id)
        if len(rows) <= limit:
            break
        after = {"after_key": bytes(rows[-1].key), "after_upload": rows[-1].upload_id}
    result: dict[str, Any] = {
        "Bucket": bucket.name,
        "KeyMarker": spell(request.get("KeyMarker", "")),
        "UploadIdMarker": request.get("UploadIdMarker", ""),
        "MaxUploads": limit,
        "IsTruncated": truncated,
        **spell.echo(request, "Prefix", "Delimiter"),
    }
    if spell.url:
        result["EncodingType"] = "url"
    if truncated and last is not None:
        result |= {"NextKeyMarker": spell(last[0]), "NextUploadIdMarker": last[1]}
    if prefixes:
        result["CommonPrefixes"] = [{"Prefix": spell(each)} for each in prefixes]
    if found:
        result["Uploads"] = [_upload(row, bucket, spell) for row in found]
    return result


def _upload(row: Row[Any], bucket: Bucket, spell: Spelling) -> dict[str, Any]:
    shown = {
        "UploadId": row.upload_id,
        "Key": spell(bytes(row.key)),
        "Initiated": row.begun_at,
        "StorageClass": row.request["headers"].get("StorageClass", "STANDARD"),
        "Owner": owner(bucket.account),
        "Initiator": {"ID": row.request["by"], "DisplayName": row.request["by"].rsplit("/", 1)[-1]},
    }
    if row.request["algorithm"]:
        shown |= {"ChecksumAlgorithm": row.request["algorithm"], "ChecksumType": row.request["type"]}
    return shown


def check_announced(size: int) -> None:
    """EntityTooLarge for more than one request may carry."""
    if size > LARGEST_PART:
        raise EntityTooLarge(
            "Your proposed upload exceeds the maximum allowed size", MaxSizeAllowed=LARGEST_PART, ProposedSize=size
        )
