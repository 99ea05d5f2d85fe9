"""Systems Manager: one file per capability, named as the AWS manual names them."""

from __future__ import annotations

from fleetward.server.service import Service

ssm = Service("ssm")
