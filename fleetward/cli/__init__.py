"""Command line: `fleetward …`, one file per noun."""
