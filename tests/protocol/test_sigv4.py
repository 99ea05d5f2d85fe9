"""Signature Version 4: AWS's published figures, agreement with botocore, and nothing tampered passes."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.protocol import sigv4
from fleetward.protocol.errors import LocalProtocolError
from fleetward.protocol.sigv4 import (
    INCOMPLETE,
    INVALID,
    UNSIGNED_PAYLOAD,
    Claim,
    Credentials,
    SignatureFault,
    parse_claim,
    presign_query,
    sign_headers,
    sign_headers_rsa,
    signing_key,
    verify,
    verify_rsa,
)

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
S3_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEYS = Credentials("AKIDEXAMPLE", SECRET)
TEMPORARY = Credentials("ASIAEXAMPLE", SECRET, "IQoJb3JpZ2luX2VjE//+==")
NOW = datetime(2026, 11, 22, 20, 4, 42, tzinfo=UTC)
NODE = "mi-b50b9fe278c90b63c"
BODY = b'{"Name":"/fleet/size"}'
HEADERS = {
    "Host": "cp.example.net:8443",
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "AmazonSSM.GetParameter",
    "User-Agent": "aws-cli/2",
}


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def received(*parts: dict[str, str]) -> dict[str, str]:
    """Headers as a server sees them: names in lower case, the wire's bytes read as Latin-1."""
    return {name.lower(): value.encode().decode("latin-1") for headers in parts for name, value in headers.items()}


def signed_call(credentials: Credentials = KEYS, **changes: Any) -> dict[str, Any]:
    """A signed GetParameter as `verify` takes it; `changes` go into the signing."""
    given: dict[str, Any] = {
        "method": "POST",
        "url_path": "/",
        "query": "",
        "headers": HEADERS,
        "body": BODY,
        "region": "us-east-1",
        "service": "ssm",
        "now": NOW,
    } | changes
    added = sign_headers(credentials, **given)
    return {
        "method": given["method"],
        "raw_path": given["url_path"],
        "query_string": given["query"],
        "headers": received(given["headers"], added),
        "body_hash_hex": sha256(given["body"] or b""),
        "now": NOW,
    }


def claim_of(call: dict[str, Any]) -> Claim:
    claim = parse_claim(call["method"], call["raw_path"], call["query_string"], call["headers"])
    assert claim is not None
    return claim


def check(call: dict[str, Any], secret: str = SECRET) -> None:
    verify(claim_of(call), secret, **call)


def refused(call: dict[str, Any], code: str, secret: str = SECRET) -> str:
    with pytest.raises(SignatureFault) as caught:
        check(call, secret)
    assert caught.value.code == code
    return caught.value.message


# --- figures AWS has published --------------------------------------------------------------------------------------


def test_signing_key_is_the_published_one() -> None:
    expected = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    assert signing_key(SECRET, "20150830", "us-east-1", "iam").hex() == expected


