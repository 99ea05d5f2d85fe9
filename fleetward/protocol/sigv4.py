"""Sign and verify Signature Version 4: in headers, presigned, over POST policies, and the RSA-PSS form of nodes.

Both halves build the same two texts from a request and compare one keyed hash of them:

```
  method, path, query, signed headers, payload hash
              |
      canonical request --SHA-256--+
                                   v
  algorithm, timestamp, scope -> string to sign --HMAC with the day's key (or RSA-PSS by a node)--> signature
```

A client calls `sign_headers`, `presign_query` or `sign_headers_rsa`. A server calls `parse_claim`, which finds out
who claims to have signed and how; looks up that key; then `verify` or `verify_rsa`. Header values a server passes in
are the wire's bytes decoded as Latin-1, several of one name joined with commas, names in lower case.

Sources: the AWS guide to signing API requests, the S3 reference on signing chunked uploads, and, for nodes, the
agent protocol reference, section 3.3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from fleetward.protocol import rsa_pss
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING = frozenset({STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER})
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

INCOMPLETE = "IncompleteSignatureException"
INVALID = "InvalidSignatureException"

DEFAULT_SKEW = timedelta(minutes=5)
LONGEST_PRESIGNED = timedelta(days=7)

_TERMINATOR = "aws4_request"
_NEVER_SIGNED = frozenset(
    {
        "authorization",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)
# The payload hash is covered by the canonical request itself, and the user agent decides nothing.
_MAY_STAY_UNSIGNED = frozenset({"x-amz-content-sha256", "x-amz-user-agent"})
_QUERY_CLAIM = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")

_SAFE_QUERY_PART = re.compile(r"[A-Za-z0-9\-._~]*").fullmatch
_SHA256_HEX = re.compile(r"[0-9a-f]{64}").fullmatch
_TIMESTAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII).fullmatch
_SPACES = re.compile(r"[ \t\r\n\v\f]+").sub


class SignatureFault(RemoteProtocolError):
    """A request whose signature cannot be read or is not right; `code` is AWS's name for the error.

    `at_fault` is what S3 has errors of its own for: "time" (not signed lately), "body" (not the one that was signed),
    else empty.
    """

    def __init__(self, code: str, message: str, at_fault: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.at_fault = at_fault


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client signs with; temporary keys come with a session token."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who says to have signed a request, and how: nothing of it is proven before `verify`.

    `date` is the scope's yyyymmdd, `timestamp` the request's own (yyyymmddThhmmssZ) and `signed_at` the same as a
    time. `expires_in` is set for presigned requests only. `payload_hash` is X-Amz-Content-Sha256 as sent.
    """

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)
    timestamp: str
    signed_at: datetime
    session_token: str | None = field(repr=False)
    expires_in: timedelta | None
    payload_hash: str | None

    @property
    def presigned(self) -> bool:
        """The signature came in the query string."""
        return self.expires_in is not None

    @property
    def is_rsa(self) -> bool:
        """Signed by a node with its own key: check with `verify_rsa`, not `verify`."""
        return self.access_key_id.startswith("mi-")

    @property
    def scope(self) -> str:
        """What the signature is good for: day, region and service."""
        return f"{self.date}/{self.region}/{self.service}/{_TERMINATOR}"


# --- the texts both halves agree on ---------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def signing_key(secret_access_key: str, date: str, region: str, service: str) -> bytes:
    """The key of one secret for one day (yyyymmdd), region and service; the last 4,096 are remembered."""
    key = b"AWS4" + secret_access_key.encode()
    for part in (date, region, service, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def canonical_request(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    signed_headers: Iterable[str],
    payload_hash: str,
    *,
    service: str,
) -> str:
    """The request as the text that is hashed; `path` and `query` are percent-encoded as on the wire."""
    names = ";".join(signed_headers)
    lines = "".join([f"{name}:{_fold(headers[name])}\n" for name in signed_headers])
    return f"{method}\n{canonical_path(path, service)}\n{canonical_query(query)}\n{lines}\n{names}\n{payload_hash}"


def canonical_path(path: str, service: str) -> str:
    """S3 keys are taken as they are and encoded once; every other path is tidied and encoded a second time."""
    if path in ("/", ""):
        return "/"
    if service == "s3":
        return "/".join([quote(unquote_to_bytes(part), safe="~") for part in path.split("/")])
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in (".", ""):
            kept.append(part)
    end = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + end, safe="/~")


