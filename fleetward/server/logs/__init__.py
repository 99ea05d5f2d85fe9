"""CloudWatch Logs as far as agents and operators call it: groups, streams, events, filters, retention.

Read `blocks.py` for how events are kept and read in order, `filter_patterns.py` for what a filter means. Other
capabilities hand in events with `append`.
"""

from __future__ import annotations

from fleetward.server.logs.errors import InvalidParameterException
from fleetward.server.service import Service

logs: Service = Service("logs", fault=InvalidParameterException)

from fleetward.server.logs import groups, reading, removal, streams, tags  # noqa: E402, F401  (they register)
from fleetward.server.logs.writing import append  # noqa: E402

__all__ = ["append", "logs"]
