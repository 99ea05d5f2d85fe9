"""Errors of Systems Manager, named exactly like its shapes, in alphabetical order."""

from __future__ import annotations

from fleetward.server.errors import AwsError
from fleetward.server.paging import InvalidNextToken as InvalidNextToken


class AssociationAlreadyExists(AwsError):
    """The document is associated with the node already."""


class AssociationDoesNotExist(AwsError):
    """There is no such association."""


class AssociationExecutionDoesNotExist(AwsError):
    """The association has no such execution."""


class AssociationLimitExceeded(AwsError):
    """The account has as many associations as it may have."""


class AssociationVersionLimitExceeded(AwsError):
    """The association has as many versions as it may have."""


class ComplianceTypeCountLimitExceededException(AwsError):
    """The node has as many custom compliance types as it may have."""


class CustomSchemaCountLimitExceededException(AwsError):
    """The account has as many custom inventory types as it may have."""


class DocumentAlreadyExists(AwsError):
    """A document of this name exists already."""


class DocumentLimitExceeded(AwsError):
    """The account has as many documents, or public ones, as it may have."""


class DocumentPermissionLimit(AwsError):
    """The document is shared with as many accounts as it may be."""


class DocumentVersionLimitExceeded(AwsError):
    """The document has as many versions as it may have; delete one first."""


class DoesNotExistException(AwsError):
    """There is no such session."""


class DuplicateDocumentContent(AwsError):
    """The content is the same as that of the latest version."""


class DuplicateDocumentVersionName(AwsError):
    """Another version of the document has this name."""


class DuplicateInstanceId(AwsError):
    """A node is named more than once."""


class HierarchyLevelLimitExceededException(AwsError):
    """The name has more levels than a hierarchy may have."""


class HierarchyTypeMismatchException(AwsError):
    """A parameter cannot change its type."""


class IncompatiblePolicyException(AwsError):
    """The policies of the parameter do not go together."""


class InvalidActivation(AwsError):
    """The activation does not exist, is past its expiry, is used up, or the code is wrong."""


class InvalidActivationId(AwsError):
    """There is no activation with this id."""


class InvalidAggregatorException(AwsError):
    """The aggregators cannot be combined like this."""


class InvalidAllowedPatternException(AwsError):
    """The pattern is no regular expression."""


class InvalidAssociation(AwsError):
    """The association cannot be run like this."""


class InvalidAssociationVersion(AwsError):
    """The association has no such version, or a later one."""


class InvalidCommandId(AwsError):
    """There is no such command."""


class InvalidDeleteInventoryParametersException(AwsError):
    """The options of the deletion do not fit its type."""


class InvalidDeletionIdException(AwsError):
    """There is no deletion with this id."""


class InvalidDocument(AwsError):
    """The document does not exist, is not shared with the caller, or cannot be used for this."""


class InvalidDocumentContent(AwsError):
    """The content is not a document of its type."""


class InvalidDocumentOperation(AwsError):
    """The document cannot be changed or deleted like this as it stands."""


class InvalidDocumentSchemaVersion(AwsError):
    """The schemaVersion is not one that documents of this type have."""


class InvalidDocumentType(AwsError):
    """The document is of another type than is needed."""


class InvalidDocumentVersion(AwsError):
    """The document has no such version, or it is not shared with the caller."""


class InvalidFilter(AwsError):
    """The filter's key or value is not one of those allowed."""


class InvalidFilterKey(AwsError):
    """The filter's key is not one of those allowed."""


class InvalidFilterOption(AwsError):
    """The filter does not have this option."""


class InvalidFilterValue(AwsError):
    """The filter's value is not one of those allowed."""


class InvalidInstanceId(AwsError):
    """The node is not registered, or the id is not one of a managed node."""


class InvalidInstanceInformationFilterValue(AwsError):
    """The filter's value is not one of those allowed."""


class InvalidInstancePropertyFilterValue(AwsError):
    """The filter's value is not one of those allowed."""


class InvalidInventoryGroupException(AwsError):
    """The groups cannot be counted like this."""