def test_list_users_has_the_published_signature() -> None:
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": "iam.amazonaws.com",
        "x-amz-date": "20150830T123600Z",
    }
    query = "Action=ListUsers&Version=2010-05-08"
    canonical = sigv4.canonical_request("GET", "/", query, headers, sorted(headers), sigv4.EMPTY_SHA256, service="iam")
    assert sha256(canonical.encode()) == "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    del headers["x-amz-date"]
    added = sign_headers(
        KEYS,
        method="GET",
        url_path="/",
        query=query,
        headers=headers,
        region="us-east-1",
        service="iam",
        now=datetime(2015, 8, 30, 12, 36, tzinfo=UTC),
    )
    assert added["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


def test_presigned_s3_request_has_the_published_signature() -> None:
    query = presign_query(
        Credentials("AKIAIOSFODNN7EXAMPLE", S3_SECRET),
        method="GET",
        url_path="/test.txt",
        headers={"Host": "examplebucket.s3.amazonaws.com"},
        region="us-east-1",
        service="s3",
        now=datetime(2013, 5, 24, tzinfo=UTC),
        expires_in=timedelta(days=1),
    )
    assert query.endswith("&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


# --- both halves ----------------------------------------------------------------------------------------------------

safe = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
anything = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
queries = st.lists(st.tuples(anything.filter(bool), anything), max_size=4).map(
    lambda pairs: "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs)
)
paths = st.lists(anything, max_size=4).map(lambda parts: "/" + "/".join(quote(part, safe="~") for part in parts))
header_values = st.dictionaries(
    st.sampled_from(["X-Amz-Target", "X-Amz-Meta-Note", "Content-Type", "X-Other"]), anything.map(str.strip)
)
services = st.sampled_from(["ssm", "ssmmessages", "s3"])


@settings(max_examples=60)
@given(st.sampled_from([KEYS, TEMPORARY]), services, paths, queries, header_values, st.binary(max_size=50))
def test_what_is_signed_is_verified(
    credentials: Credentials, service: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    call = signed_call(
        credentials, service=service, url_path=path, query=query, headers=headers | {"Host": "h:1"}, body=body
    )
    claim = claim_of(call)
    assert (claim.access_key_id, claim.session_token) == (credentials.access_key_id, credentials.session_token)
    assert (claim.date, claim.region, claim.service, claim.signed_at) == ("20261122", "us-east-1", service, NOW)
    assert not claim.presigned
    assert not claim.is_rsa
    check(call)


@settings(max_examples=60)
@given(st.sampled_from([KEYS, TEMPORARY]), services, paths, queries)
def test_what_is_presigned_is_verified(credentials: Credentials, service: str, path: str, query: str) -> None:
    call = presigned_call(credentials, service=service, url_path=path, query=query)
    claim = claim_of(call)
    assert claim.presigned
    assert claim.session_token == credentials.session_token
    assert claim.expires_in == timedelta(minutes=10)
    check(call)


def presigned_call(credentials: Credentials = KEYS, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "method": "GET",
        "url_path": "/bucket/key",
        "query": "versionId=3",
        "headers": {"Host": "cp.example.net"},
        "region": "us-east-1",
        "service": "s3",
        "now": NOW,
        "expires_in": timedelta(minutes=10),
    } | changes
    return {
        "method": given["method"],
        "raw_path": given["url_path"],
        "query_string": presign_query(credentials, **given),
        "headers": received(given["headers"]),
        "body_hash_hex": sha256(b""),
        "now": NOW,
    }


def test_request_nobody_signed_has_no_claim() -> None:
    assert parse_claim("POST", "/", "a=b", received(HEADERS)) is None


def test_secrets_are_not_shown() -> None:
    shown = repr(TEMPORARY) + repr(claim_of(signed_call(TEMPORARY)))
    assert SECRET not in shown
    assert "IQoJb3" not in shown
    assert claim_of(signed_call(TEMPORARY)).signature not in shown


# --- tampering ------------------------------------------------------------------------------------------------------


def with_header(name: str, value: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda call: call | {"headers": call["headers"] | {name: value}}


def without_header(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda call: call | {"headers": {k: v for k, v in call["headers"].items() if k != name}}


def in_authorization(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(call: dict[str, Any]) -> dict[str, Any]:
        assert old in call["headers"]["authorization"]
        changed = call["headers"]["authorization"].replace(old, new)
        return call | {"headers": call["headers"] | {"authorization": changed}}

    return change


@pytest.mark.parametrize(
    "tamper",
    [
        lambda call: call | {"method": "PUT"},
        lambda call: call | {"raw_path": "/v1/control-channel/x"},
        lambda call: call | {"query_string": "a=b"},
        lambda call: call | {"body_hash_hex": sha256(b"{}")},
        with_header("x-amz-target", "AmazonSSM.SendCommand"),
        with_header("host", "elsewhere.example.net"),
        with_header("content-type", "text/plain"),
        with_header("x-amz-security-token", "another"),
        with_header("x-amz-date", "20261122T200443Z"),
        with_header("x-amz-added", "later"),
        with_header("x-amz-content-sha256", UNSIGNED_PAYLOAD),
        with_header("x-amz-content-sha256", sha256(b"{}")),
        without_header("x-amz-target"),
        without_header("content-type"),
        in_authorization("/us-east-1/", "/eu-west-1/"),
        in_authorization("/ssm/", "/iam/"),
        in_authorization("20261122/", "20261123/"),
        in_authorization("content-type;", ""),
        in_authorization("host;", ""),
        in_authorization(";x-amz-target", ""),
        in_authorization("Signature=", "Signature=0"),
    ],
)
def test_tampered_request_is_refused(tamper: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    call = signed_call(TEMPORARY)
    check(call)
    refused(tamper(call), INVALID)


def test_another_secret_is_refused() -> None:
    assert "secret access key" in refused(signed_call(), INVALID, SECRET + "x")


@settings(max_examples=60)
@given(st.data())
def test_any_changed_digit_of_the_signature_is_refused(data: st.DataObject) -> None:
    call = signed_call()
    claim = claim_of(call)
    at = data.draw(st.integers(0, 63))
    digit = data.draw(st.sampled_from([d for d in "0123456789abcdef" if d != claim.signature[at]]))
    changed = replace(claim, signature=claim.signature[:at] + digit + claim.signature[at + 1 :])
    with pytest.raises(SignatureFault):
        verify(changed, SECRET, **call)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("versionId=3", "versionId=4"),
        ("X-Amz-Expires=600", "X-Amz-Expires=6000"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=host%3Bx-amz-acl"),
        ("20261122T200442Z", "20261122T200443Z"),
        ("&X-Amz-Signature", "&more=1&X-Amz-Signature"),
    ],
)
def test_tampered_presigned_query_is_refused(old: str, new: str) -> None:
    call = presigned_call()
    check(call)
    assert old in call["query_string"]
    refused(call | {"query_string": call["query_string"].replace(old, new)}, INVALID)


def test_presigned_request_takes_no_unsigned_amz_header() -> None:
    refused(with_header("x-amz-acl", "public-read")(presigned_call()), INVALID)


@pytest.mark.parametrize(
    ("late", "message"),
    [
        (timedelta(minutes=5), None),
        (timedelta(minutes=5, seconds=1), "Signature expired: "),
        (timedelta(minutes=-5), None),
        (timedelta(minutes=-5, seconds=-1), "Signature not yet current: "),
    ],
)
def test_clock_may_differ_by_five_minutes(late: timedelta, message: str | None) -> None:
    call = signed_call() | {"now": NOW + late}
    if message is None:
        check(call)
    else:
        assert refused(call, INVALID).startswith(message)


def test_presigned_request_lives_as_long_as_it_says() -> None:
    call = presigned_call()
    check(call | {"now": NOW + timedelta(minutes=10)})
    late = call | {"now": NOW + timedelta(minutes=10, seconds=1)}
    assert refused(late, INVALID).startswith("Signature expired: ")
    early = call | {"now": NOW - timedelta(minutes=6)}
    assert refused(early, INVALID).startswith("Signature not yet current: ")


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(days=8)])
def test_presigned_lifetime_is_bounded(lifetime: timedelta) -> None:
    with pytest.raises(LocalProtocolError):
        presigned_call(expires_in=lifetime)


def test_only_s3_may_leave_the_payload_unsigned() -> None:
    headers = {"Host": "cp.example.net"}
    call = signed_call(service="s3", headers=headers, payload_hash=UNSIGNED_PAYLOAD)
    check(call | {"body_hash_hex": None})
    refused(signed_call(headers=headers, payload_hash=UNSIGNED_PAYLOAD), INVALID)
    with pytest.raises(LocalProtocolError):
        check(signed_call() | {"body_hash_hex": None})


def test_s3_body_may_be_hashed_later_but_not_differ() -> None:
    call = signed_call(service="s3")
    check(call | {"body_hash_hex": None})
    assert claim_of(call).payload_hash == sha256(BODY)
    refused(call | {"body_hash_hex": sha256(b"other")}, INVALID)
    refused(without_header("x-amz-content-sha256")(call), INVALID)
    refused(with_header("x-amz-content-sha256", "STREAMING-UNKNOWN")(call) | {"body_hash_hex": None}, INVALID)


# --- malformed ------------------------------------------------------------------------------------------------------

GOOD = "AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/ssm/aws4_request, SignedHeaders=host, Signature=00"


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer token",
        "AWS4-ECDSA-P256-SHA256 Credential=a",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ,,,",
        GOOD.replace("Credential=", "Credential"),
        GOOD.replace(", Signature=00", ""),
        GOOD.replace("SignedHeaders=host, ", ""),
        GOOD.replace("SignedHeaders=host", "SignedHeaders="),
        GOOD.replace("SignedHeaders=host", "SignedHeaders=Host"),
        GOOD.replace("/aws4_request", ""),
        GOOD.replace("aws4_request", "aws5_request"),
        GOOD.replace("/us-east-1/", "//"),
        GOOD.replace("AKID", "\xe9"),
        GOOD + ", Signature=01",
    ],
)
def test_authorization_that_cannot_be_read_is_incomplete(authorization: str) -> None:
    with pytest.raises(SignatureFault) as caught:
        parse_claim("POST", "/", "", {"authorization": authorization, "x-amz-date": "20261122T200442Z"})
    assert caught.value.code == INCOMPLETE


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-amz-date": "2026-11-22T20:04:42Z"},
        {"x-amz-date": "20261332T200442Z"},
        {"x-amz-date": "٢0261122T200442Z"},
        {"date": "yesterday"},
    ],
)
def test_request_without_a_time_is_incomplete(headers: dict[str, str]) -> None:
    with pytest.raises(SignatureFault) as caught:
        parse_claim("POST", "/", "", headers | {"authorization": GOOD})
    assert caught.value.code == INCOMPLETE