def canonical_query(query: str) -> str:
    """Every pair encoded anew and sorted; a name without value gets an empty one, a plus is a space."""
    if not query:
        return ""
    pairs = [(_encoded(name), _encoded(value)) for name, _, value in [p.partition("=") for p in query.split("&") if p]]
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def _encoded(part: str) -> str:
    if _SAFE_QUERY_PART(part):
        return part
    return quote(unquote_to_bytes(part.replace("+", " ")), safe="~")


def _fold(value: str) -> str:
    # str.split() would also split at U+0085 and U+00A0, which are bytes of other characters here.
    return " ".join(value.split()) if value.isascii() else _SPACES(" ", value).strip(" ")


def _string_to_sign(timestamp: str, scope: str, canonical: bytes) -> bytes:
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}".encode()


# --- the client's half ----------------------------------------------------------------------------------------------


def sign_headers(
    credentials: Credentials,
    *,
    method: str,
    url_path: str,
    query: str = "",
    headers: Mapping[str, str],
    body: bytes | None = None,
    payload_hash: str | None = None,
    region: str,
    service: str,
    now: datetime,
) -> dict[str, str]:
    """The headers to add to a request so that it is signed.

    All given `headers` are signed but those a proxy may change; `Host` must be among them. `payload_hash` stands for
    the body's own SHA-256 where that is not wanted (`UNSIGNED_PAYLOAD`, a streaming kind; S3 only).
    """
    payload_hash = payload_hash or hashlib.sha256(body or b"").hexdigest()
    timestamp = _timestamp(now)
    added = {"X-Amz-Date": timestamp}
    if credentials.session_token:
        added["X-Amz-Security-Token"] = credentials.session_token
    if service == "s3":
        added["X-Amz-Content-Sha256"] = payload_hash
    sent = _lower_case(headers, added)
    names = sorted(sent.keys() - _NEVER_SIGNED)
    scope = f"{timestamp[:8]}/{region}/{service}/{_TERMINATOR}"
    canonical = canonical_request(method, url_path, query, sent, names, payload_hash, service=service)
    string = _string_to_sign(timestamp, scope, canonical.encode())
    signature = _signature(credentials.secret_access_key, scope, string)
    added["Authorization"] = _authorization(credentials.access_key_id, scope, names, signature)
    return added


def presign_query(
    credentials: Credentials,
    *,
    method: str,
    url_path: str,
    query: str = "",
    headers: Mapping[str, str],
    region: str,
    service: str,
    now: datetime,
    expires_in: timedelta = timedelta(hours=1),
    payload_hash: str | None = None,
) -> str:
    """The query string, signature included, that lets whoever has it send this request until it expires.

    The payload is unsigned for S3 and empty for others unless `payload_hash` says otherwise.
    """
    if not timedelta(seconds=1) <= expires_in <= LONGEST_PRESIGNED:
        raise LocalProtocolError(f"a presigned request lives from 1 second to 7 days, not {expires_in}")
    timestamp = _timestamp(now)
    scope = f"{timestamp[:8]}/{region}/{service}/{_TERMINATOR}"
    sent = _lower_case(headers, {})
    names = sorted(sent.keys() - _NEVER_SIGNED)
    values = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key_id}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": str(int(expires_in.total_seconds())),
        "X-Amz-SignedHeaders": ";".join(names),
    }
    if credentials.session_token:
        values["X-Amz-Security-Token"] = credentials.session_token
    added = "&".join([f"{name}={quote(value, safe='~')}" for name, value in values.items()])
    query = f"{query}&{added}" if query else added
    payload_hash = payload_hash or (UNSIGNED_PAYLOAD if service == "s3" else EMPTY_SHA256)
    canonical = canonical_request(method, url_path, query, sent, names, payload_hash, service=service)
    signature = _signature(credentials.secret_access_key, scope, _string_to_sign(timestamp, scope, canonical.encode()))
    return f"{query}&X-Amz-Signature={signature}"


