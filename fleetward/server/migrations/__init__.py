"""The Alembic steps that bring a database's tables to this version; `fleetward.server.migrate` runs them."""
