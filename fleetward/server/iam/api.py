"""IAM's API: every subject in order; importing them registers their operations."""

from __future__ import annotations

from fleetward.server.iam import (
    access_keys,
    account,
    attached,
    groups,
    inline,
    instance_profiles,
    login_profiles,
    managed,
    mfa,
    oidc_providers,
    report,
    roles,
    simulation,
    tags,
    users,
)
from fleetward.server.iam.service import iam

SUBJECTS = (
    users,
    groups,
    roles,
    inline,
    managed,
    attached,
    access_keys,
    tags,
    mfa,
    oidc_providers,
    account,
    login_profiles,
    instance_profiles,
    simulation,
    report,
)

__all__ = ["SUBJECTS", "iam"]
