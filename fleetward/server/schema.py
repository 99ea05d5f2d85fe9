"""Schema: the one MetaData of all tables, and the column types that every database shares."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, ColumnElement, Dialect, MetaData, String, Table, Text, bindparam
from sqlalchemy.types import TypeDecorator

metadata = MetaData()

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time, kept as whole microseconds since 1970 so that both databases compare it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds of an aware time."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The aware time of microseconds."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


class Json(TypeDecorator[Any]):
    """A JSON value, kept as text; times inside are not restored."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """JSON text of a value."""
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The value of JSON text."""
        return None if value is None else orjson.loads(value)


def microseconds(value: datetime) -> int:
    """Whole microseconds since 1970 of an aware time."""
    if value.tzinfo is None:
        raise ValueError("a time without a zone")
    passed = value - EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def tenant() -> tuple[Column[str], Column[str]]:
    """The two columns that lead every key: account and region."""
    return Column("account_id", String(12), primary_key=True), Column("region", String(32), primary_key=True)


def in_tenant(table: Table) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The conditions that a row is in the tenant of the call: `where(*in_tenant(table), …)`, run with `**call.here`."""
    return table.c.account_id == bindparam("account"), table.c.region == bindparam("in_region")


def same_tenant(one: Table, other: Table) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The conditions that two tables' rows are in one tenant, for joins and subqueries."""
    return one.c.account_id == other.c.account_id, one.c.region == other.c.region
