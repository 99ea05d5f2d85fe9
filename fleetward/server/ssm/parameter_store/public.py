"""Public parameters, `/aws/service/…`: what this installation can say about itself; nobody can change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fleetward import __version__
from fleetward.server import regions
from fleetward.server.call import Call
from fleetward.server.schema import EPOCH

PREFIX = "/aws/service/"
INFRASTRUCTURE = f"{PREFIX}global-infrastructure"
SERVICES = ("ec2messages", "iam", "kms", "logs", "resource-groups", "s3", "ssm", "ssmmessages", "sts")


@dataclass(frozen=True, slots=True)
class Public:
    """A parameter that has no row; it looks like one that has."""

    name: str
    value: str
    type: str = "String"
    version: int = 1
    key_id: str | None = None
    tier: str = "Standard"
    data_type: str = "text"
    description: str = ""
    allowed_pattern: str = ""
    policies: tuple[Mapping[str, Any], ...] = ()
    changed_at: datetime = field(default=EPOCH)
    changed_by: str = "System"


def find(call: Call, name: str) -> Public | None:
    """The public parameter of a name, or None."""
    return listed(call).get(name) if name.startswith(PREFIX) else None


def listed(call: Call) -> dict[str, Public]:
    """Every public parameter by name: the regions and services there are, and our agent's version."""
    values = {f"{PREFIX}fleetward-agent/version": __version__}
    for region in (each.name for each in regions.listed(call)):
        values[f"{INFRASTRUCTURE}/regions/{region}"] = region
        for service in SERVICES:
            values[f"{INFRASTRUCTURE}/regions/{region}/services/{service}"] = service
            values[f"{INFRASTRUCTURE}/services/{service}/regions/{region}"] = region
    values |= {f"{INFRASTRUCTURE}/services/{service}": service for service in SERVICES}
    return {name: Public(name, values[name]) for name in sorted(values)}
