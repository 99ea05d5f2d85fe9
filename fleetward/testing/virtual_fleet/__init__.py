"""Virtual fleet: thousands of simulated nodes in one process, over real sockets and the agents' real protocol.

Each node signs its calls, opens its control channel as the official agent does (agent protocol reference, section 6),
acknowledges and answers jobs without running anything, knows a job that comes twice, keeps replies that nobody
acknowledged, and comes back with the official agent's pauses. Its address is one of its own in 127.0.0.0/8.

`python -m fleetward.testing.virtual_fleet --help` registers a few for a demonstration; `make bench` starts thousands.
"""

from __future__ import annotations

from fleetward.testing.virtual_fleet.answers import SIMULATED, Answers
from fleetward.testing.virtual_fleet.fleet import VirtualFleet
from fleetward.testing.virtual_fleet.identity import CallFault, NodeIdentity
from fleetward.testing.virtual_fleet.node import VirtualNode

__all__ = ["SIMULATED", "Answers", "CallFault", "NodeIdentity", "VirtualFleet", "VirtualNode"]