@pytest.mark.parametrize("date", ["Sun, 22 Nov 2026 20:04:42 GMT", "20261122T200442Z"])
def test_date_header_stands_in_for_x_amz_date(date: str) -> None:
    claim = parse_claim("POST", "/", "", {"authorization": GOOD, "date": date})
    assert claim is not None
    assert claim.signed_at == NOW


def test_authorization_without_spaces_is_read() -> None:
    claim = parse_claim("POST", "/", "", {"authorization": GOOD.replace(", ", ","), "x-amz-date": "20261122T200442Z"})
    assert claim is not None
    assert (claim.access_key_id, claim.signed_headers, claim.signature) == ("AKID", ("host",), "00")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Amz-Credential=", "X-Amz-Cred="),
        ("X-Amz-Signature=", "X-Amz-Sig="),
        ("X-Amz-Expires=600", "X-Amz-Expires=0"),
        ("X-Amz-Expires=600", "X-Amz-Expires=604801"),
        ("X-Amz-Expires=600", "X-Amz-Expires=-1"),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=AWS4-HMAC-SHA1"),
        ("AKIDEXAMPLE", NODE),
        ("X-Amz-Date=", "X-Amz-Date=1&X-Amz-Date="),
    ],
)
def test_presigned_query_that_cannot_be_read_is_incomplete(old: str, new: str) -> None:
    call = presigned_call()
    assert old in call["query_string"]
    refused(call | {"query_string": call["query_string"].replace(old, new)}, INCOMPLETE)


