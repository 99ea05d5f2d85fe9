"""Prepared statements give the same as SQLAlchemy's own execution, on every kind of statement that we write."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from fleetward.server import prepared
from fleetward.server.db import Db
from fleetward.server.schema import Json, UtcDateTime

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("owner", String(8), primary_key=True),
    Column("name", String(8), primary_key=True),
    Column("facts", Json),
    Column("at", UtcDateTime),
    Column("number", Integer, nullable=False, default=7),
)
MOMENT = datetime(2026, 11, 22, 12, 0, 0, 123456, UTC)
ADD = insert(things)
OF = select(things).where(things.c.owner == bindparam("of_owner")).order_by(things.c.name).limit(bindparam("most"))
NAMED = select(things.c.name).where(things.c.name.in_(bindparam("names", expanding=True))).order_by(things.c.name)
AT = select(things.c.name).where(things.c.at.in_(bindparam("times", expanding=True))).order_by(things.c.name)
PAIRS = (
    select(things.c.owner, things.c.name)
    .where(tuple_(things.c.owner, things.c.name).in_(bindparam("pairs", expanding=True)))
    .order_by(things.c.name)
)
COUNT = select(func.count()).select_from(things)
RAISE = (
    update(things)
    .where(things.c.name == bindparam("of_name"), things.c.owner == "me")
    .values(number=things.c.number + bindparam("by"), facts=bindparam("to_facts", type_=Json))
)
REMOVE = delete(things).where(things.c.name == bindparam("of_name"))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{tmp_path / 'things.db'}")
    with engine.connect() as opened:
        metadata.create_all(opened)
        db = Db(opened)
        rows = [
            {"owner": "me", "name": f"n{n}", "facts": {"n": [n]}, "at": MOMENT + timedelta(days=n), "number": n}
            for n in range(5)
        ]
        db.run(ADD, rows[:2])
        db.run(ADD, rows[2:])
        yield opened
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (OF, {"of_owner": "me", "most": 3}),
        (OF, {"of_owner": "nobody", "most": 3}),
        (NAMED, {"names": ["n1", "n3", "n'4", "none"]}),
        (NAMED, {"names": []}),
        (AT, {"times": [MOMENT, MOMENT + timedelta(days=4)]}),
        (PAIRS, {"pairs": [("me", "n1"), ("you", "n2"), ("me", "n3")]}),
        (PAIRS, {"pairs": []}),
        (COUNT, {}),
    ],
)
def test_reading_prepared_gives_the_same_rows(
    connection: Connection, statement: Any, parameters: dict[str, Any]
) -> None:
    db = Db(connection)
    expected = connection.execute(statement, parameters).all()
    for _ in range(3):
        found = db.all(statement, **parameters)
        assert [tuple(row) for row in found] == [tuple(row) for row in expected]
        assert [dict(row._mapping) for row in found] == [dict(row._mapping) for row in expected]
        first = db.first(statement, **parameters)
        assert first == (expected[0] if expected else None)
        assert db.value(statement, **parameters) == (expected[0][0] if expected else None)
        assert list(db.values(statement, **parameters)) == [row[0] for row in expected]
    assert prepared.find(connection, statement, tuple(parameters)) is not None


def test_columns_are_attributes_with_their_types_restored(connection: Connection) -> None:
    db = Db(connection)
    for _ in range(3):
        row = db.all(OF, of_owner="me", most=2)[1]
        assert (row.name, row.facts, row.at, row.number) == ("n1", {"n": [1]}, MOMENT + timedelta(days=1), 1)


def test_changes_count_their_rows_once_or_many_at_a_time(connection: Connection) -> None:
    db = Db(connection)
    for _ in range(3):
        assert db.run(RAISE, {"of_name": "n1", "by": 10, "to_facts": ["x"]}) == 1
        assert db.run(RAISE, [{"of_name": f"n{n}", "by": 1, "to_facts": None} for n in (1, 2, 9)]) == 2
    assert [(row.name, row.number) for row in db.all(OF, of_owner="me", most=9)][1:3] == [("n1", 34), ("n2", 5)]
    assert db.run(REMOVE, {"of_name": "n1"}) == 1
    assert db.run(REMOVE, {"of_name": "n1"}) == 0
    assert db.run(REMOVE, []) == 0


def test_a_default_of_the_table_is_kept_by_leaving_the_statement_unprepared(connection: Connection) -> None:
    db = Db(connection)
    for name in ("a", "b", "c"):
        db.run(ADD, {"owner": "you", "name": name})
    assert [row.number for row in db.all(OF, of_owner="you", most=9)] == [7, 7, 7]
    assert prepared.find(connection, ADD, ("owner", "name")) is None


def test_one_statement_takes_rows_with_different_columns(connection: Connection) -> None:
    db = Db(connection)
    for n in range(3):
        db.run(ADD, {"owner": "a", "name": str(n), "number": n})
        db.run(ADD, {"name": str(n), "number": n, "owner": "b", "facts": n})
    assert [row.facts for row in db.all(OF, of_owner="b", most=9)] == [0, 1, 2]


@pytest.mark.parametrize("many", [False, True])
def test_a_broken_constraint_is_the_same_error(connection: Connection, many: bool) -> None:
    db = Db(connection)
    row = {"owner": "me", "name": "n1", "facts": None, "at": None, "number": 1}
    for _ in range(3):
        with pytest.raises(IntegrityError):
            db.run(ADD, [row, row] if many else row)


def test_a_missing_parameter_is_refused(connection: Connection) -> None:
    db = Db(connection)
    for _ in range(3):
        db.all(OF, of_owner="me", most=1)
        with pytest.raises(Exception, match="of_owner"):
            db.all(OF, most=1)


MOVE = (
    update(things)
    .where(things.c.owner == bindparam("of_owner"), things.c.name == bindparam("of_name"))
    .values(number=bindparam("to_number"), at=bindparam("moment"), facts=bindparam("told", type_=Json))
)
DROP = delete(things).where(things.c.owner == bindparam("of_owner"), things.c.name == bindparam("of_name"))
MORE = update(things).where(things.c.name == bindparam("of_name")).values(number=things.c.number + bindparam("by"))
EVERY = select(things).order_by(things.c.owner, things.c.name)
ODD = ["", "plain", "quote ' and \" and ?", "línea\nzwei", "\\u0000 \\", '{"json": [1]}', "𝄞", "null", "7"]


def _rows() -> list[dict[str, Any]]:
    return [
        {"owner": "o", "name": f"n{number}", "facts": {"text": text}, "at": MOMENT, "number": number - 4}
        for number, text in enumerate(ODD)
    ]


def _moves() -> list[dict[str, Any]]:
    return [
        {
            "of_owner": "o",
            "of_name": f"n{number}",
            "to_number": 2**53 + number,
            "moment": None,
            "told": [text, None, 1.5],
        }
        for number, text in enumerate(ODD)
    ]


def test_many_rows_together_do_what_they_do_one_by_one(connection: Connection) -> None:
    """Insert, update and delete: the same rows and the same counts, whatever the values look like."""
    db = Db(connection)
    found = []
    for alone in (True, False):
        counts = []
        for statement, rows in ((ADD, _rows()), (MOVE, _moves()), (DROP, _moves()[:6])):
            db.run(statement, rows[:1]) if statement is not ADD else db.run(DROP, _moves()[:1])
            counts.append([db.run(statement, [row]) for row in rows] if alone else db.run(statement, rows))
        found.append(([tuple(row) for row in db.all(EVERY)], [sum(c) if isinstance(c, list) else c for c in counts]))
        db.run(DROP, _moves())
    assert found[0] == found[1]
    assert found[0][1] == [9, 9, 5]


def test_changes_that_meet_one_row_more_than_once_are_made_one_after_another(connection: Connection) -> None:
    db = Db(connection)
    db.run(ADD, {"owner": "o", "name": "n", "facts": {}, "at": None, "number": 0})
    for _ in range(2):
        db.run(MORE, [{"of_name": "n", "by": 1} for _ in range(10)])
    assert [row.number for row in db.all(OF, of_owner="o", most=9)] == [20]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO a (b) VALUES (?) RETURNING b",
        "INSERT INTO a (b) VALUES (lower(?))",
        "UPDATE a SET b=(SELECT c FROM d WHERE e = ?) WHERE f = ?",
        "DELETE FROM a",
        "UPDATE a SET b='?' WHERE c = ?",
        "UPDATE a SET b=? WHERE c <= ?",
        "DELETE FROM a WHERE c = ? OR d = ?",
    ],
)
def test_anything_less_plain_is_not_made_to_take_many(sql: str) -> None:
    assert prepared.many_at_once(sql) is None
