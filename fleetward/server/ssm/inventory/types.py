"""Inventory types: their schemas, which attributes identify an item, and by which one may aggregate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetward.server.ssm.errors import InvalidTypeNameException

CUSTOM = "Custom:"
INFORMATION, TAG, RESOURCE_GROUP = "AWS:InstanceInformation", "AWS:Tag", "AWS:ResourceGroup"


@dataclass(frozen=True, slots=True)
class Type:
    """One type. `identity` is what makes its items the same on several nodes; none: they are kept by node alone."""

    name: str
    version: str
    attributes: tuple[str, ...]
    identity: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()
    numbers: frozenset[str] = field(default_factory=frozenset)
    display_name: str = ""
    by_service: bool = False
    """Filled by the server itself; nobody puts it."""

    @property
    def is_custom(self) -> bool:
        """Whether it was made by whoever put it first."""
        return self.name.startswith(CUSTOM)


def _type(name: str, attributes: str, version: str = "1.0", **more: object) -> Type:
    """A type whose attributes are given as words; `#` behind one makes it a number."""
    words = attributes.split()
    names = tuple(word.rstrip("#") for word in words)
    numbers = frozenset(word[:-1] for word in words if word.endswith("#"))
    return Type(name, version, names, numbers=numbers, **more)  # type: ignore[arg-type]  # as given below


_SERVICE = "Name DisplayName ServiceType Status DependentServices ServicesDependedOn StartType"
_ROLE = (
    "Name DisplayName Path FeatureType DependsOn Description Installed InstalledState SubFeatures "
    "ServerComponentDescriptor Parent"
)
_COUNTS = " ".join(
    f"{kind}{severity}Count#"
    for kind in ("Compliant", "NonCompliant")
    for severity in ("Critical", "High", "Medium", "Low", "Informational", "Unspecified")
)
_DETAILED = "CPUModel CPUCores# CPUs# CPUSpeedMHz# CPUSockets# CPUHyperThreadEnabled OSServicePack"

BY_AWS: Mapping[str, Type] = {
    each.name: each
    for each in (
        _type(
            "AWS:AWSComponent",
            "Name ApplicationType Publisher Version InstalledTime Architecture URL",
            identity=("Name", "ApplicationType", "Publisher", "Version", "Architecture"),
        ),
        _type(
            "AWS:Application",
            "Name ApplicationType Publisher Version Release Epoch InstalledTime Architecture URL Summary PackageId",
            "1.1",
            identity=("Name", "ApplicationType", "Publisher", "Version", "Release", "Epoch", "Architecture"),
            aggregates=("Name", "Version"),
        ),
        _type("AWS:BillingInfo", "BillingProductId", identity=("BillingProductId",)),
        _type(
            "AWS:ComplianceItem",
            "ComplianceType ExecutionId ExecutionType ExecutionTime Id Title Status Severity DocumentName "
            "DocumentVersion Classification PatchBaselineId PatchSeverity PatchState PatchGroup InstalledTime "
            "InstallOverrideList DetailedText DetailedLink CVEIds",
        ),
        _type(
            "AWS:ComplianceSummary",
            "ComplianceType PatchGroup PatchBaselineId Status OverallSeverity ExecutionId ExecutionType ExecutionTime "
            + _COUNTS,
        ),
        _type(
            "AWS:File",
            "Name Size Description FileVersion InstalledDate ModificationTime LastAccessTime ProductName InstalledDir "
            "ProductLanguage CompanyName ProductVersion",
        ),
        _type(
            "AWS:InstanceDetailedInformation",
            _DETAILED,
            identity=tuple(word.rstrip("#") for word in _DETAILED.split()),
        ),
        _type(
            INFORMATION,
            "AgentType AgentVersion ComputerName InstanceId IpAddress PlatformName PlatformType PlatformVersion "
            "ResourceType AgentStatus InstanceStatus",
            aggregates=("PlatformName", "PlatformType", "PlatformVersion"),
            display_name="Platform",
            by_service=True,
        ),
        _type("AWS:Network", "Name SubnetMask Gateway DHCPServer DNSServer MacAddress IPV4 IPV6"),
        _type(
            "AWS:PatchCompliance",
            "Title KBId Classification Severity State InstalledTime",
            identity=("Title", "KBId", "Classification", "Severity", "State"),
        ),
        _type(
            "AWS:PatchSummary",
            "PatchGroup BaselineId SnapshotId OwnerInformation InstalledCount# InstalledPendingRebootCount# "
            "InstalledOtherCount# InstalledRejectedCount# NotApplicableCount# UnreportedNotApplicableCount# "
            "MissingCount# FailedCount# OperationType OperationStartTime OperationEndTime InstallOverrideList "
            "RebootOption LastNoRebootInstallOperationTime ExecutionId NonCompliantSeverity SecurityNonCompliantCount# "
            "CriticalNonCompliantCount# OtherNonCompliantCount#",
        ),
        _type(
            "AWS:Process",
            "StartTime CommandLine User FileName FileVersion FileDescription FileSize CompanyName ProductName "
            "ProductVersion InstalledDate InstalledDir UsageId",
        ),
        _type(RESOURCE_GROUP, "Name Arn", aggregates=("Name",), by_service=True),
        _type(
            "AWS:Service",
            _SERVICE,
            identity=tuple(_SERVICE.split()),
            aggregates=("Name", "DisplayName", "ServiceType", "Status", "StartType"),
        ),
        _type(TAG, "Key Value", by_service=True),
        _type("AWS:WindowsRegistry", "KeyPath ValueName ValueType Value"),
        _type(
            "AWS:WindowsRole",
            _ROLE,
            identity=tuple(_ROLE.split()),
            aggregates=("Name", "DisplayName", "FeatureType", "Installed"),
        ),
        _type(
            "AWS:WindowsUpdate",
            "HotFixId Description InstalledTime InstalledBy",
            identity=("HotFixId", "Description", "InstalledBy"),
        ),
    )
}
"""AWS's types by name, in order (manual, "Metadata collected by inventory"; API GetInventorySchema)."""


def of_aws(name: str) -> Type:
    """One of AWS's types; raises InvalidTypeNameException."""
    if name not in BY_AWS:
        raise InvalidTypeNameException(f"There is no inventory type {name!r}.")
    return BY_AWS[name]