def sign_headers_rsa(
    node_id: str,
    private_key: bytes | str | RSAPrivateKey,
    *,
    method: str,
    url_path: str,
    query: str = "",
    headers: Mapping[str, str],
    body: bytes | None = None,
    region: str,
    service: str = "ssm",
    now: datetime,
) -> dict[str, str]:
    """The headers to add to a call that a node signs with its own key: before it has, or to renew, its credentials.

    `private_key` is a key object, DER (PKCS#1 or PKCS#8) or PEM. Official agents send X-Amz-Content-Sha256 unsigned.
    """
    payload_hash = hashlib.sha256(body or b"").hexdigest()
    timestamp = _timestamp(now)
    added = {"X-Amz-Date": timestamp, "X-Amz-Content-Sha256": payload_hash}
    sent = _lower_case(headers, added)
    names = sorted(sent.keys() - _NEVER_SIGNED - {"x-amz-content-sha256"})
    scope = f"{timestamp[:8]}/{region}/{service}/{_TERMINATOR}"
    canonical = canonical_request(method, url_path, query, sent, names, payload_hash, service=service)
    signature = rsa_pss.sign(private_key, _string_to_sign(timestamp, scope, canonical.encode()))
    added["Authorization"] = _authorization(node_id, scope, names, signature)
    return added


def _timestamp(now: datetime) -> str:
    if now.tzinfo is None:
        raise LocalProtocolError("a request is signed at an aware time")
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _lower_case(*parts: Mapping[str, str]) -> dict[str, str]:
    sent = {name.lower(): value for headers in parts for name, value in headers.items()}
    if "host" not in sent:
        raise LocalProtocolError("a request is signed together with its Host header")
    return sent


def _authorization(key_id: str, scope: str, names: Iterable[str], signature: str) -> str:
    return f"{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"


def _signature(secret_access_key: str, scope: str, string_to_sign: bytes) -> str:
    date, region, service, _ = scope.split("/")
    return hmac.digest(signing_key(secret_access_key, date, region, service), string_to_sign, "sha256").hex()


# --- the server's half: what is claimed -----------------------------------------------------------------------------


def parse_claim(method: str, raw_path: str, query_string: str, headers: Mapping[str, str]) -> Claim | None:
    """Read who claims to have signed this request; None when nobody does.

    Raises SignatureFault (IncompleteSignatureException) when a signature is there and cannot be read.
    """
    authorization = headers.get("authorization")
    in_query = "X-Amz-Algorithm=" in query_string
    if authorization:
        if in_query:
            raise SignatureFault(INCOMPLETE, f"{method} {raw_path} is signed in its headers and in its query: use one")
        return _claim_of_header(authorization, headers)
    return _claim_of_query(query_string, headers) if in_query else None


def _claim_of_header(authorization: str, headers: Mapping[str, str]) -> Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM or not rest.isascii():
        raise SignatureFault(INCOMPLETE, f"The Authorization header must begin with {ALGORITHM}")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        if name in parts:
            raise SignatureFault(INCOMPLETE, f"The Authorization header has {name[:40]!r} twice")
        parts[name] = value
    lacking = [name for name in ("Credential", "SignedHeaders", "Signature") if not parts.get(name)]
    if lacking:
        raise SignatureFault(INCOMPLETE, f"The Authorization header lacks {', '.join(lacking)}")
    return _claim(
        parts["Credential"],
        parts["SignedHeaders"],
        parts["Signature"],
        _header_timestamp(headers),
        headers.get("x-amz-security-token"),
        None,
        headers.get("x-amz-content-sha256"),
    )


def _claim_of_query(query_string: str, headers: Mapping[str, str]) -> Claim:
    found: dict[str, str] = {}
    for pair in query_string.split("&"):
        name, _, value = pair.partition("=")
        if name.startswith("X-Amz-"):
            if name in found:
                raise SignatureFault(INCOMPLETE, f"The query has {name[:40]} twice")
            found[name] = unquote_to_bytes(value).decode("latin-1")
    lacking = [f"X-Amz-{name}" for name in _QUERY_CLAIM if not found.get(f"X-Amz-{name}")]
    if lacking:
        raise SignatureFault(INCOMPLETE, f"The presigned query lacks {', '.join(lacking)}")
    if found["X-Amz-Algorithm"] != ALGORITHM:
        raise SignatureFault(INCOMPLETE, f"X-Amz-Algorithm must be {ALGORITHM}")
    claim = _claim(
        found["X-Amz-Credential"],
        found["X-Amz-SignedHeaders"],
        found["X-Amz-Signature"],
        found["X-Amz-Date"],
        found.get("X-Amz-Security-Token"),
        _expires_in(found["X-Amz-Expires"]),
        found.get("X-Amz-Content-Sha256"),
    )
    if claim.is_rsa:
        raise SignatureFault(INCOMPLETE, "A node's own key signs headers, not queries")
    return claim


