"""Compliance: what each node keeps to and what not, by type (associations, patches, custom), and the counts of it."""

from fleetward.server.ssm.compliance import listing, putting
from fleetward.server.ssm.compliance.putting import forget, merge, replace
from fleetward.server.ssm.compliance.table import ASSOCIATION, PATCH, ComplianceChanged

__all__ = ["ASSOCIATION", "PATCH", "ComplianceChanged", "forget", "listing", "merge", "putting", "replace"]
