"""Content: the bytes of objects as slices of blobs, how blobs are named, encrypted and counted, and how they end.

    object or part ── content ──> [[blob, offset, size], …]      a blob is one upload, kept whole under Objects

A copy refers to the same blobs; a completed multipart object to those of its parts. When the last reference goes, the
blob is released, and collected a while after, so that readers of it can come to their end. Each blob is encrypted by
AES-256 in counter mode under a key of its own, derived from its tenant's; no two blobs share a name, so none a key.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from sqlalchemy import bindparam, insert, select, update

from fleetward.server.call import Call
from fleetward.server.key_rotation import SealedColumn
from fleetward.server.s3.table import blobs, garbage, keys

FOLDER = "s3/"
BLOCK = 16
KEPT_AFTER_RELEASE = timedelta(hours=1)
"""How long bytes outlive their last reference: for downloads that are under way."""

ALL_PARTS = "all"
"""Instead of a content: every part of the ended upload goes with its bytes."""

RELEASED_AT_ONCE = 100
"""Contents of more slices are released by the collector."""

_THIS = (
    blobs.c.account_id == bindparam("account"),
    blobs.c.region == bindparam("in_region"),
    blobs.c.blob == bindparam("of_blob"),
)
ADD_BLOB = insert(blobs)
COUNT = update(blobs).where(*_THIS).values(references=blobs.c.references + bindparam("by"))
RELEASE = update(blobs).where(*_THIS, blobs.c.references <= 0).values(released_at=bindparam("now"))
ADD_GARBAGE = insert(garbage)
KEY = select(keys.c.sealed).where(
    keys.c.account_id == bindparam("account"),
    keys.c.region == bindparam("in_region"),
    keys.c.number == bindparam("of_number"),
)
ADD_KEY = insert(keys)
SEALED = (SealedColumn(keys, "sealed", lambda row: key_identity(row.account_id, row.region, row.number)),)
"""What key rotation wraps anew."""

FIRST_KEY = 1


class Slice(NamedTuple):
    """Bytes `offset` to `offset + size` of a blob."""

    blob: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that have been streamed to Objects and that nothing refers to yet: the Body of PutObject and UploadPart."""

    blob: str
    size_bytes: int
    md5: str
    """Hex."""
    checksums: dict[str, str] = field(default_factory=dict)
    """By member name (ChecksumCRC32), in base64: all that were asked for or sent, and checked."""

    def __str__(self) -> str:
        return f"{self.size_bytes} bytes"


def new_blob(account: str, region: str, number: int = FIRST_KEY) -> str:
    """A name that nobody has: ACCOUNT/REGION/xx/NUMBER-hex, `number` being that of the tenant's key."""
    name = secrets.token_hex(16)
    return f"{account}/{region}/{name[:2]}/{number}-{name}"


def storage_key(blob: str) -> str:
    """Where a blob lies in Objects. Names of buckets and keys have no part in it."""
    return FOLDER + blob


def tenant_of(blob: str) -> tuple[str, str]:
    """Account and region of a blob."""
    account, region, _ = blob.split("/", 2)
    return account, region


def key_number(blob: str) -> int:
    """Which of its tenant's keys a blob is encrypted under."""
    return int(blob.rsplit("/", 1)[1].partition("-")[0])