def _claim(
    credential: str,
    signed_headers: str,
    signature: str,
    timestamp: str,
    session_token: str | None,
    expires_in: timedelta | None,
    payload_hash: str | None,
) -> Claim:
    scope = credential.rsplit("/", 4)
    if len(scope) != 5 or scope[4] != _TERMINATOR or not all(scope) or not credential.isascii():
        raise SignatureFault(INCOMPLETE, "The credential must be KEY-ID/YYYYMMDD/REGION/SERVICE/aws4_request")
    if not signature.isascii() or signed_headers.lower() != signed_headers:
        raise SignatureFault(INCOMPLETE, "Signed header names are in lower case, and a signature is hexadecimal")
    return Claim(
        scope[0],
        scope[1],
        scope[2],
        scope[3],
        tuple(signed_headers.split(";")),
        signature,
        timestamp,
        _time_of(timestamp),
        session_token,
        expires_in,
        payload_hash,
    )


def _header_timestamp(headers: Mapping[str, str]) -> str:
    timestamp = headers.get("x-amz-date")
    if timestamp:
        return timestamp
    date = headers.get("date")
    if not date:
        raise SignatureFault(INCOMPLETE, "A signed request says when it was signed: the header X-Amz-Date is missing")
    if _TIMESTAMP(date):
        return date
    try:
        from email.utils import parsedate_to_datetime  # half a megabyte that nodes never need

        return _timestamp(parsedate_to_datetime(date))
    except (ValueError, TypeError, OverflowError, IndexError, LocalProtocolError) as error:
        raise SignatureFault(INCOMPLETE, "The Date header is no date; send X-Amz-Date as YYYYMMDDThhmmssZ") from error


@lru_cache(maxsize=64)
def _time_of(timestamp: str) -> datetime:
    match = _TIMESTAMP(timestamp)
    try:
        if match:
            year, month, day, hour, minute, second = map(int, match.groups())
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        pass
    raise SignatureFault(INCOMPLETE, "The time of signing must be written YYYYMMDDThhmmssZ, in UTC")


def _expires_in(text: str) -> timedelta:
    if text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= LONGEST_PRESIGNED.total_seconds():
        return timedelta(seconds=int(text))
    raise SignatureFault(INCOMPLETE, "X-Amz-Expires must be a number of seconds from 1 to 604800")


# --- the server's half: whether it is true --------------------------------------------------------------------------


def verify(
    claim: Claim,
    secret_access_key: str,
    *,
    method: str,
    raw_path: str,
    query_string: str,
    headers: Mapping[str, str],
    body_hash_hex: str | None,
    now: datetime,
    skew: timedelta = DEFAULT_SKEW,
) -> None:
    """Check that the owner of the secret signed this very request, lately.

    Raises SignatureFault (InvalidSignatureException). `body_hash_hex` may be None for S3 alone, whose bodies are
    read afterwards: the caller then compares the body with `claim.payload_hash` or drives a verifier of chunks.
    The caller also makes sure that `claim.service` and `claim.region` are those it serves the request as.
    """
    if claim.is_rsa:
        raise SignatureFault(INVALID, "This credential is a node's own: it signs by RSA")
    string = _claimed_string(claim, method, raw_path, query_string, headers, body_hash_hex, now, skew)
    key = signing_key(secret_access_key, claim.date, claim.region, claim.service)
    if not hmac.compare_digest(hmac.digest(key, string, "sha256").hex(), claim.signature):
        raise _mismatch()


def verify_rsa(
    claim: Claim,
    public_key_der: bytes,
    *,
    method: str,
    raw_path: str,
    query_string: str,
    headers: Mapping[str, str],
    body_hash_hex: str,
    now: datetime,
    skew: timedelta = DEFAULT_SKEW,
) -> None:
    """Check that a node signed this very request, lately, with the key it registered (DER SubjectPublicKeyInfo).

    Raises SignatureFault (InvalidSignatureException); LocalProtocolError when what we stored is no RSA key.
    """
    if not claim.is_rsa:
        raise SignatureFault(INVALID, "This credential is not a node's own: it signs by HMAC")
    string = _claimed_string(claim, method, raw_path, query_string, headers, body_hash_hex, now, skew)
    try:
        signature = base64.b64decode(claim.signature, validate=True)
    except binascii.Error as error:
        raise _mismatch() from error
    if not rsa_pss.is_signed(public_key_der, signature, string):
        raise _mismatch()


