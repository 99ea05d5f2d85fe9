"""The operator's end of sessions: shells, commands and tunnels to any node, for programs and for the command line.

`connect` gives a `Fleet`; see there. All that is raised on purpose is a `ClientError`.
"""

from __future__ import annotations

import logging

from fleetward.client.channel import Timing
from fleetward.client.errors import ClientError, Misconfigured, Refused, SessionFailed, Unreachable
from fleetward.client.fleet import Fleet, connect
from fleetward.client.session import Finished, Session
from fleetward.client.tunnel import Address

__all__ = [
    "Address",
    "ClientError",
    "Finished",
    "Fleet",
    "Misconfigured",
    "Refused",
    "Session",
    "SessionFailed",
    "Timing",
    "Unreachable",
    "connect",
]

logging.getLogger("fleetward.client").addHandler(logging.NullHandler())
