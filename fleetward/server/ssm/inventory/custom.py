"""Custom inventory types: made by the first item of their name, with the attributes that items had so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetward.server.call import Call
from fleetward.server.ssm.errors import (
    CustomSchemaCountLimitExceededException,
    InvalidItemContentException,
    InvalidTypeNameException,
)
from fleetward.server.ssm.inventory.table import CUSTOM_TYPES, PUT_CUSTOM
from fleetward.server.ssm.inventory.types import BY_AWS, CUSTOM, Type, of_aws

MOST_TYPES = 20
MOST_ATTRIBUTES = 50


class Types:
    """The custom types of a tenant during one entry; read when the first is asked for."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rows: dict[str, dict[str, Any]] | None = None
        self._changed: set[str] = set()

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Version, attributes and the disabled version of each type by name."""
        if self._rows is None:
            self._rows = {
                row.type_name: {"version": row.version, "attributes": row.attributes, "disabled": row.disabled}
                for row in self._call.db.all(CUSTOM_TYPES, **self._call.here)
            }
        return self._rows

    def ignores(self, item: Mapping[str, Any]) -> bool:
        """Whether the type is disabled as of the item's version: it is taken and not kept."""
        name = item["TypeName"]
        if not name.startswith(CUSTOM) or name not in self.rows or not self.rows[name]["disabled"]:
            return False
        return order(item["SchemaVersion"]) <= order(self.rows[name]["disabled"])

    def learn(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Make or widen the types of these items; raises beyond the limits, and has learnt nothing then."""
        learnt: dict[str, dict[str, Any]] = {}
        for item in items:
            name = item["TypeName"]
            if name.startswith(CUSTOM):
                learnt[name] = self._widened(name, item)
        if learnt and len(self.rows.keys() | learnt.keys()) > MOST_TYPES:
            raise CustomSchemaCountLimitExceededException(
                f"An account can have {MOST_TYPES} custom inventory types at most; delete one first."
            )
        for name, row in learnt.items():
            if self.rows.get(name) != row:
                self.rows[name] = row
                self._changed.add(name)

    def save(self) -> None:
        """Write what was learnt."""
        self._call.db.run(
            PUT_CUSTOM,
            [{**self._call.tenant, "type_name": name, **self.rows[name]} for name in sorted(self._changed)],
        )

    def _widened(self, name: str, item: Mapping[str, Any]) -> dict[str, Any]:
        known = self.rows.get(name, {"version": item["SchemaVersion"], "attributes": [], "disabled": ""})
        attributes = set(known["attributes"]).union(*item["Content"])
        if len(attributes) > MOST_ATTRIBUTES:
            raise InvalidItemContentException(
                f"A custom type can have {MOST_ATTRIBUTES} attributes at most; {name} would have {len(attributes)}.",
                TypeName=name,
            )
        version = max(known["version"], item["SchemaVersion"], key=order)
        return {"version": version, "attributes": sorted(attributes), "disabled": ""}


def order(version: str) -> tuple[int, int]:
    """A schema version as something that can be compared."""
    major, minor = version.split(".")
    return int(major), int(minor)


def find(call: Call, name: str) -> Type:
    """A type by name, AWS's or a custom one; raises InvalidTypeNameException."""
    if not name.startswith(CUSTOM):
        return of_aws(name)
    row = Types(call).rows.get(name)
    if row is None:
        raise InvalidTypeNameException(f"No node has told of an inventory type {name!r}.")
    return of_row(name, row)


def of_row(name: str, row: Mapping[str, Any]) -> Type:
    """A custom type as one of the others: every attribute identifies, and one may aggregate by each."""
    attributes = tuple(row["attributes"])
    return Type(name, row["version"], attributes, identity=attributes, aggregates=attributes)


def every(call: Call) -> list[Type]:
    """All types, AWS's first."""
    return [*BY_AWS.values(), *(of_row(name, row) for name, row in Types(call).rows.items() if row["attributes"])]
