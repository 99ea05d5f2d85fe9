"""Managed nodes: machines that joined, how they prove who they are, what they tell, and how they are found."""

from fleetward.server.ssm.nodes import heartbeat, listing, overview, registration
from fleetward.server.ssm.nodes.listing import statuses
from fleetward.server.ssm.nodes.registration import (
    Admission,
    admit,
    approve_fingerprint,
    check_role,
    find_registered,
    quarantine,
    read_public_key,
    release,
    request_key_rotation,
    signing_keys,
)
from fleetward.server.ssm.nodes.table import (
    RESOURCE_TYPE,
    FingerprintChanged,
    NodeConflict,
    NodeJoined,
    NodeLeft,
    arn,
    every,
    everywhere,
    exists,
    known,
    platforms,
    require,
    seen,
)
from fleetward.server.ssm.nodes.targets import GROUP, check_targets, count, is_target, tag_sets
from fleetward.server.ssm.nodes.targets import fault as targets_fault
from fleetward.server.ssm.nodes.targets import select_nodes as select

__all__ = [
    "GROUP",
    "RESOURCE_TYPE",
    "Admission",
    "FingerprintChanged",
    "NodeConflict",
    "NodeJoined",
    "NodeLeft",
    "admit",
    "approve_fingerprint",
    "arn",
    "check_role",
    "check_targets",
    "count",
    "every",
    "everywhere",
    "exists",
    "find_registered",
    "heartbeat",
    "is_target",
    "known",
    "listing",
    "overview",
    "platforms",
    "quarantine",
    "read_public_key",
    "registration",
    "release",
    "request_key_rotation",
    "require",
    "seen",
    "select",
    "signing_keys",
    "statuses",
    "tag_sets",
    "targets_fault",
]
