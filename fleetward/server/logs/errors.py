"""Errors of CloudWatch Logs, named exactly like its shapes, in alphabetical order."""

from __future__ import annotations

from fleetward.server.errors import AwsError


class InvalidParameterException(AwsError):
    """A parameter cannot be used as it is."""


class ResourceAlreadyExistsException(AwsError):
    """There is a group or stream of this name already."""


class ResourceNotFoundException(AwsError):
    """There is no such group or stream."""


class TooManyTagsException(AwsError):
    """A resource can have no more tags."""
