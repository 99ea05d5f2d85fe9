"""Documents: what nodes are told to do: stored in versions, shared between accounts, or owned by AWS.

Rooms: `store` tables and one document as everybody sees it, `content` what a text must be, `convert` JSON and YAML,
`access` from a name to a document, `describe`, `versions`, `listing`, `sharing` and `reviews` the operations,
`owned_by_aws` the library, `patterns` what values may be, `cedar` what approves access by itself. Other capabilities
use what is named here.
"""

from __future__ import annotations

from fleetward.server.ssm.documents import cedar, describe, listing, reviews, sharing, versions
from fleetward.server.ssm.documents.access import DEFAULT, LATEST, of_type, resolve, resource
from fleetward.server.ssm.documents.owned_by_aws import OWNER as OWNED_BY_AWS
from fleetward.server.ssm.documents.patterns import fits
from fleetward.server.ssm.documents.store import ResolvedDocument

__all__ = [
    "DEFAULT",
    "LATEST",
    "OWNED_BY_AWS",
    "ResolvedDocument",
    "cedar",
    "describe",
    "fits",
    "listing",
    "of_type",
    "resolve",
    "resource",
    "reviews",
    "sharing",
    "versions",
]
