"""Errors of STS, named like the shapes of its model; on the wire stand the shorter codes that the model gives."""

from __future__ import annotations

from fleetward.server.errors import AwsError


class ExpiredTokenException(AwsError):
    """The web identity token is past its time."""


class IDPCommunicationErrorException(AwsError):
    """The identity provider does not answer; the same call may be tried again."""


class InvalidIdentityTokenException(AwsError):
    """The web identity token cannot be read, or is not signed by its provider."""


class MalformedPolicyDocumentException(AwsError):
    """The session policy is not a policy."""


class PackedPolicyTooLargeException(AwsError):
    """Session policies and tags are more than a session token carries."""
