"""Errors of S3: codes, statuses and what goes with them, after the API reference, "Error responses"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetward.server.errors import AwsError


class S3Error(AwsError):
    """An answer of S3 that says no; `members` become elements beside Code and Message."""

    def __init__(self, message: str = "", *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(message, **members)
        self.headers = dict(headers or {})


class AccessControlListNotSupported(S3Error):
    """The bucket's owner owns every object in it: access control lists do not count."""


class AccessDenied(S3Error):
    """The caller has no permission for this, or nobody has."""

    status = 403


class AuthorizationHeaderMalformed(S3Error):
    """The signature is for another region, or its header cannot be read."""


class AuthorizationQueryParametersError(S3Error):
    """The presigned query cannot be read."""


class BadDigest(S3Error):
    """The checksum sent is not that of the bytes that arrived."""


class BadRequest(S3Error):
    """The request contradicts itself."""


class BucketAlreadyExists(S3Error):
    """Somebody else has a bucket of this name."""

    status = 409


class BucketAlreadyOwnedByYou(S3Error):
    """The caller's account has a bucket of this name already."""

    status = 409


class BucketNotEmpty(S3Error):
    """The bucket holds objects, versions or delete markers."""

    status = 409


class ConditionalRequestConflict(S3Error):
    """The object changed while a conditional request was under way."""

    status = 409


class EntityTooLarge(S3Error):
    """The upload is larger than one request or object may be."""


class EntityTooSmall(S3Error):
    """A part other than the last has less than 5 MiB, or a form's file is too small."""


class ExpiredToken(S3Error):
    """The temporary credentials are past their time."""


class IllegalLocationConstraintException(S3Error):
    """The region asked for is not the one that was addressed."""


class IncompleteBody(S3Error):
    """Fewer bytes came than were announced."""


class IncorrectNumberOfFilesInPostRequest(S3Error):
    """A form carries exactly one file."""


class InternalError(S3Error):
    """We failed; the request id finds the reason in the log."""

    status = 500


class InvalidAccessKeyId(S3Error):
    """There is no such access key."""

    status = 403


class InvalidArgument(S3Error):
    """A value cannot be used."""


class InvalidBucketName(S3Error):
    """The name breaks a rule for names of buckets."""


class InvalidDigest(S3Error):
    """Content-MD5 is not the base64 text of 16 bytes."""


class InvalidPart(S3Error):
    """A part named was never uploaded, or has another entity tag."""


class InvalidPartOrder(S3Error):
    """Parts are named in ascending order."""


class InvalidPolicyDocument(S3Error):
    """The form's policy is not one."""


class InvalidRange(S3Error):
    """The range begins beyond the object's end."""

    status = 416


class InvalidRequest(S3Error):
    """The request cannot be carried out as it is."""


class InvalidStorageClass(S3Error):
    """There is no such storage class."""


class InvalidTag(S3Error):
    """A tag's key or value cannot be used."""


class KeyTooLongError(S3Error):
    """A key has at most 1,024 bytes."""


class MalformedPolicy(S3Error):
    """The policy is not one that a bucket can have."""


class MalformedPOSTRequest(S3Error):
    """The body is not well-formed multipart/form-data."""


class MalformedXML(S3Error):
    """The document is not well-formed, or not what the operation takes."""


class MaxMessageLengthExceeded(S3Error):
    """The document is larger than the operation takes."""


class MetadataTooLarge(S3Error):
    """User metadata holds 2 KiB at most."""


class MethodNotAllowed(S3Error):
    """The method does not go with this resource."""

    status = 405


class MissingContentLength(S3Error):
    """An upload announces its length."""

    status = 411


class MissingRequestBodyError(S3Error):
    """The request needs a document."""


class NoSuchBucket(S3Error):
    """There is no bucket of this name."""

    status = 404


class NoSuchBucketPolicy(S3Error):
    """The bucket has no policy."""

    status = 404


class NoSuchCORSConfiguration(S3Error):
    """The bucket has no CORS rules."""

    status = 404


class NoSuchKey(S3Error):
    """There is no object of this key."""

    status = 404


class NoSuchLifecycleConfiguration(S3Error):
    """The bucket has no lifecycle rules."""

    status = 404


class NoSuchPublicAccessBlockConfiguration(S3Error):
    """The bucket has no public access block."""

    status = 404


class NoSuchTagSet(S3Error):
    """The bucket has no tags."""

    status = 404


class NoSuchUpload(S3Error):
    """There is no such multipart upload, or it was completed or aborted."""

    status = 404


class NoSuchVersion(S3Error):
    """The object has no such version."""

    status = 404


class NotOffered(S3Error):
    """This server does not offer it: `NotImplemented` on the wire, a name that Python has taken."""

    status = 501

    @property
    def code(self) -> str:
        """The code on the wire."""
        return "NotImplemented"


class NotModified(S3Error):
    """The object has not changed."""

    status = 304


class OwnershipControlsNotFoundError(S3Error):
    """The bucket has no ownership controls."""

    status = 404


class PreconditionFailed(S3Error):
    """A condition of the request does not hold."""

    status = 412


class RequestTimeTooSkewed(S3Error):
    """The request's time is too far from ours."""

    status = 403


class ServiceUnavailable(S3Error):
    """The server is starting, stopping or short of room."""

    status = 503


class SignatureDoesNotMatch(S3Error):
    """The signature is not that of this request."""

    status = 403


class SlowDown(S3Error):
    """Too many requests; the same one may be tried again later."""

    status = 503


class TooManyBuckets(S3Error):
    """The account has as many buckets as it may have."""


class XAmzContentSHA256Mismatch(S3Error):
    """The body is not the one whose hash was signed."""


class XAmzContentChecksumMismatch(S3Error):
    """The trailing checksum is not the one that was announced."""
