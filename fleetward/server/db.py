"""Db: runs statements on the one connection that an entry was given."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Row

from fleetward.server import prepared


class Db:
    """One connection during one entry. Statements are module-level constants with `bindparam`.

    On SQLite they are prepared once (`prepared.py`): SQLAlchemy's share of an execution is larger than SQLite's.
    """

    __slots__ = ("_connection", "_raw")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        raw: Any = connection.connection.dbapi_connection
        self._raw: sqlite3.Connection | None = raw if isinstance(raw, sqlite3.Connection) else None

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._connection.dialect.name

    def all(self, statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
        """Every row."""
        if self._raw is not None:
            found = prepared.find(self._connection, statement, tuple(parameters))
            if found is not None:
                return found.rows(self._raw, parameters)
        return self._connection.execute(statement, parameters).all()

    def first(self, statement: Executable, **parameters: Any) -> Row[Any] | None:
        """The first row, or None."""
        if self._raw is not None:
            found = prepared.find(self._connection, statement, tuple(parameters))
            if found is not None:
                return found.first(self._raw, parameters)
        return self._connection.execute(statement, parameters).first()

    def value(self, statement: Executable, **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.first(statement, **parameters)
        return None if row is None else row[0]

    def values(self, statement: Executable, **parameters: Any) -> Sequence[Any]:
        """The first column of every row."""
        return [row[0] for row in self.all(statement, **parameters)]

    def run(self, statement: Executable, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None) -> int:
        """Execute with one mapping or with many at once; returns how many rows changed."""
        if rows is not None and not rows:
            return 0
        if self._raw is not None:
            first = rows if rows is None or isinstance(rows, Mapping) else rows[0]
            found = prepared.find(self._connection, statement, tuple(first or ()))
            if found is not None:
                return found.change(self._raw, rows)
        return self._connection.execute(statement, rows).rowcount