def _claimed_string(
    claim: Claim,
    method: str,
    raw_path: str,
    query_string: str,
    headers: Mapping[str, str],
    body_hash_hex: str | None,
    now: datetime,
    skew: timedelta,
) -> bytes:
    _check_time(claim, now, skew)
    _check_signed_headers(claim.signed_headers, headers)
    if claim.presigned:
        query_string = "&".join([p for p in query_string.split("&") if not p.startswith("X-Amz-Signature=")])
    payload_hash = _payload_hash(claim, headers, body_hash_hex)
    canonical = canonical_request(
        method, raw_path, query_string, headers, claim.signed_headers, payload_hash, service=claim.service
    )
    return _string_to_sign(claim.timestamp, claim.scope, canonical.encode("latin-1", "replace"))


def _check_time(claim: Claim, now: datetime, skew: timedelta) -> None:
    if claim.timestamp[:8] != claim.date:
        raise SignatureFault(
            INVALID, f"The credential is for {claim.date}, the request was signed at {claim.timestamp}"
        )
    age = now - claim.signed_at
    if age < -skew:
        raise SignatureFault(
            INVALID, f"Signature not yet current: signed at {claim.timestamp}, it is {_timestamp(now)} here", "time"
        )
    if age > (skew if claim.expires_in is None else claim.expires_in):
        raise SignatureFault(
            INVALID, f"Signature expired: signed at {claim.timestamp}, it is {_timestamp(now)} here", "time"
        )


def _check_signed_headers(signed: tuple[str, ...], headers: Mapping[str, str]) -> None:
    if "host" not in signed:
        raise SignatureFault(INVALID, "The Host header must be among the signed headers")
    for name in signed:
        if name not in headers:
            raise SignatureFault(INVALID, f"The header {name[:80]!r} is named as signed and did not arrive")
    for name in headers:
        if name.startswith("x-amz-") and name not in signed and name not in _MAY_STAY_UNSIGNED:
            raise SignatureFault(INVALID, f"The header {name[:80]!r} must be among the signed headers")


def _payload_hash(claim: Claim, headers: Mapping[str, str], body_hash_hex: str | None) -> str:
    """The last line of the canonical request: only S3 may leave a body unsigned, or for later."""
    claimed = claim.payload_hash
    if claim.service != "s3":
        if body_hash_hex is None:
            raise LocalProtocolError("only S3 bodies may be hashed after the signature was checked")
        if claimed is not None and claimed != body_hash_hex:
            raise SignatureFault(INVALID, "X-Amz-Content-Sha256 is not the SHA-256 of the body that arrived")
        return body_hash_hex
    if claim.presigned and claimed is None:
        header = headers.get("x-amz-content-sha256")
        claimed = header if header and "x-amz-content-sha256" in claim.signed_headers else UNSIGNED_PAYLOAD
    if claimed is None or not (claimed == UNSIGNED_PAYLOAD or claimed in STREAMING or _SHA256_HEX(claimed)):
        raise SignatureFault(INVALID, "X-Amz-Content-Sha256 must be a SHA-256, UNSIGNED-PAYLOAD or a streaming kind")
    if body_hash_hex is not None and _SHA256_HEX(claimed) and claimed != body_hash_hex:
        raise SignatureFault(INVALID, "X-Amz-Content-Sha256 is not the SHA-256 of the body that arrived", "body")
    return claimed


def is_signed_text(secret_access_key: str, credential: str, text: bytes, signature: str) -> bool:
    """Whether `signature` is the secret's over `text`, as S3's POST policies are signed.

    `credential` is KEY-ID/YYYYMMDD/REGION/SERVICE/aws4_request.
    """
    scope = credential.partition("/")[2]
    if scope.count("/") != 3 or not scope.endswith(f"/{_TERMINATOR}"):
        return False
    expected = _signature(secret_access_key, scope, text)
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def _mismatch() -> SignatureFault:
    return SignatureFault(
        INVALID,
        "The signature does not belong to this request: check the secret access key, and that nothing on the way"
        " changed the method, path, query, signed headers or body",
    )
