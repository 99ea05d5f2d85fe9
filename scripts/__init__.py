"""Programs for those who work on fleetward; run them with `python -m scripts.NAME`."""
