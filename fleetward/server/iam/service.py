"""The IAM service object, which every subject registers its operations with, and the keys that its requests give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetward.server.call import Call
from fleetward.server.iam.context import requested_tags
from fleetward.server.service import Service

iam = Service("iam")


def request_conditions(call: Call, request: Mapping[str, Any]) -> dict[str, str | Sequence[str]]:
    """Condition keys of a request: tags asked for, the policy to attach, the boundary to set (IAM's own keys)."""
    conditions = dict(requested_tags(request.get("Tags", ())))
    if request.get("TagKeys"):
        conditions["aws:TagKeys"] = tuple(request["TagKeys"])
    if "PolicyArn" in request:
        conditions["iam:PolicyARN"] = request["PolicyArn"]
    if "PermissionsBoundary" in request:
        conditions["iam:PermissionsBoundary"] = request["PermissionsBoundary"]
    if "AWSServiceName" in request:
        conditions["iam:AWSServiceName"] = request["AWSServiceName"]
    return conditions
