"""Migrate: bring a store's tables to this version, at every start, before anything else uses the store.

    fresh database       run every step
    an older version     run the missing steps
    this version         nothing (Alembic is not even loaded)
    a newer version      refuse: this program does not know its tables
    tables, no version   made by MetaData.create_all: accept if they are exactly ours, else refuse

Servers that start together follow one another: SQLite by `BEGIN IMMEDIATE`, PostgreSQL by an advisory lock that ends
with the transaction.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, inspect, select

from fleetward.server.schema import Json, UtcDateTime, metadata
from fleetward.server.settings import SettingsFault

FOLDER = Path(__file__).with_name("migrations")
MIGRATION_LOCK = 0x466C6565746D67
"""PostgreSQL advisory lock of those who migrate."""

VERSIONS = Table("alembic_version", MetaData(), Column("version_num", String(32)))
VERSION = select(VERSIONS.c.version_num)

PRIVATE = frozenset({"store_marks"})
"""Tables that a backend keeps for itself."""

_alone = threading.Lock()  # Alembic's `op` and `context` are one per process


def known_versions() -> list[str]:
    """The numbers of all steps, first to last: the leading digits of their files' names."""
    return sorted(file.name.partition("_")[0] for file in (FOLDER / "versions").glob("[0-9]*_*.py"))


def upgrade(engine: Engine) -> str:
    """Bring the tables behind `engine` to this version; returns the version. SettingsFault when that cannot be done."""
    head = known_versions()[-1]
    with _alone, engine.connect() as connection:
        if version(connection) == head:
            connection.rollback()
            return head
        connection.rollback()
        try:
            _begin_alone(connection)
            _bring_up(connection, version(connection), head)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
    return head


def version(connection: Connection) -> str | None:
    """The version of a database; None when it was never migrated."""
    if not inspect(connection).has_table(VERSIONS.name):
        return None
    found: str | None = connection.execute(VERSION).scalar()
    return found


def differences(connection: Connection) -> list[Any]:
    """What distinguishes the database's tables from the program's, in Alembic's words. Empty: nothing."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    options = {key: value for key, value in COMPARISON.items() if key != "target_metadata"}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def _begin_alone(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))


def _bring_up(connection: Connection, found: str | None, head: str) -> None:
    from alembic import command

    if found == head:
        return
    if found is not None and found not in known_versions():
        raise SettingsFault(
            f"the database is of version {found}, newer than this program ({head}): start a newer fleetward"
        )
    if found is None and set(inspect(connection).get_table_names()) & set(metadata.tables):
        if strange := differences(connection):
            raise SettingsFault(
                f"the database holds tables that no version of fleetward made ({_named(strange[0])}): use another"
            )
        command.stamp(configuration(connection), "head")
        return
    command.upgrade(configuration(connection), "head")


def configuration(connection: Connection) -> Any:
    """Alembic's configuration for our steps on `connection`; no file is needed."""
    from alembic.config import Config

    chosen = Config()
    chosen.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    chosen.attributes["connection"] = connection
    return chosen


def _named(difference: Any) -> str:
    """A difference in a few words: `add_index nodes_activation`."""
    if isinstance(difference, list):
        difference = difference[0]
    names = [
        str(getattr(part, "name", part)) for part in difference[1:] if isinstance(getattr(part, "name", part), str)
    ]
    return " ".join([str(difference[0]), *names])


def _ours(name: str | None, kind: str, parents: Any) -> bool:
    return kind != "table" or (name in metadata.tables and name not in PRIVATE)


def _plain_type(kind: str, thing: Any, _: Any) -> str | bool:
    """Steps name SQLAlchemy's own types: what our types mean may change, what a step did may not."""
    if kind == "type" and isinstance(thing, UtcDateTime):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(thing, Json):
        return "sa.Text()"
    return False


COMPARISON: dict[str, Any] = {
    "target_metadata": metadata,
    "compare_type": True,
    "include_name": _ours,
    "render_item": _plain_type,
    "render_as_batch": True,
}
"""How Alembic compares our tables with a database and writes a new step."""
