"""Answers as S3 words them: results by the model, errors with codes of their own, headers that keep browsers safe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fleetward.protocol.api import rest_xml
from fleetward.protocol.sigv4 import SignatureFault
from fleetward.server import errors
from fleetward.server.edge.pipeline import Exchange, Response
from fleetward.server.errors import AwsError
from fleetward.server.s3.errors import S3Error

SHARED = {
    "AccessDeniedException": ("AccessDenied", 403),
    "ExpiredTokenException": ("ExpiredToken", 400),
    "IncompleteSignatureException": ("AuthorizationHeaderMalformed", 400),
    "InternalServerError": ("InternalError", 500),
    "InvalidNextToken": ("InvalidArgument", 400),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "MissingAuthenticationTokenException": ("AccessDenied", 403),
    "RequestEntityTooLargeException": ("EntityTooLarge", 400),
    "SerializationException": ("IncompleteBody", 400),
    "ServiceUnavailableException": ("ServiceUnavailable", 503),
    "ThrottlingException": ("SlowDown", 503),
    "UnknownOperationException": ("MethodNotAllowed", 405),
    "UnrecognizedClientException": ("InvalidAccessKeyId", 403),
    "ValidationException": ("InvalidArgument", 400),
}
"""What S3 calls the errors that services share, and their statuses."""

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
WITHOUT_BODY = frozenset({204, 304})
SANDBOX = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
)
"""On everything that users stored: what a browser shows of it can neither run nor reach anything."""


def render(exchange: Exchange, fault: AwsError | None) -> Response:
    """The answer to an S3 request."""
    identity = (("x-amz-request-id", exchange.request_id), ("x-amz-id-2", exchange.request_id))
    if fault is not None:
        return _error(exchange, fault, identity)
    model, operation = exchange.service, exchange.operation
    assert model is not None
    assert operation is not None
    result = {name: value for name, value in exchange.result.items() if name != "Body"}
    if operation.name == "GetBucketLocation":
        return Response(200, (("content-type", rest_xml.CONTENT_TYPE), *identity), location(result))
    rendered = rest_xml.render_result(model, operation, result)
    headers = [*((name, _as_sent(value)) for name, value in rendered.headers.items()), *identity]
    status = rendered.status
    if operation.name in ("GetObject", "HeadObject"):
        status = 206 if "ContentRange" in result else 200
        headers += [*SANDBOX, *_attachment(exchange, rendered.headers)]
    elif operation.name == "PutBucketTagging":  # the model says 200, the API reference's example and AWS 204
        status = 204
    return Response(status, tuple(headers), rendered.body)


def _as_sent(value: str) -> str:
    """A header's text such that its Latin-1 bytes are UTF-8 where it holds more than Latin-1."""
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode("latin-1")
    return value


def posted(exchange: Exchange, bucket: str, key: str, fields: Mapping[str, str]) -> Response:
    """PostObject's answer: empty, a document, or the address where the browser is to go on."""
    etag, identity = exchange.result["ETag"], ("x-amz-request-id", exchange.request_id)
    place = f"/{bucket}/{quote(key.encode('utf-8', 'surrogatepass'))}"
    headers = [("etag", etag), ("location", place), identity]
    if "VersionId" in exchange.result:
        headers.append(("x-amz-version-id", exchange.result["VersionId"]))
    onward = fields.get("success_action_redirect") or fields.get("redirect", "")
    if onward.startswith(("http://", "https://")) and onward.isprintable():
        query = urlencode({"bucket": bucket, "key": key, "etag": etag})
        onward = f"{onward}{'&' if '?' in onward else '?'}{query}"
        return Response(303, (*headers[:1], ("location", onward), *headers[2:]), b"")
    status = {"200": 200, "201": 201}.get(fields.get("success_action_status", ""), 204)
    if status != 201:
        return Response(status, tuple(headers), b"")
    members = {"Location": place, "Bucket": bucket, "Key": key, "ETag": etag}
    inside = "".join(f"<{name}>{rest_xml.escape(text)}</{name}>" for name, text in members.items())
    body = f"{rest_xml.DECLARATION}<PostResponse>{inside}</PostResponse>".encode()
    return Response(201, (*headers, ("content-type", rest_xml.CONTENT_TYPE)), body)


def location(result: dict[str, Any]) -> bytes:
    """GetBucketLocation's answer: the one whose element is its own text."""
    text = rest_xml.escape(result["LocationConstraint"])
    return f'{rest_xml.DECLARATION}<LocationConstraint xmlns="{NAMESPACE}">{text}</LocationConstraint>'.encode()


def _attachment(exchange: Exchange, headers: dict[str, str]) -> list[tuple[str, str]]:
    """Browsers save what nobody said how to show; programs are told only what the object says of itself."""
    if "content-disposition" in headers:
        return []
    is_browser = "sec-fetch-dest" in exchange.headers or "text/html" in exchange.headers.get("accept", "")
    return [("content-disposition", "attachment")] if is_browser else []


def _error(exchange: Exchange, fault: AwsError, identity: tuple[tuple[str, str], ...]) -> Response:
    code, status = code_of(exchange, fault)
    extra = {name: str(value) for name, value in fault.members.items()}
    extra["Resource"] = exchange.path[:2048]
    extra["HostId"] = exchange.request_id
    headers = [("content-type", rest_xml.CONTENT_TYPE), *identity]
    if isinstance(fault, S3Error):
        headers += fault.headers.items()
    if exchange.method == "PUT" and status != 409:
        headers.append(("connection", "close"))  # what is left of the body is not worth reading
    if status in WITHOUT_BODY:
        return Response(status, tuple(headers[1:]), b"")
    return Response(status, tuple(headers), rest_xml.render_error(code, fault.message, exchange.request_id, extra))


def code_of(exchange: Exchange, fault: AwsError) -> tuple[str, int]:
    """S3's code and status of an error."""
    if isinstance(fault, S3Error):
        return fault.code, fault.status
    cause = fault.__cause__
    presigned = "Signature=" in exchange.query
    if isinstance(cause, SignatureFault) and cause.at_fault == "time":
        return ("AccessDenied" if presigned else "RequestTimeTooSkewed"), 403
    if isinstance(cause, SignatureFault) and cause.at_fault == "body":
        return "XAmzContentSHA256Mismatch", 400
    if isinstance(fault, errors.IncompleteSignatureException) and presigned:
        return "AuthorizationQueryParametersError", 400
    return SHARED.get(fault.code, (fault.code, fault.status))
