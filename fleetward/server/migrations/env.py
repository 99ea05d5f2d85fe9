"""Alembic's entry: runs the steps on the connection that `fleetward.server.migrate` hands over.

The caller owns the transaction: all steps of one upgrade happen together or not at all.
"""

from __future__ import annotations

from alembic import context

from fleetward.server import migrate

context.configure(connection=context.config.attributes["connection"], **migrate.COMPARISON)
context.run_migrations()
