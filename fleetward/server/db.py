"""Db: runs statements on the one connection that an entry was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Row


class Db:
    """One connection during one entry. Statements are module-level constants with `bindparam`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._connection.dialect.name

    def all(self, statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
        """Every row."""
        return self._connection.execute(statement, parameters).all()

    def first(self, statement: Executable, **parameters: Any) -> Row[Any] | None:
        """The first row, or None."""
        return self._connection.execute(statement, parameters).first()

    def value(self, statement: Executable, **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        return self._connection.execute(statement, parameters).scalar()

    def values(self, statement: Executable, **parameters: Any) -> Sequence[Any]:
        """The first column of every row."""
        return self._connection.execute(statement, parameters).scalars().all()

    def run(self, statement: Executable, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None) -> int:
        """Execute with one mapping or with many at once; returns how many rows changed."""
        if rows is not None and not rows:
            return 0
        return self._connection.execute(statement, rows).rowcount
