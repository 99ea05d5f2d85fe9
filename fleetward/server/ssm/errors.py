"""Errors of Systems Manager, named exactly like its shapes, in alphabetical order."""

from __future__ import annotations

from fleetward.server.errors import AwsError
from fleetward.server.paging import InvalidNextToken as InvalidNextToken


class InvalidActivation(AwsError):
    """The activation does not exist, is past its expiry, is used up, or the code is wrong."""


class InvalidActivationId(AwsError):
    """There is no activation with this id."""


class InvalidAggregatorException(AwsError):
    """The aggregators cannot be combined like this."""


class InvalidFilter(AwsError):
    """The filter's key or value is not one of those allowed."""


class InvalidFilterKey(AwsError):
    """The filter's key is not one of those allowed."""


class InvalidInstanceId(AwsError):
    """The node is not registered, or the id is not one of a managed node."""


class InvalidInstanceInformationFilterValue(AwsError):
    """The filter's value is not one of those allowed."""


class InvalidInstancePropertyFilterValue(AwsError):
    """The filter's value is not one of those allowed."""


class InvalidParameters(AwsError):
    """A parameter's value cannot be used."""


class InvalidResourceId(AwsError):
    """There is no resource with this id."""


class InvalidResourceType(AwsError):
    """Resources of this type cannot be tagged here."""


class MachineFingerprintDoesNotMatch(AwsError):
    """The machine is not the one that registered, by its fingerprint."""


class ResourceDataSyncNotFoundException(AwsError):
    """There is no resource data sync of this name."""


class ServiceSettingNotFound(AwsError):
    """There is no service setting with this id."""


class TooManyTagsError(AwsError):
    """A resource can have 50 tags at most."""
