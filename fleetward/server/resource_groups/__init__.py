"""Resource Groups: named sets of resources, by their tags or by list, which commands and associations can target.

Read `queries.py` for what a tag query means. Capabilities of Systems Manager select by a group with `selecting`.
"""

from __future__ import annotations

from fleetward.server.resource_groups.errors import BadRequestException
from fleetward.server.service import Service

resource_groups: Service = Service("resource-groups", fault=BadRequestException)

from fleetward.server.resource_groups import groups, members, tagging  # noqa: E402, F401  (they register)
from fleetward.server.resource_groups.members import forget, selecting  # noqa: E402
from fleetward.server.resource_groups.queries import Query  # noqa: E402
from fleetward.server.resource_groups.table import GroupChanged, exists, query_of  # noqa: E402

__all__ = ["GroupChanged", "Query", "exists", "forget", "query_of", "resource_groups", "selecting"]
