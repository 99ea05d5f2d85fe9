"""Errors of the Key Management Service, named exactly like its shapes, in alphabetical order."""

from __future__ import annotations

from fleetward.server.errors import AwsError


class AlreadyExistsException(AwsError):
    """There is an alias of this name already."""


class DisabledException(AwsError):
    """The key is disabled; enable it first."""


class DryRunOperationException(AwsError):
    """DryRun: the call would have succeeded."""

    status = 412


class IncorrectKeyException(AwsError):
    """The ciphertext was made with another key than the one named."""


class InvalidAliasNameException(AwsError):
    """The name is not one that an alias may have."""


class InvalidArnException(AwsError):
    """The ARN is none of a key here, or not allowed in this place."""


class InvalidCiphertextException(AwsError):
    """The ciphertext was changed, was made elsewhere, or belongs to another encryption context."""


class InvalidGrantIdException(AwsError):
    """The key has no such grant."""


class InvalidGrantTokenException(AwsError):
    """The grant token is not one that CreateGrant answered."""


class InvalidKeyUsageException(AwsError):
    """The algorithm does not fit the key."""


class InvalidMarkerException(AwsError):
    """The marker is not one that this operation handed out."""


class KMSInvalidStateException(AwsError):
    """The state of the key does not allow the operation."""


class LimitExceededException(AwsError):
    """There are as many as there may be."""


class MalformedPolicyDocumentException(AwsError):
    """The key policy cannot be used."""


class NotFoundException(AwsError):
    """There is no such key or alias."""


class TagException(AwsError):
    """The tags cannot be used."""


class UnsupportedOperationException(AwsError):
    """Not possible with this key, or not offered here."""