def cipher(tenant_key: bytes, blob: str, offset: int = 0) -> CipherContext:
    """Encrypts and decrypts the blob's bytes from `offset` on."""
    own = hmac.digest(tenant_key, blob.encode(), "sha256")
    counter = (offset // BLOCK).to_bytes(BLOCK, "big")
    context = Cipher(algorithms.AES(own), modes.CTR(counter)).encryptor()
    context.update(bytes(offset % BLOCK))
    return context


def key_identity(account: str, region: str, number: int) -> str:
    """What a sealed key of a tenant belongs to."""
    return f"s3-key/{account}/{region}/{number}"


def tenant_key(call: Call, request: tuple[str, str, int]) -> bytes | None:
    """Entry: one of a tenant's keys; None when it has none of this number."""
    account, region, number = request
    sealed = call.db.value(KEY, account=account, in_region=region, of_number=number)
    return None if sealed is None else call.keys.open(sealed, key_identity(account, region, number))


def make_tenant_key(call: Call, request: tuple[str, str]) -> bytes:
    """Entry: the tenant's first key, made if it has none."""
    account, region = request
    known = tenant_key(call, (account, region, FIRST_KEY))
    if known is not None:
        return known
    fresh = secrets.token_bytes(32)
    sealed = call.keys.seal(fresh, key_identity(account, region, FIRST_KEY))
    call.db.run(ADD_KEY, {"account_id": account, "region": region, "number": FIRST_KEY, "sealed": sealed})
    return fresh


def keep(call: Call, stored: Stored) -> list[Slice]:
    """Record bytes that have just been streamed; the content that refers to them."""
    account, region = tenant_of(stored.blob)
    call.db.run(
        ADD_BLOB,
        {
            "account_id": account,
            "region": region,
            "blob": stored.blob,
            "size_bytes": stored.size_bytes,
            "references": 1,
            "released_at": None,
        },
    )
    return [Slice(stored.blob, 0, stored.size_bytes)]


def share(call: Call, content: Sequence[Slice]) -> None:
    """Refer once more to each slice's blob, as a copy does."""
    call.db.run(COUNT, _counted(content, 1))


def release(call: Call, content: Sequence[Slice]) -> None:
    """Let go of an object's or part's bytes; long contents are left to the collector."""
    if len(content) > RELEASED_AT_ONCE:
        leave(call, *tenant_of(content[0].blob), "", dump(content))
        return
    let_go(call, content)


def let_go(call: Call, content: Sequence[Slice]) -> None:
    """Count down the references of these slices at once."""
    call.db.run(COUNT, _counted(content, -1))
    call.db.run(RELEASE, [{**_key(blob), "now": call.now} for blob in sorted({each.blob for each in content})])


def leave(call: Call, account: str, region: str, upload_id: str, text: str) -> None:
    """Have the tenant's collector release a content, or the parts of an ended upload."""
    call.db.run(
        ADD_GARBAGE,
        {
            "account_id": account,
            "region": region,
            "garbage_id": call.new_id(),
            "due_at": call.now,
            "upload_id": upload_id,
            "content": text,
        },
    )


def dump(content: Sequence[Slice]) -> str:
    """Content as a column holds it."""
    return orjson.dumps([list(each) for each in content]).decode()


def load(text: str) -> list[Slice]:
    """Content from its column."""
    return [Slice(*each) for each in orjson.loads(text)] if text else []


def cut(content: Sequence[Slice], start: int, end: int) -> Iterator[Slice]:
    """The slices that hold the bytes from `start` up to `end` of a content."""
    position = 0
    for each in content:
        first, last = max(start - position, 0), min(end - position, each.size)
        if first < last:
            yield Slice(each.blob, each.offset + first, last - first)
        position += each.size
        if position >= end:
            return


def joined_etag(etags: Sequence[str]) -> str:
    """The entity tag of a multipart object: the hash of its parts' hashes, and their number."""
    digest = hashlib.md5(b"".join(bytes.fromhex(each) for each in etags), usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(etags)}"


def etag_of(content: Sequence[Slice]) -> str:
    """An entity tag for bytes that were not read: equal slices have equal ones, and no others."""
    return hashlib.md5(dump(content).encode(), usedforsecurity=False).hexdigest()


def _counted(content: Sequence[Slice], by: int) -> list[dict[str, Any]]:
    """One row for each blob, in one order everywhere, with how often the content names it."""
    return [{**_key(blob), "by": by * often} for blob, often in sorted(Counter(each.blob for each in content).items())]


def _key(blob: str) -> dict[str, Any]:
    account, region = tenant_of(blob)
    return {"account": account, "in_region": region, "of_blob": blob}
