"""Errors of Resource Groups, named exactly like its shapes, in alphabetical order."""

from __future__ import annotations

from fleetward.server.errors import AwsError


class BadRequestException(AwsError):
    """The request breaks a constraint, or asks for what this group cannot do."""


class NotFoundException(AwsError):
    """There is no such group."""

    status = 404