class InvalidInventoryItemContextException(AwsError):
    """The context has members that its type does not know."""


class InvalidInventoryRequestException(AwsError):
    """The request cannot be answered as it stands."""


class InvalidItemContentException(AwsError):
    """The content of an item cannot be used."""


class InvalidKeyId(AwsError):
    """The key does not exist or cannot be used."""


class InvalidOptionException(AwsError):
    """The option cannot be used here."""


class InvalidOutputFolder(AwsError):
    """The place for outputs cannot be used."""


class InvalidOutputLocation(AwsError):
    """The output location names no bucket."""


class InvalidParameters(AwsError):
    """A parameter's value cannot be used."""


class InvalidPluginName(AwsError):
    """The document has no step of that name, or has several and none was named."""


class InvalidPolicyAttributeException(AwsError):
    """An attribute of the policy is missing or wrong."""


class InvalidPolicyTypeException(AwsError):
    """There is no such type of policy."""


class InvalidResourceId(AwsError):
    """There is no resource with this id."""


class InvalidResourceType(AwsError):
    """Resources of this type cannot be tagged here."""


class InvalidResultAttributeException(AwsError):
    """The result attribute cannot be had."""


class InvalidSchedule(AwsError):
    """The schedule cannot be read, or is due too often."""


class InvalidTarget(AwsError):
    """The targets cannot be read, or name no nodes."""


class InvalidTargetMaps(AwsError):
    """Target maps cannot be used with this document."""


class InvalidTypeNameException(AwsError):
    """There is no inventory type of this name, or it cannot be used for this."""


class InvocationDoesNotExist(AwsError):
    """The command was not sent to this node, or not yet."""


class ItemContentMismatchException(AwsError):
    """The hash is not that of what is known; the content is wanted."""


class ItemSizeLimitExceededException(AwsError):
    """One of the items is larger than it may be."""


class MachineFingerprintDoesNotMatch(AwsError):
    """The machine is not the one that registered, by its fingerprint."""


class MaxDocumentSizeExceeded(AwsError):
    """The content is larger than 64 KiB."""


class ParameterAlreadyExists(AwsError):
    """There is a parameter of this name, and it was not to be overwritten."""


class ParameterLimitExceeded(AwsError):
    """There are as many parameters as there may be."""


class ParameterMaxVersionLimitExceeded(AwsError):
    """The oldest version would have to go, and has a label."""


class ParameterNotFound(AwsError):
    """There is no parameter of this name."""


class ParameterPatternMismatchException(AwsError):
    """The value does not fit the parameter's pattern."""


class ParameterVersionLabelLimitExceeded(AwsError):
    """A version can have ten labels at most."""


class ParameterVersionNotFound(AwsError):
    """The parameter has no such version or label."""


class PoliciesLimitExceededException(AwsError):
    """A parameter can have ten policies at most."""


class ResourceDataSyncNotFoundException(AwsError):
    """There is no resource data sync of this name."""


class ResourceNotFoundException(AwsError):
    """There is no such session or request."""


class ServiceQuotaExceededException(AwsError):
    """There is as much of this as there may be."""


class ServiceSettingNotFound(AwsError):
    """There is no service setting with this id."""


class StatusUnchanged(AwsError):
    """The status is what it was."""


class TargetNotConnected(AwsError):
    """The node is not registered, or its control channel is not open."""


class TooManyTagsError(AwsError):
    """A resource can have 50 tags at most."""


class TooManyUpdates(AwsError):
    """Another call is changing this at the same time."""


class TotalSizeLimitExceededException(AwsError):
    """What was sent is larger than it may be."""


class UnsupportedCalendarException(AwsError):
    """The calendar cannot be followed as it stands."""


class UnsupportedInventoryItemContextException(AwsError):
    """Items of this type have no context."""


class UnsupportedInventorySchemaVersionException(AwsError):
    """The type has no such schema version."""


class UnsupportedPlatformType(AwsError):
    """The document does not run on the platform of the node."""
