"""Security Token Service: who am I, and temporary credentials for roles, for oneself and for guests."""

from __future__ import annotations

from fleetward.server.sts import oneself, roles, web_identity
from fleetward.server.sts.service import sts

__all__ = ["oneself", "roles", "sts", "web_identity"]
