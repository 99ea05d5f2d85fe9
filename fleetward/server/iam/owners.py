"""Owners of policies: what users, groups and roles have in common, so that one function serves all three."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from fleetward.server.call import Call, Resource
from fleetward.server.iam import groups, roles, users


@dataclass(frozen=True, slots=True)
class Owner:
    """One kind of owner: `user`, its operations `PutUserPolicy`, its member `UserName`."""

    word: str
    find: Callable[[Call, str], Row[Any]]
    find_own: Callable[[Call, str], Row[Any]]
    """As `find`, for changes: roles linked to services cannot be changed."""
    resource: Callable[[Call, Mapping[str, Any]], Iterable[Resource]]

    @property
    def noun(self) -> str:
        """As in names of operations: `User`."""
        return self.word.capitalize()

    @property
    def member(self) -> str:
        """The member that names the owner: `UserName`."""
        return f"{self.noun}Name"

    def id_of(self, row: Row[Any]) -> str:
        """The unique id of a row."""
        unique_id: str = getattr(row, f"{self.word}_id")
        return unique_id


USER = Owner("user", users.find, users.find, users.resource)
GROUP = Owner("group", groups.find, groups.find, groups.resource)
ROLE = Owner("role", roles.find, roles.find_own, roles.resource)
OWNERS = (USER, GROUP, ROLE)
