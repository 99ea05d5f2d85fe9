"""The steps in `fleetward/server/migrations` against the tables in the code, on both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, create_engine, inspect

from fleetward.server import app, migrate
from fleetward.server.backends.store_postgres import PostgresStore
from fleetward.server.backends.store_sqlite import SqliteStore
from fleetward.server.schema import metadata
from fleetward.server.settings import Settings, SettingsFault

UPGRADE = """
import sys
from pathlib import Path
from fleetward.server import app
from fleetward.server.settings import Settings

print("here", flush=True)
sys.stdin.readline()
store = app.open_store(Settings(data=Path(sys.argv[1]), database=sys.argv[2]))
app.create_tables(store)
store.close()
print("done", flush=True)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database; empty for SQLite in the test's folder."""
    url: str = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def engine(database: str, tmp_path: Path) -> Iterator[Engine]:
    """The engine of an empty store."""
    store = app.open_store(Settings(data=tmp_path, database=database))
    assert isinstance(store, (SqliteStore, PostgresStore))
    yield store.engine
    store.close()


def shape(engine: Engine) -> dict[str, Any]:
    """Columns, keys and indexes of all our tables, as the database tells them."""
    found = inspect(engine)
    shapes = {}
    for name in sorted(set(found.get_table_names()) - migrate.PRIVATE - {migrate.VERSIONS.name}):
        columns = [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(name)]
        indexes = sorted((str(i["name"]), tuple(i["column_names"]), i["unique"]) for i in found.get_indexes(name))
        shapes[name] = (columns, found.get_pk_constraint(name)["constrained_columns"], indexes)
    return shapes


def test_steps_make_the_same_tables_as_the_code(engine: Engine) -> None:
    assert migrate.upgrade(engine) == migrate.known_versions()[-1]
    with engine.connect() as connection:
        assert migrate.differences(connection) == []
    from_steps = shape(engine)
    assert set(from_steps) == set(metadata.tables)
    metadata.drop_all(engine)
    metadata.create_all(engine)
    assert from_steps == shape(engine)


def test_a_difference_is_found(engine: Engine) -> None:
    migrate.upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP INDEX nodes_activation")
        connection.exec_driver_sql("ALTER TABLE nodes_pings ADD COLUMN surplus integer")
        found = {difference[0] for difference in migrate.differences(connection)}
        connection.rollback()
    assert found == {"add_index", "remove_column"}


def test_upgrading_again_changes_nothing(engine: Engine) -> None:
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO timer_leases VALUES ('kept', 1)")
    before = shape(engine)
    migrate.upgrade(engine)
    assert shape(engine) == before
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT name FROM timer_leases").scalar() == "kept"


def test_steps_can_be_taken_back(engine: Engine) -> None:
    migrate.upgrade(engine)
    with engine.begin() as connection:
        command.downgrade(migrate.configuration(connection), "base")
    assert shape(engine) == {}
    migrate.upgrade(engine)
    assert set(shape(engine)) == set(metadata.tables)


def test_tables_made_without_steps_are_accepted_if_they_are_ours(engine: Engine) -> None:
    metadata.create_all(engine)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert migrate.version(connection) == migrate.known_versions()[-1]


def test_tables_made_without_steps_are_refused_if_they_are_not_ours(engine: Engine) -> None:
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE nodes_pings ADD COLUMN surplus integer")
    with pytest.raises(SettingsFault, match="remove_column nodes_pings surplus"):
        migrate.upgrade(engine)


def test_a_database_of_a_newer_version_is_refused_and_left_alone(engine: Engine) -> None:
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SettingsFault, match="9999"):
        migrate.upgrade(engine)
    with engine.connect() as connection:
        assert migrate.version(connection) == "9999"


def test_a_step_that_fails_leaves_nothing_behind(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE blocker (id integer)")
        connection.exec_driver_sql("CREATE INDEX run_command_outputs_at ON blocker (id)")
    with pytest.raises(Exception, match="run_command_outputs_at"):
        migrate.upgrade(engine)
    assert set(shape(engine)) == {"blocker"}


def test_programs_that_start_together_migrate_once(database: str, tmp_path: Path) -> None:
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, str(tmp_path), database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "here\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    for program in programs:
        said, fault = program.communicate(timeout=60)
        assert program.returncode == 0, fault
        assert said == "done\n"


def test_steps_are_numbered_in_order() -> None:
    numbers = migrate.known_versions()
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        from alembic.script import ScriptDirectory

        script = ScriptDirectory.from_config(migrate.configuration(connection))
        assert [step.revision for step in script.walk_revisions()][::-1] == numbers
        assert script.get_current_head() == numbers[-1]


def test_policies_of_roles_become_attachments(engine: Engine) -> None:
    """Roles that a version without IAM's management API made keep what they may do."""
    steps = migrate.known_versions()
    (file,) = (migrate.FOLDER / "versions").glob("*_iam_management.py")
    before = steps[steps.index(file.name.partition("_")[0]) - 1]
    with engine.connect() as connection, connection.begin():
        command.upgrade(migrate.configuration(connection), before)
        connection.exec_driver_sql(
            "INSERT INTO iam_roles (account_id, name, path, role_id, trust, managed_policies, created_at) VALUES"
            " ('123456789012', 'Old', '/', 'AROAOLD', '{}', '[\"ReadOnlyAccess\"]', 0)"
        )
    migrate.upgrade(engine)
    with engine.connect() as connection:
        attached = connection.exec_driver_sql("SELECT owner_id, policy_arn FROM iam_attachments").all()
        role = connection.exec_driver_sql("SELECT folded, longest_session, tags FROM iam_roles").one()
    assert [tuple(row) for row in attached] == [("AROAOLD", "arn:aws:iam::aws:policy/ReadOnlyAccess")]
    assert tuple(role) == ("old", 3600, "{}")
