"""Session Manager: shells and tunnels to nodes: who may open them, how their two ends meet, how they end.

Rooms: `table` the rows; `starting` StartSession, ResumeSession, TerminateSession; `ends` the two websockets as the
store knows them; `limits` and `ending` how sessions end; `grants` that they end with what allowed them; `recordings`
where their screens lie; `listing` DescribeSessions. The bytes are the edge's: `edge/data_channels`.
"""

from __future__ import annotations

from fleetward.server.ssm.session_manager import ending, ends, grants, limits, listing, recordings, starting
from fleetward.server.ssm.session_manager.table import SEALED

__all__ = ["SEALED", "ending", "ends", "grants", "limits", "listing", "recordings", "starting"]
