"""Regions: the allow-list of those that are served: the setting's, and what operators add while servers run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, String, Table, Text, insert, select

from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.schema import UtcDateTime, metadata

TOPIC = "regions"
MOST = 100

regions = Table(
    "regions",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("added_at", UtcDateTime, nullable=False),
    Column("added_by", Text, nullable=False),  # ARN
)

ALL = select(regions).order_by(regions.c.added_at, regions.c.name)
ADD = insert(regions)


class Region(NamedTuple):
    """A region that is served; one of the setting was added by nobody."""

    name: str
    added_at: datetime | None = None
    added_by: str = ""


def listed(call: Call) -> list[Region]:
    """Those of the setting, the default first, then those added, oldest first."""
    added = [Region(row.name, row.added_at, row.added_by) for row in call.db.all(ALL)]
    chosen = call.settings.region
    return [*map(Region, chosen), *(region for region in added if region.name not in chosen)]


def names(call: Call, request: Any) -> tuple[str, ...]:
    """Entry: the names of all that are served; the first is the default."""
    return tuple(region.name for region in listed(call))


def add(call: Call, name: str) -> None:
    """Serve one more region, on every server within a second; nothing happens when it is served already."""
    served = [region.name for region in listed(call)]
    if name in served:
        return
    if len(served) >= MOST:
        raise ValidationException(f"{MOST} regions are served already; there can be no more.")
    call.db.run(ADD, {"name": name, "added_at": call.now, "added_by": call.caller.arn})
    call.wake(TOPIC)


def refusal(name: str, served: Iterable[str]) -> str:
    """The sentence for a signature of a region that is not served."""
    return (
        f"Credential should be scoped to a region served here ({', '.join(served)}), not {name[:64]!r};"
        " `fleetward region add` makes this server serve another."
    )
