"""State Manager: associations keep documents running on nodes. The server is the only scheduler (DESIGN, 3.5).

Rooms: `table` rows and what many of them come to, `definition` what an association must be, `associations` create,
update, delete, run at once, `describing` and `shapes` how they are shown, `executions` one run on all targets or some,
`history` what has run, `on_nodes` one node's view, `releases` what nodes are to run now, `reports` what they tell,
`schedules` what is due, `live_targets` nodes that come and go, `groups` what is in a resource group.
"""

from __future__ import annotations

from fleetward.server.ssm.state_manager import (
    associations,
    describing,
    executions,
    groups,
    history,
    live_targets,
    on_nodes,
    releases,
    reports,
    schedules,
)

__all__ = [
    "associations",
    "describing",
    "executions",
    "groups",
    "history",
    "live_targets",
    "on_nodes",
    "releases",
    "reports",
    "schedules",
]
