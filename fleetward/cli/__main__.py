"""`python -m fleetward.cli`: the `fleetward` program."""

from fleetward.cli.app import main

main()
