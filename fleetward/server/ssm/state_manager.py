"""State Manager, as far as nodes ask for it: which associations are released for them.

The server is the only scheduler (DESIGN, 3.5). Associations cannot be created yet, so nothing is released, and a
node that asks is told so: an error would make the official agent fall back to the legacy API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException
from fleetward.server.ssm import ssm


def _itself(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(call.caller.arn),)


@ssm.operation("ListInstanceAssociations", reads=True, audience="node", resources=_itself)
def list_instance_associations(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The releases of the calling node."""
    if request["InstanceId"] != call.caller.node_id:
        raise AccessDeniedException(f"{call.caller.node_id} may only ask about itself.")
    return {"Associations": []}
