"""Errors of signing in, answered as JSON with the status a browser expects."""

from __future__ import annotations

from fleetward.server.errors import AwsError


class SignInRefused(AwsError):
    """Name, password or code are wrong; it is not said which."""

    status = 401


class SignInEnded(AwsError):
    """The refresh token is of no sign-in, or of one that has ended."""

    status = 401


class MultiFactorAuthRequired(AwsError):
    """The password is right, and the user has a second factor: `TokenCode` is wanted too."""

    status = 401


class PasswordChangeRequired(AwsError):
    """The password is right, and has to be changed now: `NewPassword` is wanted too."""

    status = 401


class PasswordPolicyViolation(AwsError):
    """The new password is not what the account's password policy asks for."""


class TooManyTries(AwsError):
    """There were wrong tries before; `RetryAfterSeconds` says when the next one counts."""

    status = 429


class CrossSiteRequest(AwsError):
    """The request comes from a page of another site, or from none that a browser would send so."""

    status = 403


class SignInDoesNotExist(AwsError):
    """There is no such sign-in (any more)."""
