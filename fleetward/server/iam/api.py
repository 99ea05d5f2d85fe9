"""IAM's API: every subject in order; importing them registers their operations."""

from __future__ import annotations

from fleetward.server.iam import access_keys, attached, groups, inline, managed, mfa, roles, tags, users
from fleetward.server.iam.service import iam

SUBJECTS = (users, groups, roles, inline, managed, attached, access_keys, tags, mfa)

__all__ = ["SUBJECTS", "iam"]
