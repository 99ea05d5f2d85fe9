"""Errors of IAM, named like the shapes of its model; on the wire stand the shorter codes that the model gives."""

from __future__ import annotations

from fleetward.server.errors import AwsError


class CredentialReportNotPresentException(AwsError):
    """No credential report was asked for yet."""

    status = 410


class CredentialReportNotReadyException(AwsError):
    """The credential report is still being written."""

    status = 404


class DeleteConflictException(AwsError):
    """Something else still hangs on what is to be deleted."""

    status = 409


class EntityAlreadyExistsException(AwsError):
    """The name is taken."""

    status = 409


class EntityTemporarilyUnmodifiableException(AwsError):
    """The user was just created or changed by somebody else."""

    status = 409


class InvalidAuthenticationCodeException(AwsError):
    """The codes are not two consecutive ones of the device."""

    status = 403


class InvalidInputException(AwsError):
    """A value has the right form and makes no sense."""


class InvalidUserTypeException(AwsError):
    """Only users change their own passwords."""


class LimitExceededException(AwsError):
    """A quota of the account or of the entity is used up."""

    status = 409


class MalformedPolicyDocumentException(AwsError):
    """The document is not a policy, or not one of this place."""


class NoSuchEntityException(AwsError):
    """There is no such user, group, role, policy, key, device or provider."""

    status = 404


class PasswordPolicyViolationException(AwsError):
    """The password is weaker than the account's password policy asks for."""


class UnmodifiableEntityException(AwsError):
    """The role is linked to a service, which alone may change it."""
