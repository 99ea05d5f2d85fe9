"""Prepared: statements that SQLAlchemy compiled once, run on the sqlite3 driver without its cost per execution.

A statement that is run a second time, as the module-level constants are, is compiled to text and a plan: which value
goes where, and what each type does to values on their way in and out. Statements that need more of SQLAlchemy than
that (defaults computed per row, values returned) are not prepared; `Db` runs them the ordinary way.

The driver lets go of the interpreter's lock at every step, and a writer that must win it back from a busy event loop
waits up to the switch interval each time. So many rows go in as one JSON text and one step, and lists come out alike.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import orjson
from sqlalchemy import BindParameter, Connection, Executable, LargeBinary, Row, TupleType
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Processor = Callable[[Any], Any]

FEW = 4
"""So many rows are executed one by one; more go in together."""

MOST_SHAPES = 16
"""Sets of parameter names under which one statement is prepared."""

_EXPANDING = re.compile(r"\(__\[POSTCOMPILE_(\w+)\]\)")
_seen: WeakKeyDictionary[Executable, dict[tuple[str, ...], Prepared | None]] = WeakKeyDictionary()


class Prepared:
    """One statement with one set of parameter names, ready for the driver."""

    __slots__ = (
        "_constants",
        "_dialect",
        "_keys",
        "_lists",
        "_many",
        "_parent",
        "_plan",
        "_processors",
        "_reads",
        "_together",
        "sql",
    )

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
        self._many = None if self._lists else many_at_once(self.sql)
        bytes_too = any(isinstance(column.type, LargeBinary) for column in columns)
        self._together = in_one_step(self.sql, len(columns)) if self._lists and columns and not bytes_too else ""

    def rows(self, raw: sqlite3.Connection, values: Mapping[str, Any]) -> list[Row[Any]]:
        """Every row of a SELECT."""
        parent, processors, keys = self._parent, self._processors, self._keys
        if self._together:
            found = orjson.loads(self._execute(raw, values, self._together).fetchone()[0])
            return [Row(parent, processors, keys, tuple(row)) for row in found]
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
        arguments = [self._arguments(row) for row in rows]
        try:
            if self._many is not None and len(rows) > FEW and self._many.takes(arguments):
                try:
                    return raw.execute(self._many.sql, (orjson.dumps(arguments).decode(),)).rowcount
                except TypeError:  # bytes, or text that JSON cannot hold
                    pass
            return raw.executemany(self.sql, arguments).rowcount
        except sqlite3.Error as fault:
            raise self._wrapped(fault) from fault

    def _execute(self, raw: sqlite3.Connection, values: Mapping[str, Any], sql: str = "") -> sqlite3.Cursor:
        try:
            return raw.execute(sql or self.sql, self._arguments(values))
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


class Many(NamedTuple):
    """A changing statement that takes all its rows as one JSON array of arrays."""

    sql: str
    key_from: int | None
    """Where the values that choose the row begin; None for an insert. Rows must be chosen once each."""

    def takes(self, arguments: Sequence[Sequence[Any]]) -> bool:
        """Whether running the rows together does what running them one after another would."""
        if self.key_from is None:
            return True
        return len({tuple(row[self.key_from :]) for row in arguments}) == len(arguments)


_INSERT = re.compile(r"(INSERT INTO \w+ \([^()]*\)) VALUES \(\?(?:, \?)*\)")
_UPDATE = re.compile(r"(UPDATE \w+ SET .*) (WHERE .*)", re.DOTALL)
_EQUALS = re.compile(r"[^<>!]= \?")
_DELETE = re.compile(r"DELETE FROM (\w+) (WHERE .*)", re.DOTALL)


def many_at_once(sql: str) -> Many | None:
    """A plain INSERT, UPDATE or DELETE of one row made to take many; None for anything less plain."""
    if "'" in sql or '"' in sql or "(SELECT" in sql:
        return None
    if inserting := _INSERT.fullmatch(sql):
        values = ", ".join(_value(number) for number in range(sql.count("?")))
        return Many(f"{inserting[1]} SELECT {values} FROM json_each(?) AS given", None)  # noqa: S608  (numbers alone)
    if sql.count(" WHERE ") + sql.count("\nWHERE ") != 1:
        return None
    chosen_by = sql[sql.index("WHERE ") :]
    if " OR " in chosen_by or len(_EQUALS.findall(chosen_by)) != chosen_by.count("?"):
        return None  # two rows with different keys might mean the same row of the table
    numbers = iter(range(sql.count("?")))
    filled = re.sub(r"\?", lambda _: _value(next(numbers)), sql)
    if (updating := _UPDATE.fullmatch(filled)) and (plain := _UPDATE.fullmatch(sql)):
        return Many(f"{updating[1]} FROM json_each(?) AS given {updating[2]}", plain[1].count("?"))
    if deleting := _DELETE.fullmatch(filled):
        chosen = f"SELECT {deleting[1]}.rowid FROM json_each(?) AS given CROSS JOIN {deleting[1]} {deleting[2]}"  # noqa: S608
        return Many(f"DELETE FROM {deleting[1]} WHERE rowid IN ({chosen})", 0)  # noqa: S608
    return None


def in_one_step(sql: str, columns: int) -> str:
    """A SELECT made to give all its rows as one JSON array of arrays, in their order."""
    names = ", ".join(f"c{number}" for number in range(columns))
    return f"WITH found({names}) AS ({sql}) SELECT json_group_array(json_array({names})) FROM found"  # noqa: S608


def _value(number: int) -> str:
    return f"json_extract(given.value, '$[{number}]')"


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
