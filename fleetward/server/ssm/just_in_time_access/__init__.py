"""Just-in-time access: somebody asks to get into nodes, policies or people approve, and keys open exactly these nodes.

Rooms: `table` the rows and what state a request is in; `ruling` which policy applies; `requesting` StartAccessRequest
and GetAccessToken; `answering` approvals, rejections and revocations; `listing` the approvers' queue; `ending` what
time does. The documents of policies are those of `documents`: by hand (`protocol.document.approval`) and in Cedar.
"""

from __future__ import annotations

from fleetward.server.ssm.just_in_time_access import answering, ending, listing, requesting, ruling
from fleetward.server.ssm.just_in_time_access.requesting import access_type, lives

__all__ = ["access_type", "answering", "ending", "listing", "lives", "requesting", "ruling"]
