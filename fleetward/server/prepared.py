"""Prepared: statements that SQLAlchemy compiled once, run on the sqlite3 driver without its cost per execution.

A statement that is run a second time, as the module-level constants are, is compiled to text and a plan: which value
goes where, and what each type does to values on their way in and out. Statements that need more of SQLAlchemy than
that (defaults computed per row, values returned) are not prepared; `Db` runs them the ordinary way.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from sqlalchemy import BindParameter, Connection, Executable, Row, TupleType
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Processor = Callable[[Any], Any]

MOST_SHAPES = 16
"""Sets of parameter names under which one statement is prepared."""

_EXPANDING = re.compile(r"\(__\[POSTCOMPILE_(\w+)\]\)")
_seen: WeakKeyDictionary[Executable, dict[tuple[str, ...], Prepared | None]] = WeakKeyDictionary()


class Prepared:
    """One statement with one set of parameter names, ready for the driver."""

    __slots__ = ("_constants", "_dialect", "_keys", "_lists", "_parent", "_plan", "_processors", "_reads", "sql")

    def __init__(self, compiled: SQLCompiler, dialect: Dialect) -> None:
        self._dialect = dialect
        lists = {compiled.bind_names[bind]: bind for bind in compiled.post_compile_params}
        self._lists = frozenset(lists)
        # One text whatever the length of a list: SQLite plans it once, and has no limit of variables to meet.
        self.sql = _EXPANDING.sub(lambda found: _members_of(lists[found[1]]), compiled.string)
        processors = {
            name: None if isinstance(bind.type, TupleType) else _way_in(bind.type, dialect)
            for bind, name in compiled.bind_names.items()
        }
        self._plan = [(name, processors[name], name in self._lists) for name in compiled.positiontup or ()]
        self._constants = {
            name: bind.effective_value for bind, name in compiled.bind_names.items() if not bind.required
        }
        columns = compiled._result_columns
        self._reads = bool(columns)
        keys = [column.keyname for column in columns]
        self._parent = SimpleResultMetaData(keys)
        self._keys = self._parent._key_to_index
        ways_out = [_way_out(column.type, dialect) for column in columns]
        self._processors: Any = ways_out if any(ways_out) else None

    def rows(self, raw: sqlite3.Connection, values: Mapping[str, Any]) -> list[Row[Any]]:
        """Every row of a SELECT."""
        parent, processors, keys = self._parent, self._processors, self._keys
        return [Row(parent, processors, keys, row) for row in self._execute(raw, values).fetchall()]

    def first(self, raw: sqlite3.Connection, values: Mapping[str, Any]) -> Row[Any] | None:
        """The first row of a SELECT."""
        cursor = self._execute(raw, values)
        row = cursor.fetchone()
        cursor.close()
        return None if row is None else Row(self._parent, self._processors, self._keys, row)

    def change(self, raw: sqlite3.Connection, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> int:
        """Run a changing statement once or for many rows; how many rows changed."""
        if rows is None or isinstance(rows, Mapping):
            return self._execute(raw, rows or {}).rowcount
        try:
            return raw.executemany(self.sql, [self._arguments(row) for row in rows]).rowcount
        except sqlite3.Error as fault:
            raise self._wrapped(fault) from fault

    def _execute(self, raw: sqlite3.Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        try:
            return raw.execute(self.sql, self._arguments(values))
        except sqlite3.Error as fault:
            raise self._wrapped(fault) from fault

    def _arguments(self, values: Mapping[str, Any]) -> list[Any]:
        if self._constants:
            values = {**self._constants, **values}
        if self._lists:
            return [
                orjson.dumps([way_in(each) if way_in else each for each in values[name]]).decode()
                if is_list
                else way_in(values[name])
                if way_in
                else values[name]
                for name, way_in, is_list in self._plan
            ]
        return [way_in(values[name]) if way_in else values[name] for name, way_in, _ in self._plan]

    def _wrapped(self, fault: sqlite3.Error) -> BaseException:
        return DBAPIError.instance(self.sql, None, fault, sqlite3.Error, hide_parameters=True, dialect=self._dialect)


def find(connection: Connection, statement: Executable, names: tuple[str, ...]) -> Prepared | None:
    """The statement prepared for these parameter names, from its second use on; None: run it the ordinary way."""
    shapes = _seen.get(statement)
    if shapes is None:
        _seen[statement] = {}
        return None
    try:
        return shapes[names]
    except KeyError:
        if len(shapes) >= MOST_SHAPES:
            return None
        prepared = shapes[names] = _prepare(statement, connection.dialect, names)
        return prepared


def _prepare(statement: Any, dialect: Dialect, names: tuple[str, ...]) -> Prepared | None:
    compiled = statement.compile(dialect=dialect, column_keys=list(names) if statement.is_dml else None)
    if not isinstance(compiled, SQLCompiler) or not compiled.positional:
        return None
    computed = compiled.insert_prefetch or compiled.update_prefetch or compiled.returning_precedes_values
    if statement.is_dml and (computed or compiled.effective_returning):
        return None
    if compiled.literal_execute_params or len(_EXPANDING.findall(compiled.string)) != len(compiled.post_compile_params):
        return None
    for bind in compiled.post_compile_params:
        if isinstance(bind.type, TupleType) and any(_way_in(kind, dialect) for kind in bind.type.types):
            return None
    if any(bind.required and name not in names for bind, name in compiled.bind_names.items()):
        return None
    return Prepared(compiled, dialect)


def _members_of(bind: BindParameter[Any]) -> str:
    """The subquery whose rows are the members of a list, or of a list of tuples."""
    if not isinstance(bind.type, TupleType):
        return "(SELECT value FROM json_each(?))"
    members = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(len(bind.type.types)))
    return f"(SELECT {members} FROM json_each(?))"  # noqa: S608  (numbers alone)


def _way_in(kind: Any, dialect: Dialect) -> Processor | None:
    processor: Processor | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return processor


def _way_out(kind: Any, dialect: Dialect) -> Processor | None:
    processor: Processor | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return processor
