"""The operator's end of sessions: shells, commands and tunnels to any node, for programs and for the command line."""

from __future__ import annotations

import logging

logging.getLogger("fleetward.client").addHandler(logging.NullHandler())