def test_request_signed_twice_is_incomplete() -> None:
    refused(presigned_call() | {"headers": signed_call()["headers"]}, INCOMPLETE)


wire = st.text(st.characters(max_codepoint=255), max_size=60)


@given(
    wire | wire.map(lambda text: "AWS4-HMAC-SHA256 " + text) | st.just(GOOD),
    wire | wire.map(lambda text: "X-Amz-Algorithm=AWS4-HMAC-SHA256&" + text),
    wire | st.just("20261122T200442Z") | st.just("99991231T235959Z") | st.just("00010101T000000Z"),
    wire,
)
def test_garbage_raises_nothing_but_signature_faults(authorization: str, query: str, date: str, path: str) -> None:
    for headers in (
        {"authorization": authorization, "x-amz-date": date, "host": path},
        {"authorization": authorization, "date": date, "host": path},
        {"host": path},
    ):
        call = {"method": "GET", "raw_path": path, "query_string": query, "headers": headers}
        try:
            claim = parse_claim(**call)
            if claim is not None:
                verify(claim, SECRET, **call, body_hash_hex=sha256(b""), now=NOW)
        except SignatureFault:
            pass


# --- agreement with botocore ----------------------------------------------------------------------------------------


def botocore_request(signer: type, service: str, url: str, headers: dict[str, str], body: bytes) -> AWSRequest:
    request = AWSRequest("POST" if body else "GET", url, headers=headers, data=body)
    credentials = BotocoreCredentials(TEMPORARY.access_key_id, SECRET, TEMPORARY.session_token)
    signer(credentials, service, "us-east-1").add_auth(request)
    return request


