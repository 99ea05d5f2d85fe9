"""Write the next Alembic step from what distinguishes the tables in the code from the steps so far.

    python -m scripts.draft_migration "nodes: remember the time zone"

Read the file that it names: a renamed column looks like one dropped and one added.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import Script

from fleetward.server import migrate
from fleetward.server.app import SERVICES
from fleetward.server.backends.store_sqlite import SqliteStore


def draft(message: str) -> str:
    """Write the step; returns the name of its file."""
    assert SERVICES  # importing the app has declared every table
    known = migrate.known_versions()
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "draft.db", threads=False)
        try:
            if known:
                migrate.upgrade(store.engine)
            with store.engine.connect() as connection:
                made = command.revision(
                    migrate.configuration(connection),
                    message,
                    autogenerate=True,
                    rev_id=f"{len(known) + 1:04}",
                )
        finally:
            store.close()
    assert isinstance(made, Script)
    file = Path(made.path)
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("    # ###")))
    return made.path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(draft(sys.argv[1]))
