"""Errors: what an operation may answer instead of a result, named exactly like AWS's shapes."""

from __future__ import annotations

from typing import Any


class AwsError(Exception):
    """An answer that says no. The class name is the code on the wire; `message` tells what to do."""

    status = 400

    def __init__(self, message: str = "", **members: Any) -> None:
        super().__init__(message)
        self.message = message
        self.members = members

    @property
    def code(self) -> str:
        """The code on the wire."""
        return type(self).__name__


class ValidationException(AwsError):
    """A value breaks a constraint of the model or a rule that has no error of its own."""


class AccessDeniedException(AwsError):
    """The principal has no permission for this action on this resource."""


class ThrottlingException(AwsError):
    """Too many requests; the same one may be tried again later."""


class UnknownOperationException(AwsError):
    """No such operation, or one that this server does not offer."""


class SerializationException(AwsError):
    """The body is not what the protocol asks for."""


class MissingAuthenticationTokenException(AwsError):
    """The request carries no signature."""


class IncompleteSignatureException(AwsError):
    """The signature's parts are not all there or not readable."""


class InvalidSignatureException(AwsError):
    """The signature does not match, or its time is too far from ours."""


class UnrecognizedClientException(AwsError):
    """The access key or session token is not one of ours."""


class ExpiredTokenException(AwsError):
    """The temporary credentials are past their time or were revoked."""


class RequestEntityTooLargeException(AwsError):
    """The body is larger than this server accepts."""

    status = 413


class InternalServerError(AwsError):
    """We failed; the request id finds the reason in the log."""

    status = 500


class ServiceUnavailableException(AwsError):
    """The server is starting, stopping or short of room."""

    status = 503