def botocore_call(request: AWSRequest, host: str, body: bytes) -> dict[str, Any]:
    parts = urlsplit(request.url)
    call = {
        "method": request.method,
        "raw_path": parts.path,
        "query_string": parts.query,
        "headers": received({"host": host}, dict(request.headers.items())),
        "body_hash_hex": sha256(body),
    }
    return call | {"now": claim_of(call).signed_at}


@settings(max_examples=60)
@given(services, paths, queries, st.dictionaries(st.sampled_from(["X-Amz-Target", "X-Other"]), safe), st.binary())
def test_botocore_and_we_sign_the_same(
    service: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    url = f"https://cp.example.net:8443{path}" + ("?" + query if query else "")
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    request = botocore_request(signer, service, url, headers, body)
    call = botocore_call(request, "cp.example.net:8443", body)
    check(call)
    ours = sign_headers(
        TEMPORARY,
        method=call["method"],
        url_path=call["raw_path"],
        query=query,
        headers=headers | {"Host": "cp.example.net:8443"},
        body=body,
        region="us-east-1",
        service=service,
        now=call["now"],
    )
    assert ours["Authorization"] == request.headers["Authorization"]


@settings(max_examples=60)
@given(services, paths, st.dictionaries(st.sampled_from("abcdef"), anything, max_size=3))
def test_what_botocore_presigns_is_verified(service: str, path: str, pairs: dict[str, str]) -> None:
    query = "&".join(f"{name}={quote(value, safe='~')}" for name, value in pairs.items())
    signer = S3SigV4QueryAuth if service == "s3" else SigV4QueryAuth
    url = f"https://cp.example.net{path}" + ("?" + query if query else "")
    check(botocore_call(botocore_request(signer, service, url, {}, b""), "cp.example.net", b""))


@pytest.mark.parametrize("path", ["/a/../b/", "/./a//b", "/..", "/a/b/..", "//", "/a%2Fb/%E3%81%82", "/x=y:z"])
@pytest.mark.parametrize("query", ["b=2&a=1&a=0", "a", "a=&A=", "a=%20%2B&%41b=~"])
def test_odd_paths_and_queries_are_read_as_botocore_does(path: str, query: str) -> None:
    url = f"https://cp.example.net{path}?" + query.replace("%41b", "Ab")
    request = botocore_request(SigV4Auth, "ssm", url, {}, b"")
    call = botocore_call(request, "cp.example.net", b"")
    check(call)
    check(call | {"query_string": query})


# --- nodes sign by RSA ----------------------------------------------------------------------------------------------


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public_key_der(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def node_call(key: bytes | str | rsa.RSAPrivateKey | None = None) -> dict[str, Any]:
    headers = HEADERS | {"X-Amz-Target": "AmazonSSM.RequestManagedInstanceRoleToken"}
    added = sign_headers_rsa(
        NODE,
        key or private_key(),
        method="POST",
        url_path="/",
        headers=headers,
        body=BODY,
        region="us-east-1",
        now=NOW,
    )
    return signed_call() | {"headers": received(headers, added)}


def encoded_keys() -> list[bytes | str]:
    key = private_key()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return [
        key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        pem,
        pem.decode(),
    ]


def test_node_signature_is_verified_however_its_key_is_given() -> None:
    for key in [private_key(), *encoded_keys()]:
        call = node_call(key)
        claim = claim_of(call)
        assert claim.is_rsa
        assert claim.access_key_id == NODE
        assert claim.signed_headers == ("content-type", "host", "x-amz-date", "x-amz-target")
        assert len(base64.b64decode(claim.signature)) == 256
        verify_rsa(claim, public_key_der(private_key()), **call)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda call: call | {"method": "PUT"},
        lambda call: call | {"body_hash_hex": sha256(b"{}")},
        lambda call: call | {"now": NOW + timedelta(minutes=6)},
        with_header("x-amz-target", "AmazonSSM.UpdateManagedInstancePublicKey"),
        with_header("host", "elsewhere.example.net"),
        with_header("x-amz-content-sha256", sha256(b"{}")),
        with_header("x-amz-added", "later"),
        in_authorization(NODE + "/20261122/us-east-1", NODE + "/20261122/eu-west-1"),
        in_authorization("Signature=", "Signature=AAAA"),
        in_authorization("Signature=", "Signature=*"),
    ],
)
def test_tampered_node_call_is_refused(tamper: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    call = tamper(node_call())
    with pytest.raises(SignatureFault) as caught:
        verify_rsa(claim_of(call), public_key_der(private_key()), **call)
    assert caught.value.code == INVALID


def test_key_of_another_node_is_refused() -> None:
    call = node_call()
    other = rsa.generate_private_key(65537, 2048)
    with pytest.raises(SignatureFault):
        verify_rsa(claim_of(call), public_key_der(other), **call)


def test_neither_scheme_passes_as_the_other() -> None:
    node, user = node_call(), signed_call()
    refused(node, INVALID)
    with pytest.raises(SignatureFault):
        verify_rsa(claim_of(user), public_key_der(private_key()), **user)


def test_what_is_no_key_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        node_call(b"no key")
    call = node_call()
    with pytest.raises(LocalProtocolError):
        verify_rsa(claim_of(call), b"no key", **call)


def test_signing_without_host_or_zone_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        signed_call(headers={})
    with pytest.raises(LocalProtocolError):
        signed_call(now=NOW.replace(tzinfo=None))


def test_a_policy_is_signed_by_the_days_key_over_its_text() -> None:
    """A plain keyed hash of the text itself; another text, key or an unfinished credential does not pass."""
    credential = "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"
    text = base64.b64encode(b'{ "expiration": "2015-12-30T12:00:00.000Z" }')
    key = signing_key(S3_SECRET, "20151229", "us-east-1", "s3")
    right = hmac.digest(key, text, "sha256").hex()
    assert sigv4.is_signed_text(S3_SECRET, credential, text, right)
    assert not sigv4.is_signed_text(S3_SECRET, credential, text + b"=", right)
    assert not sigv4.is_signed_text(SECRET, credential, text, right)
    assert not sigv4.is_signed_text(S3_SECRET, "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1", text, right)
