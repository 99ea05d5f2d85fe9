"""The STS service object, which its operations are registered with."""

from __future__ import annotations

from fleetward.server.service import Service

sts = Service("sts")
